"""The reloader as a developer meets it: real files, real processes, nothing lost."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import DEADLINE, Child, Start

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{word}"]
"""

# Behind a line that says what WORD is.
WORD_APP = """
def app(environ, start_response):
    start_response('200 OK', [])
    return [WORD]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "app.py", "one")
    return tmp_path


@pytest.fixture
def serve(start: Start) -> Callable[..., Child]:
    return lambda *words, **more: start("app.py", "--port", "0", "--reload", *words, **more)


def write(path: Path, word: str) -> None:
    path.write_text(APP.format(word=word))


def get(child: Child, *, accept: str = "*/*", path: str = "/") -> tuple[int, str]:
    return ask(child.port, path, accept=accept)


def ask(
    port: int, path: str = "/", *, accept: str = "*/*", body: bytes | None = None, token: str = ""
) -> tuple[int, str]:
    """Status and body of the answer to one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    with contextlib.closing(connection):
        method = "GET" if body is None else "POST"
        headers = {"Accept": accept, **({"X-Aserve-Reload": token} if token else {})}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def until(child: Child, text: str) -> str:
    """Ask until the answer has a text in it. Each answer comes from the process that is due."""
    for _ in range(10_000):
        status, body = get(child)
        if text in body:
            return f"{status} {body}"
    raise AssertionError(body)


def reloads(child: Child) -> int:
    """How many there were; at least one, whose line comes behind its first answer."""
    child.wait_for("reloading")
    return child.errors.count("reloading")


