"""The reloader, its processes and what is around them: terminals, children, addresses."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import DEADLINE, Start
from .reloading import ANSWER, only_reload, serve, took
from .terminal import Terminal
from .test_reload import children_of, get, is_gone, until, wait_gone

WITH_PID = "import os\nWORD = f'{} {{os.getpid()}}'\n" + ANSWER.replace("{", "{{").replace(
    "}", "}}"
)


def pid_of(answer: str) -> int:
    return int(answer.split()[-1])


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    found = children_of(pid)
    return found + [deeper for child in found for deeper in descendants(child)]


@pytest.mark.parametrize(
    "code",
    [
        "import threading\nthreading.Thread(target=threading.Event().wait).start()\n",
        "import atexit, threading\natexit.register(threading.Event().wait)\n",
        "import threading\nthreading._register_atexit(threading.Event().wait)\n",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n",
    ],
    ids=["thread", "atexit", "atexit of threads", "no SIGTERM"],
)
def test_nothing_that_does_not_end_delays_a_reload(tmp_path: Path, start: Start, code: str) -> None:
    app = tmp_path / "app.py"
    app.write_text(code + WITH_PID.format("one"))
    child = serve(start)
    old = pid_of(get(child)[1])
    app.write_text(code + WITH_PID.format("two"))
    new = pid_of(until(child, "two"))
    assert new != old
    # Exit functions have a second: that would show here.
    assert took(child) < 900
    wait_gone([old])
    assert child.end() == 0
    wait_gone([new])


def test_exit_functions_are_called(tmp_path: Path, start: Start) -> None:
    app = tmp_path / "app.py"
    app.write_text(
        "import atexit\nfrom pathlib import Path\natexit.register(Path('left').touch)\n"
        + WITH_PID.format("one")
    )
    child = serve(start)
    old = pid_of(get(child)[1])
    app.write_text(WITH_PID.format("two"))
    until(child, "two")
    wait_gone([old])
    assert (tmp_path / "left").exists()


def test_a_process_of_the_app_ends_with_its_generation(tmp_path: Path, start: Start) -> None:
    app = tmp_path / "app.py"
    app.write_text(
        "import multiprocessing, time\n"
        "context = multiprocessing.get_context('spawn')\n"
        "process = None\n"
        "def app(environ, start_response):\n"
        "    global process\n"
        "    if process is None:\n"
        "        process = context.Process(target=time.sleep, args=(600,), daemon=True)\n"
        "        process.start()\n"
        "    start_response('200 OK', [])\n    return [f'one {process.pid}'.encode()]\n"
    )
    child = serve(start)
    process = pid_of(get(child)[1])
    assert not is_gone(process)
    app.write_text(WITH_PID.format("two"))
    until(child, "two")
    wait_gone([process])
    assert child.end() == 0


def test_an_app_that_listens_on_a_port_of_its_own(tmp_path: Path, start: Start) -> None:
    """As exporters of metrics do; the old process is at rest and gives it up at once."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    app = tmp_path / "app.py"
    code = f"import socket\nlistener = socket.create_server(('127.0.0.1', {port}))\n" + ANSWER
    app.write_text("WORD = '0'\n" + code)
    child = serve(start)
    assert get(child) == (200, "0")
    for number in range(1, 6):
        app.write_text(f"WORD = '{number}'\n" + code)
        # On a busy machine the old process may still hold it: then the load is tried again.
        while get(child) != (200, str(number)):
            pass


def test_results_of_a_pool_of_processes(tmp_path: Path, start: Start) -> None:
    """Modules of the user are loaded in these processes, too: as they are now."""
    app = tmp_path / "app.py"
    (tmp_path / "work.py").write_text("def work(n): return n + 1\n")
    app.write_text(
        "import multiprocessing, work\n"
        "def app(environ, start_response):\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        body = str(pool.map(work.work, [1, 2, 3])).encode()\n"
        "    start_response('200 OK', [])\n    return [body]\n"
    )
    child = serve(start)
    assert get(child) == (200, "[2, 3, 4]")
    (tmp_path / "work.py").write_text("def work(n): return n * 9\n")
    assert until(child, "[9, 18, 27]").startswith("200")
    assert child.end() == 0
    assert "Traceback" not in child.errors


def test_templates_show_without_a_reload_where_flask_looks_at_them(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "templates").mkdir()
    template = tmp_path / "templates" / "page.html"
    template.write_text("<p>one</p>")
    (tmp_path / "app.py").write_text(
        "import os, flask\napp = flask.Flask(__name__)\n"
        "app.config['TEMPLATES_AUTO_RELOAD'] = True\n"
        "@app.get('/')\ndef page(): return flask.render_template('page.html') + str(os.getpid())\n"
    )
    child = serve(start)
    before = get(child)[1]
    template.write_text("<p>two</p>")
    assert until(child, "<p>two</p>") == f"200 {before.replace('one', 'two')}"
    assert "reloading" not in child.errors


