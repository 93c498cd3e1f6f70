"""Traps that the reloader has fallen into once, with real files and processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import DEADLINE, Start
from .reloading import ANSWER, serve
from .terminal import Terminal
from .test_reload import children_of, get, until, wait_gone
from .test_reload_edges import WITH_PID, descendants, pid_of, wait_gone_within
from .test_reload_imports import make_django
from .test_reload_saves import _in_a_namespace, make_environment, word
from .test_reload_stale import edit_and_ask


@contextlib.contextmanager
def ending(pid: int) -> Iterator[None]:
    """A process that may be left over holds the pipe of the log open."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_save_that_keeps_time_and_size(tmp_path: Path, start: Start) -> None:
    """As `cp -p`, `rsync -t` and archives with one fixed time do."""
    words = tmp_path / "words.py"
    (tmp_path / "app.py").write_text("from words import WORD\n" + ANSWER)

    def save(text: str) -> None:
        new = tmp_path / "new"
        new.write_text(word(text))
        os.utime(new, (1_500_000_000, 1_500_000_000))
        new.replace(words)

    save("one")
    child = serve(start, PYTHONDONTWRITEBYTECODE="")
    assert get(child)[1] == "one"
    save("two")
    child.wait_for("reloading")
    assert get(child)[1] == "two"


def test_modules_take_the_place_of_others(tmp_path: Path, start: Start) -> None:
    """All were made within one second, as by a checkout; one is moved over another."""
    edit_and_ask(tmp_path, start, 60, swaps=True)


def test_an_editable_install_by_a_finder(
    tmp_path: Path, start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As setuptools makes them; words of one size within one second."""
    library = tmp_path_factory.mktemp("elsewhere") / "library"
    library.mkdir()
    init = library / "__init__.py"
    init.write_text(word("one"))
    (tmp_path / "app.py").write_text("from library import WORD\n" + ANSWER)
    python = make_environment(tmp_path / ".venv", "library.pth", "import library_finder\n")
    (packages,) = (tmp_path / ".venv").glob("lib/python*/site-packages")
    (packages / "library_finder.py").write_text(
        "import sys\nfrom importlib.util import spec_from_file_location\n"
        "class Finder:\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        if name == 'library':\n"
        f"            return spec_from_file_location(name, {str(init)!r},"
        f" submodule_search_locations=[{str(library)!r}])\n"
        "sys.meta_path.append(Finder)\n"
    )
    command = [python, "-m", "aserve", "app.py", "--port", "0", "--reload"]
    child = start(*command, raw=True, PYTHONDONTWRITEBYTECODE="")
    assert get(child)[1] == "one"
    for lines, text in enumerate(("two", "six", "ten"), 1):
        init.write_text(word(text))
        os.utime(init, (1_500_000_000, 1_500_000_000))  # one second, whatever the clock says
        while child.errors.count("reloading") < lines:
            assert get(child)[0] == 200
        assert get(child)[1] == text


@pytest.mark.parametrize("code", ["import os\nos._exit(7)", "import ctypes\nctypes.string_at(0)"])
def test_the_first_import_ends_the_process(tmp_path: Path, start: Start, code: str) -> None:
    app = tmp_path / "app.py"
    app.write_text(code)
    child = serve(start)
    child.wait_for("Waiting for a change")
    app.write_text(word("fixed") + ANSWER)
    assert until(child, "fixed") == "200 fixed"


def test_broken_and_then_empty_before_it_ever_served(tmp_path: Path, start: Start) -> None:
    """Editors truncate; people save half of a new file."""
    app = tmp_path / "app.py"
    app.write_text("nonsense(")
    child = serve(start)
    child.wait_for("Waiting for a change")
    app.write_text("")
    child.wait_for("has none of")
    app.write_text(word("fixed") + ANSWER)
    assert until(child, "fixed") == "200 fixed"


def test_a_broken_django_urlconf_is_shown(tmp_path: Path, start: Start) -> None:
    urls = make_django(tmp_path, debug=True)
    child = start("--port", "0", "--reload")
    assert get(child)[1] == "<p>one</p>"
    urls.write_text("nonsense(\n")
    child.wait_for(r"reloading|Waiting for a change")
    status, body = get(child)
    assert status == 500
    assert "SyntaxError" in body


FORKS = (
    "import multiprocessing, os, time\n"
    "context = multiprocessing.get_context('fork')\n"
    "process = None\n"
    "def app(environ, start_response):\n"
    "    global process\n"
    "    if process is None:\n"
    "        process = context.Process(target=time.sleep, args=(60,), daemon=True)\n"
    "        process.start()\n"
    "    if environ['PATH_INFO'] == '/terminate':\n"
    "        process.terminate()\n"
    "        process.join(3)\n"
    "    start_response('200 OK', [])\n"
    "    return [f'{process.exitcode} {os.getpid()} {process.pid}'.encode()]\n"
)


@pytest.mark.parametrize("option", ["--reload", "--no-reload"])
def test_a_forked_process_can_be_terminated(tmp_path: Path, start: Start, option: str) -> None:
    """And the server goes on."""
    (tmp_path / "app.py").write_text(FORKS)
    child = start("app.py", "--port", "0", option)
    with ending(pid_of(get(child)[1])):
        assert get(child, path="/terminate")[1].startswith("-15 ")
        assert get(child)[0] == 200


def test_a_forked_process_ends_with_its_generation(tmp_path: Path, start: Start) -> None:
    app = tmp_path / "app.py"
    app.write_text(FORKS)
    child = serve(start)
    forked = pid_of(get(child)[1])
    with ending(forked):
        app.write_text(WITH_PID.format("two"))
        until(child, "two")
        wait_gone_within([forked], 3.0)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_executor_ends_with_its_generation(tmp_path: Path, start: Start, method: str) -> None:
    """Its exit function is one of `threading`, not of `atexit`."""
    app = tmp_path / "app.py"
    app.write_text(
        "import multiprocessing, os\nfrom concurrent.futures import ProcessPoolExecutor\n"
        f"context = multiprocessing.get_context({method!r})\n"
        "pool = ProcessPoolExecutor(1, mp_context=context)\n"
        "def app(environ, start_response):\n"
        "    body = f'one {pool.submit(os.getpid).result()}'.encode()\n"
        "    start_response('200 OK', [])\n    return [body]\n"
    )
    child = serve(start)
    process = pid_of(get(child)[1])
    with ending(process):
        app.write_text(WITH_PID.format("two"))
        until(child, "two")
        wait_gone_within([process], 3.0)


def test_a_closed_terminal_leaves_nobody(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(WITH_PID.format("one"))
    terminal = Terminal(tmp_path, "app.py", "--port", "0")
    try:
        terminal.wait_for("Press Ctrl-C")
        everybody = [terminal.pid, *descendants(terminal.pid)]
        terminal.close()
        wait_gone_within(everybody, 5.0)
    finally:
        terminal.end()


def test_it_is_said_that_there_are_no_more_watches(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "app.py"
    path.write_text(word("one") + ANSWER)
    script = 'echo 0 > /proc/sys/user/max_inotify_watches && exec "$@"'
    command = [*_in_a_namespace(), "sh", "-c", script, "sh"]
    words = [sys.executable, "-m", "aserve", "app.py", "--port", "0", "--reload"]
    child = start(*command, *words, raw=True)
    assert get(child)[1] == "one"
    path.write_text(word("two") + ANSWER)
    until(child, "two")
    child.wait_for("reloading")
    assert "watch" in child.errors


@pytest.mark.parametrize("where", ["import", "view"])
def test_sudden_death_leaves_nobody_who_holds_the_interpreter(
    tmp_path: Path, start: Start, where: str
) -> None:
    """A long call in C, such as a regular expression that backtracks, lets no thread run."""
    app = tmp_path / "app.py"
    app.write_text(
        "import re, sys\n"
        "def app(environ, start_response):\n"
        "    print('is stuck', file=sys.stderr, flush=True)\n"
        "    re.match('(a+)+b', 'a' * 60)\n"
    )
    child = serve(start)
    with socket.create_connection(("127.0.0.1", child.port), timeout=DEADLINE) as sock:
        if where == "view":
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        else:
            app.write_text(app.read_text() + "app({}, None)\n")
        child.wait_for("is stuck")
        children = descendants(child.pid)
        with contextlib.ExitStack() as stack:
            for pid in children:
                stack.enter_context(ending(pid))
            child.send(signal.SIGKILL)
            child.process.wait()
            wait_gone_within(children, 1.0)


def test_a_link_to_a_folder_of_the_project_goes(tmp_path: Path, start: Start) -> None:
    """Two paths of one folder have one watch: it must stay for the other."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "app.py").write_text(
        "import pkg\ntry:\n    from pkg.words import WORD\n"
        "except ImportError:\n    WORD = 'none'\n" + ANSWER
    )
    (tmp_path / "alias").symlink_to("pkg")
    child = serve(start)
    assert get(child)[1] == "none"
    (tmp_path / "alias").unlink()
    child.wait_for("alias.* took")
    (tmp_path / "pkg" / "words.py").write_text(word("new"))
    child.wait_for("words.py")
    until(child, "new")