def children_of(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_gone(pids: list[int]) -> None:
    """By the kernel's word, not by a clock."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            descriptor = os.pidfd_open(pid)
            try:
                import select

                assert select.select([descriptor], [], [], 5)[0], pid
            finally:
                os.close(descriptor)


def test_an_edit_is_served(folder: Path, serve: Callable[..., Child]) -> None:
    child = serve()
    assert get(child) == (200, "one")
    for word in ("two", "six", "ten", "three"):  # of the same size, within one second, too
        write(folder / "app.py", word)
        until(child, word)
    line = child.wait_for(r"Detected change in '(.*)', reloading \((\w+)\) took \d+ ms")
    assert (line[1], line[2]) == (str(folder / "app.py"), "edited")
    assert child.end(signal.SIGINT) == 0
    assert "Traceback" not in child.errors


def test_no_request_is_refused_or_answered_by_old_code(
    folder: Path, serve: Callable[..., Child]
) -> None:
    """Clients that never retry, on new connections, while the app changes ten times."""
    write(folder / "app.py", "0")
    child = serve()
    port = child.port
    seen: list[list[int]] = [[] for _ in range(4)]
    problems: list[BaseException] = []
    stop = threading.Event()

    def ask(numbers: list[int]) -> None:
        try:
            while not stop.is_set():
                numbers.append(int(get(child)[1]))
        except BaseException as error:
            problems.append(error)

    assert port
    threads = [threading.Thread(target=ask, args=(numbers,)) for numbers in seen]
    for thread in threads:
        thread.start()
    for number in range(1, 11):
        write(folder / "app.py", str(number))
        until(child, str(number))
    stop.set()
    for thread in threads:
        thread.join(DEADLINE)
    assert problems == []
    for numbers in seen:
        assert numbers == sorted(numbers)
        assert numbers[-1] >= 9


def test_a_connection_that_is_kept_alive_moves_along(
    folder: Path, serve: Callable[..., Child]
) -> None:
    """Clients that never retry and never connect again, at rest and busy, while the app changes."""
    write(folder / "app.py", "0")
    child = serve()
    port = child.port
    problems: list[BaseException] = []
    stop = threading.Event()

    def ask(pause: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        connection.connect()
        before = 0
        try:
            while not stop.wait(pause):
                # A connection whose last answer did not say `close` has to answer once more.
                connection.request("GET", "/")
                number = int(connection.getresponse().read())
                assert number >= before
                before = number
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=(pause,)) for pause in (0, 0, 0.01, 0.05)]
    for thread in threads:
        thread.start()
    for number in range(1, 9):
        write(folder / "app.py", str(number))
        until(child, str(number))
    stop.set()
    for thread in threads:
        thread.join(DEADLINE)
    assert problems == []


def test_a_silent_connection_outlives_its_process(
    folder: Path, serve: Callable[..., Child]
) -> None:
    """Half a request may be there already; the error page's own connections move, too."""
    child = serve()
    assert get(child)[1] == "one"
    address = ("127.0.0.1", child.port)
    with (
        socket.create_connection(address, timeout=DEADLINE) as silent,
        socket.create_connection(address, timeout=DEADLINE) as half,
    ):
        half.sendall(b"GET / HTTP/1.1\r\nHo")
        assert get(child)[1] == "one"
        write(folder / "app.py", "two")
        until(child, "two")
        (folder / "app.py").write_text("nonsense(")
        until(child, "SyntaxError")
        write(folder / "app.py", "three")
        until(child, "three")
        half.sendall(b"st: localhost\r\nConnection: close\r\n\r\n")
        silent.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        for sock in (silent, half):
            data = b""
            while piece := sock.recv(65_536):
                data += piece
            assert data.endswith(b"three"), data


def test_a_syntax_error_is_shown_and_its_fix_is_noticed(
    folder: Path, serve: Callable[..., Child]
) -> None:
    child = serve()
    assert get(child)[1] == "one"
    (folder / "app.py").write_text("def broken(:\n")
    shown = until(child, "SyntaxError")
    assert shown.startswith("500")
    assert "app.py" in shown
    assert "line 1" in shown
    child.wait_for("SyntaxError: ")
    child.wait_for(r"Waiting for a change\. Until then http://localhost:\d+ shows this")
    status, page = get(child, accept="text/html,*/*")
    assert status == 500
    assert "<title>" in page
    assert "<script" in page

    # The page waits for the change, and is told at once.
    token = re.search(r'"token": "([\w-]+)"', page)
    assert token is not None
    question = f"GET /.aserve/changed HTTP/1.1\r\nHost: localhost\r\nX-Aserve-Reload: {token[1]}"
    with socket.create_connection(("127.0.0.1", child.port), timeout=DEADLINE) as waiter:
        waiter.sendall(f"{question}\r\n\r\n".encode())
        assert get(child)[0] == 500  # whoever came before was heard before
        write(folder / "app.py", "fixed")
        assert waiter.recv(100).startswith(b"HTTP/1.1 204 ")
    assert get(child) == (200, "fixed")  # waits for the new process, if need be
    assert child.end() == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import no_such_module_anywhere", "No module named"),
        ("import os; os._exit(7)", "ended with status 7"),
        ("import os; os.kill(os.getpid(), 11)", "was ended by SIGSEGV"),
        ("import sys; sys.exit('no')", "SystemExit"),
        ("undefined_name", "NameError"),
        ("app = 1", "app"),
    ],
)
def test_whatever_goes_wrong_the_server_lives(
    folder: Path, serve: Callable[..., Child], code: str, words: str
) -> None:
    child = serve()
    assert get(child)[1] == "one"
    (folder / "app.py").write_text(code)
    assert until(child, words).startswith("500")
    write(folder / "app.py", "repaired")
    assert until(child, "repaired").startswith("200")
    assert child.end() == 0


def test_broken_from_the_beginning(folder: Path, serve: Callable[..., Child]) -> None:
    (folder / "app.py").write_text("import helper\napp = helper.app\n")
    child = serve()
    child.wait_for("Waiting for a change")
    write(folder / "helper.py", "whole")  # the module that was missing
    assert child.url
    assert get(child) == (200, "whole")
    assert child.end() == 0


def test_without_an_app_there_is_nothing_to_wait_for(start: Start) -> None:
    child = start("no_such_module:app", "--port", "0", "--reload")
    assert child.wait() == 2
    assert "Waiting" not in child.errors


def test_modules_come_and_go(folder: Path, serve: Callable[..., Child]) -> None:
    (folder / "pkg").mkdir()
    (folder / "pkg" / "__init__.py").write_text("")
    (folder / "pkg" / "words.py").write_text("WORD = b'first'\n")
    (folder / "app.py").write_text(
        "try:\n    from pkg.extra import WORD\n"
        "except ImportError:\n    from pkg.words import WORD\n" + WORD_APP
    )
    child = serve()
    assert get(child)[1] == "first"
    (folder / "pkg" / "words.py").write_text("WORD = b'edited'\n")
    until(child, "edited")
    (folder / "pkg" / "extra.py").write_text("WORD = b'created'\n")
    until(child, "created")
    (folder / "pkg" / "extra.py").rename(folder / "pkg" / "other.py")
    until(child, "edited")
    (folder / "pkg" / "extra").mkdir()
    (folder / "pkg" / "extra" / "__init__.py").write_text("WORD = b'package'\n")
    until(child, "package")
    new = folder / "app.tmp"  # as editors save
    new.write_text((folder / "app.py").read_text().replace("[WORD]", "[WORD, b'!']"))
    new.replace(folder / "app.py")
    until(child, "package!")
    assert child.end() == 0