def test_templates_among_the_extra_files(tmp_path: Path, start: Start) -> None:
    """In one folder that is there and in one that comes later."""
    (tmp_path / "templates").mkdir()
    template = tmp_path / "templates" / "page.html"
    template.write_text("<p>one</p>")
    (tmp_path / "app.py").write_text(
        "import flask\napp = flask.Flask(__name__)\n"
        "@app.get('/')\ndef page(): return flask.render_template('page.html')\n"
    )
    child = serve(start, "--extra-files", "templates")
    assert get(child)[1] == "<p>one</p>"
    template.write_text("<p>two</p>")
    until(child, "<p>two</p>")
    assert only_reload(child) == f"Detected change in {str(template)!r}, reloading (edited)"
    (tmp_path / "templates" / "parts").mkdir()
    part = tmp_path / "templates" / "parts" / "part.html"
    part.write_text("<i>part</i>")
    template.write_text("{% include 'parts/part.html' %}")
    until(child, "<i>part</i>")
    part.write_text("<i>edited</i>")
    until(child, "<i>edited</i>")


@pytest.mark.parametrize("host", ["::1", "localhost", "0.0.0.0"])
def test_addresses_and_a_free_port_stay(tmp_path: Path, start: Start, host: str) -> None:
    """In front of the error page, too."""
    app = tmp_path / "app.py"
    app.write_text(WITH_PID.format("one"))
    child = serve(start, "--host", host)
    port = child.port
    address = host.replace("0.0.0.0", "127.0.0.1")

    def ask() -> str:
        connection = http.client.HTTPConnection(address, port, timeout=DEADLINE)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            return connection.getresponse().read().decode()

    assert "one" in ask()
    for code, word in (
        (WITH_PID.format("two"), "two"),
        ("nonsense(", "SyntaxError"),
        (WITH_PID.format("three"), "three"),
    ):
        app.write_text(code)
        while word not in ask():
            pass
    assert child.end() == 0
    with pytest.raises(ConnectionRefusedError):
        ask()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "app.py").write_text(WITH_PID.format("one"))
    made = Terminal(tmp_path, "app.py", "--port", "0")
    yield made
    made.end()


def test_ctrl_c_in_a_terminal(terminal: Terminal) -> None:
    """The kernel sends it to all the processes; only one of them decides."""
    terminal.wait_for("Press Ctrl-C")
    children = children_of(terminal.pid)
    os.write(terminal.master, b"\x03")
    with contextlib.suppress(OSError):  # the end of the terminal
        terminal.wait_for("no such text")
    assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) == 0
    wait_gone(children)
    assert "Traceback" not in terminal.output


@pytest.mark.parametrize("what", ["idle", "busy", "loading", "broken"])
def test_sudden_death_leaves_nobody_within_a_second(
    tmp_path: Path, start: Start, what: str
) -> None:
    app = tmp_path / "app.py"
    app.write_text(
        "import atexit, sys, threading\natexit.register(threading.Event().wait)\n"
        "def app(environ, start_response):\n"
        "    print('is busy', file=sys.stderr)\n    threading.Event().wait()\n"
    )
    child = serve(start)
    with socket.create_connection(("127.0.0.1", child.port), timeout=DEADLINE) as sock:
        if what == "busy":
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            child.wait_for("is busy")
        elif what == "loading":
            app.write_text("import sys\nprint('is loading', file=sys.stderr)\nwhile True: pass\n")
            child.wait_for("is loading")
        elif what == "broken":
            app.write_text("nonsense(")
            child.wait_for("Waiting for a change")
        children = descendants(child.pid)
        assert children or what == "broken"
        child.send(signal.SIGKILL)
        child.process.wait()
        wait_gone_within(children, 1.0)


def wait_gone_within(pids: list[int], seconds: float) -> None:
    import select

    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                assert select.select([descriptor], [], [], seconds)[0], f"{pid} is an orphan"
            finally:
                os.close(descriptor)


def test_a_hangup_signal_loads_everything_anew(tmp_path: Path, start: Start) -> None:
    app = tmp_path / "app.py"
    app.write_text(WITH_PID.format("one"))
    child = serve(start)
    old = pid_of(get(child)[1])
    child.send(signal.SIGHUP)
    child.wait_for("Asked to reload, reloading")
    assert pid_of(get(child)[1]) != old
    wait_gone([old])
    assert child.end() == 0


def test_what_nohup_started_outlives_its_terminal(tmp_path: Path, start: Start) -> None:
    """A shell that ends sends SIGHUP, which `nohup` has told the system to ignore."""
    app = tmp_path / "app.py"
    app.write_text(WITH_PID.format("one"))
    words = ["-m", "aserve", "app.py", "--port", "0", "--reload"]
    child = start("nohup", sys.executable, *words, raw=True)
    old = pid_of(get(child)[1])
    child.send(signal.SIGHUP)
    assert pid_of(get(child)[1]) == old
    app.write_text(WITH_PID.format("two"))
    child.wait_for("reloading")  # it was not asked for one before
    assert "Asked to reload" not in child.errors
    assert get(child)[1].startswith("two")
    assert child.end() == 0


def test_an_environment_file_that_comes_and_goes(tmp_path: Path, start: Start) -> None:
    """Saved as editors save; what the person has set in the shell stays above it."""
    (tmp_path / "app.py").write_text(
        "import os\nWORD = os.environ.get('A', 'none') + os.environ['SHELL_HAS']\n" + ANSWER
    )
    child = serve(start, SHELL_HAS="!")
    assert get(child)[1] == "none!"
    new = tmp_path / "new"
    for text, word in (("A=one\n", "one!"), ("A=two\nSHELL_HAS=?\n", "two!")):
        new.write_text(text)
        new.replace(tmp_path / ".env")
        until(child, word)
    (tmp_path / ".env").unlink()
    until(child, "none!")