def test_a_port_of_the_apps_own_while_a_request_runs(tmp_path: Path, start: Start) -> None:
    """The old process holds it a moment longer; behind its end all could be well."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    app = tmp_path / "app.py"
    code = (
        f"import socket, sys\nlistener = socket.create_server(('127.0.0.1', {port}))\n"
        "from pathlib import Path\n"
        "def app(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/slow':\n"
        "        print('has begun', file=sys.stderr, flush=True)\n"
        "        while not Path('go').exists(): pass\n"
        "    start_response('200 OK', [])\n    return [WORD]\n"
    )
    app.write_text("WORD = b'one'\n" + code)
    child = serve(start)
    slow = threading.Thread(target=lambda: get(child, path="/slow"))
    slow.start()
    child.wait_for("has begun")
    old = children_of(child.pid)
    app.write_text("WORD = b'two'\n" + code)
    child.wait_for("Waiting for a change|reloading")
    (tmp_path / "go").touch()
    slow.join(DEADLINE)
    wait_gone(old[:1])
    until(child, "two")


def test_no_answer_of_a_load_that_is_known_to_be_superseded(tmp_path: Path, start: Start) -> None:
    """A module moves while the app looks for its modules: it is found in neither folder."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "module.py").write_text("")
    app = tmp_path / "app.py"
    code = (
        "import sys\nfrom pathlib import Path\n"
        "WORD = 'in b ' if Path('b/module.py').exists() else ''\n"
        "print('has listed', file=sys.stderr, flush=True)\n"
        "while not Path('go').exists(): pass\n"
        "WORD += 'in a' if Path('a/module.py').exists() else ''\n"
        "WORD = WORD or 'nowhere'\n" + ANSWER
    )
    app.write_text("WORD = 'first'\n" + ANSWER)
    child = serve(start)
    assert get(child)[1] == "first"
    for _ in range(500):  # meanwhile the next process gets ready
        get(child)
    answers: set[str] = set()
    app.write_text(code)
    child.wait_for("has listed")
    (tmp_path / "a" / "module.py").rename(tmp_path / "b" / "module.py")
    (tmp_path / "go").touch()
    while "in b " not in answers:
        answers.add(get(child)[1])
    assert answers <= {"first", "in b "}