def test_what_a_view_imports_is_watched(folder: Path, serve: Callable[..., Child]) -> None:
    (folder / "app.py").write_text(
        "def app(environ, start_response):\n    import late\n    start_response('200 OK', [])\n"
        "    return [late.WORD]\n"
    )
    (folder / "late.py").write_text("WORD = b'early'\n")
    child = serve()
    assert get(child)[1] == "early"
    (folder / "late.py").write_text("WORD = b'later'\n")
    until(child, "later")


def test_a_save_without_a_change_does_not_reload(folder: Path, serve: Callable[..., Child]) -> None:
    child = serve()
    assert get(child)[1] == "one"
    os.utime(folder / "app.py")
    write(folder / "app.py", "one")
    (folder / "notes.txt").write_text("x")
    write(folder / "app.py", "two")
    until(child, "two")
    assert reloads(child) == 1


def test_an_edit_of_the_environment_file(folder: Path, serve: Callable[..., Child]) -> None:
    """Also a variable that goes, and a file that cannot be read."""
    (folder / "app.py").write_text(
        "import os\nWORD = os.environ.get('WORD', 'none').encode()\n" + WORD_APP
    )
    (folder / ".env").write_text("WORD=first\n")
    child = serve()
    assert get(child)[1] == "first"
    (folder / ".env").write_text("WORD=second\n")
    until(child, "second")
    (folder / ".env").write_text("OTHER=third\n")
    until(child, "none")
    (folder / ".env").write_bytes(b"WORD=\xff\n")
    child.wait_for("is not encoded as UTF-8")
    (folder / ".env").unlink()
    (folder / ".flaskenv").write_text("WORD=fourth\n")
    until(child, "fourth")
    assert child.end() == 0


@pytest.mark.parametrize("way", ["auto", "watchfiles", "stat"])
def test_extra_files_and_excluded_ones(folder: Path, serve: Callable[..., Child], way: str) -> None:
    (folder / "data").mkdir()
    (folder / "app.py").write_text(
        "from pathlib import Path\nWORD = Path('data/word.txt').read_bytes()\n" + WORD_APP
    )
    (folder / "data" / "word.txt").write_text("one")
    child = serve(
        "--extra-files", "data", "--exclude-patterns", "*/ignored_*.py", "--reloader", way
    )
    assert get(child)[1] == "one"
    (folder / "ignored_test.py").write_text("")
    (folder / "data" / "word.txt").write_text("two")
    until(child, "two")
    assert reloads(child) == 1
    child.wait_for("word.txt")


def test_a_request_that_runs_is_finished_by_the_code_it_began_with(
    folder: Path, serve: Callable[..., Child]
) -> None:
    (folder / "app.py").write_text(
        "import os, time\nfrom pathlib import Path\n"
        "def app(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/slow':\n"
        "        Path('begun').touch()\n"
        "        while not Path('go').exists(): time.sleep(0.005)\n"
        "    start_response('200 OK', [])\n    return [b'old']\n"
    )
    child = serve()
    assert get(child)[1] == "old"
    answers: list[tuple[int, str]] = []
    slow = threading.Thread(target=lambda: answers.append(get(child, path="/slow")))
    slow.start()
    while not (folder / "begun").exists():
        assert slow.is_alive()
    write(folder / "app.py", "new")
    until(child, "new")  # does not wait for the slow one
    assert answers == []
    (folder / "go").touch()
    slow.join(DEADLINE)
    assert answers == [(200, "old")]


def test_an_endless_stream_delays_nothing(folder: Path, serve: Callable[..., Child]) -> None:
    (folder / "app.py").write_text(
        "import itertools, time\n"
        "def app(environ, start_response):\n    start_response('200 OK', [])\n"
        "    return (time.sleep(0.01) or b'tick ' for _ in itertools.count())\n"
    )
    child = serve("--grace", "0.5")
    with socket.create_connection(("127.0.0.1", child.port), timeout=DEADLINE) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(100)
        write(folder / "app.py", "new")
        until_connected(child, "new")
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(65_536):  # cut at the end of the grace
                pass
    assert child.end() == 0


