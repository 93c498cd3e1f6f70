"""Several processes on the same sockets, and what is shown while they load."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .conftest import Child, Start
from .reloading import serve
from .test_reload import ask, get, until, wait_gone

APP = """
import os
WORD = {word!r}
def app(environ, start_response):
    if environ["PATH_INFO"] == "/end":
        os._exit(7)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{{WORD}} {{os.getpid()}}".encode()]
"""

# Loads until there is a file `go`.
SLOW = """
import time
from pathlib import Path
while not Path("go").exists():
    time.sleep(0.01)
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["REQUEST_METHOD"].encode(), environ["wsgi.input"].read()]
"""


def pids(child: Child, count: int, word: str = "") -> set[int]:
    """The processes that answer; asks until there are so many."""
    found: set[int] = set()
    for _ in range(5000):
        answer = get(child)[1].split()
        assert len(answer) == 2
        if answer[0] == word or not word:
            found.add(int(answer[1]))
        if len(found) == count:
            return found
    raise AssertionError(found)


@pytest.mark.parametrize("words", [["--no-reload"], ["--reload"]])
def test_all_of_them_serve(tmp_path: Path, start: Start, words: list[str]) -> None:
    (tmp_path / "app.py").write_text(APP.format(word="one"))
    child = start("app.py", "--port", "0", "--processes", "3", *words)
    found = pids(child, 3)
    assert child.end(signal.SIGINT) == 0
    wait_gone(list(found))
    assert "Traceback" not in child.errors


def test_they_are_reloaded_together(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(APP.format(word="one"))
    child = serve(start, "--processes", "2")
    old = pids(child, 2)
    (tmp_path / "app.py").write_text(APP.format(word="two"))
    until(child, "two")
    assert not pids(child, 2, "two") & old
    wait_gone(list(old))
    (tmp_path / "app.py").write_text("nonsense(")
    until(child, "SyntaxError")
    child.wait_for("Waiting for a change")  # the page may be quicker than the terminal
    assert child.errors.count("SyntaxError") == 2  # the traceback and the line below it, once
    (tmp_path / "app.py").write_text(APP.format(word="three"))
    until(child, "three")
    assert len(pids(child, 2, "three")) == 2


def test_one_that_dies_is_replaced(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(APP.format(word="one"))
    child = start("app.py", "--port", "0", "--processes", "2", "--no-reload")
    first = pids(child, 2)
    os.kill(min(first), signal.SIGKILL)
    child.wait_for("was ended by SIGKILL; another one is started now")
    while min(first) in (second := pids(child, 2)):
        pass
    assert max(first) in second
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        get(child, path="/end")
    child.wait_for(r"ended with status 7; another one is started in 1 s")
    assert len(pids(child, 2)) == 2
    assert child.end() == 0


def test_an_app_that_fails_ends_them_all(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text("raise ValueError('not today')\n")
    child = start("app.py", "--port", "0", "--processes", "2", "--no-reload")
    assert child.wait() == 3
    assert child.errors.count("ValueError: not today\n") == 1


def test_a_page_while_a_load_takes_long(tmp_path: Path, start: Start) -> None:
    """Whoever looks at a browser is told; every other request waits, and nothing of it is lost."""
    (tmp_path / "go").touch()
    app = tmp_path / "app.py"
    app.write_text(SLOW)
    child = serve(start)
    port = child.port
    assert get(child)[1] == "GET"
    (tmp_path / "go").unlink()
    app.write_text(SLOW + "\n")
    child.wait_for("still being loaded")
    answers: list[tuple[int, str]] = []
    posting = threading.Thread(target=lambda: answers.append(ask(port, body=b"x" * 300_000)))
    posting.start()
    status, page = get(child, accept="text/html")
    assert status == 503
    assert "The app is being loaded" in page
    question = page.partition('"question": "')[2].partition('"')[0]
    token = page.partition('"token": "')[2].partition('"')[0]
    changed = threading.Thread(target=lambda: answers.append(ask(port, question, token=token)))
    changed.start()
    (tmp_path / "go").touch()
    posting.join()
    changed.join()
    assert sorted(answers) == [(200, "POST" + "x" * 300_000), (204, "")]
    assert get(child, accept="text/html") == (200, "GET")


def test_a_slow_load_that_fails(tmp_path: Path, start: Start) -> None:
    app = tmp_path / "app.py"
    app.write_text(SLOW + "1 / 0\n")
    child = serve(start)
    child.wait_for("still being loaded")
    (tmp_path / "go").touch()
    child.wait_for("ZeroDivisionError")


# Answers when the test says so.
MEET = """
import os, sys
from pathlib import Path
def app(environ, start_response):
    folder = Path(environ["PATH_INFO"].strip("/"))
    print("entered", folder, os.getpid(), file=sys.stderr, flush=True)
    with open(folder / "go", "rb", buffering=0) as pipe:
        pipe.read(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


def test_one_that_is_busy_leaves_the_next_to_those_that_are_not(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "app.py").write_text(MEET)
    words = ("--processes", "3", "--threads", "1", "--no-reload")
    child = start("app.py", "--port", "0", *words)
    assert child.port
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        os.mkfifo(folder / "go")
        with ThreadPoolExecutor(3) as pool, (folder / "go").open("r+b", buffering=0) as pipe:
            answers = []
            for count in range(1, 4):
                answers.append(pool.submit(ask, child.port, f"/{number}"))
                child.wait_for(rf"(?s)(?:entered {number} \d+\s+.*?){{{count}}}")
            pipe.write(b"123")
            assert len({answer.result() for answer in answers}) == 3
    assert child.end() == 0