def until_connected(child: Child, text: str) -> None:
    """As `until`, where the old code never ends its answers."""
    for _ in range(10_000):
        with socket.create_connection(("127.0.0.1", child.port), timeout=DEADLINE) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if text in sock.recv(65_536).decode():
                return
    raise AssertionError(text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_leaves_nobody_behind(
    folder: Path, serve: Callable[..., Child], number: signal.Signals
) -> None:
    child = serve()
    assert get(child)[1] == "one"
    children = children_of(child.pid)
    assert children
    assert child.end(number) == 0
    assert all(is_gone(pid) for pid in children)
    assert "Traceback" not in child.errors


def test_the_supervisors_sudden_death_takes_its_children_along(
    folder: Path, serve: Callable[..., Child]
) -> None:
    child = serve()
    assert get(child)[1] == "one"
    children = children_of(child.pid)
    child.end(signal.SIGKILL)
    wait_gone(children)


def test_a_second_signal_ends_at_once(folder: Path, serve: Callable[..., Child]) -> None:
    (folder / "app.py").write_text(
        "import threading\nfrom pathlib import Path\n"
        "def app(environ, start_response):\n    Path('begun').touch()\n"
        "    threading.Event().wait()\n"
    )
    child = serve("--grace", "60")
    with socket.create_connection(("127.0.0.1", child.port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not (folder / "begun").exists():
            assert child.process.poll() is None
        child.send(signal.SIGINT)
        child.wait_for("Waiting up to 60 s for GET /")
        assert child.end(signal.SIGINT) == 0


def test_a_process_that_dies_is_replaced_one_time(
    folder: Path, serve: Callable[..., Child]
) -> None:
    (folder / "app.py").write_text(
        "import os\n"
        "def app(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/die': os._exit(9)\n"
        "    start_response('200 OK', [])\n    return [b'alive']\n"
    )
    child = serve()
    for _ in range(2):
        assert get(child)[1] == "alive"
        with contextlib.suppress(OSError, http.client.HTTPException):
            get(child, path="/die")
    assert "ended with status 9" in until(child, "ended with status 9")


def test_over_tls(folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate is the same before and after, and in front of the error page."""
    child = start("app.py", "--port", "0", "--reload", "--ssl", "adhoc")
    port = child.port

    def ask() -> str:
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            return connection.getresponse().read().decode()

    def until_asked(word: str) -> bool:
        while ask() != word:
            pass
        return True

    assert ask() == "one"
    shown = {ssl.get_server_certificate(("127.0.0.1", port))}
    write(folder / "app.py", "two")
    while ask() != "two":
        pass
    shown.add(ssl.get_server_certificate(("127.0.0.1", port)))
    (folder / "app.py").write_text("nonsense(")
    while "SyntaxError" not in ask():
        pass
    shown.add(ssl.get_server_certificate(("127.0.0.1", port)))
    assert len(shown) == 1
    # Who has connected and said nothing yet is not lost with the process, nor with the page.
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port)))]
        assert "SyntaxError" in ask()
        write(folder / "app.py", "three")
        assert until_asked("three")
        silent.append(stack.enter_context(socket.create_connection(("127.0.0.1", port))))
        assert ask() == "three"
        write(folder / "app.py", "four")
        assert until_asked("four")
        for sock in silent:
            tls = ssl._create_unverified_context().wrap_socket(sock)
            tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert tls.makefile("rb").read().endswith(b"four")
            tls.close()
    assert child.end() == 0


def test_on_a_unix_socket(folder: Path, start: Start) -> None:
    path = folder / "s"
    child = start("app.py", "--uds", str(path), "--reload")
    child.wait_for("ready in")

    def ask() -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(DEADLINE)
            sock.connect(str(path))
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            data = b""
            while piece := sock.recv(65_536):
                data += piece
            return data

    assert ask().endswith(b"one")
    (folder / "app.py").write_text("nonsense(")
    while b"SyntaxError" not in ask():
        pass
    write(folder / "app.py", "two")
    while not ask().endswith(b"two"):
        pass
    assert child.end() == 0
    assert not path.exists()
