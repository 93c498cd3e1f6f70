"""`aserve APP` from start to end: banner, requests, log, signals, exit status."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import aserve

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., Any]

PLAIN = """
def app(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        raise ValueError("on purpose")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""


@pytest.fixture
def app_file(tmp_path: Path) -> Path:
    path = tmp_path / "app.py"
    path.write_text(PLAIN)
    return path


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port of 127.0.0.1 that another socket listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


# --- serving --------------------------------------------------------------------------------


def test_serves_the_app_of_the_directory(app_file: Path, start: Start) -> None:
    """B4: port 0 shows the real port. B116: one line per request."""
    server = start("--port", "0")
    assert httpx.get(f"{server.url}/w%C3%B6rld").text == "hello"
    line = server.wait_for(r".*GET.*\n")[0]
    pattern = r'(127\.0\.0\.1|::1) \[[\d-]+ [\d:]+\] "GET /wörld HTTP/1\.1" 200 5 \d+\.\dms\n'
    assert re.fullmatch(pattern, line)
    assert server.end(signal.SIGINT) == 0
    assert "Traceback" not in server.output
    assert "\x1b" not in server.output


def test_plain_banner_names_the_app(app_file: Path, start: Start) -> None:
    """B15: once, on standard error."""
    server = start("app:app", "--port", "0")
    host = re.escape(server.url)
    pattern = rf"aserve \S+: app:app \(function, app\.py:2\) on {host}, ready in \d+ ms\."
    assert re.search(pattern, server.output, re.MULTILINE)
    assert server.end() == 0
    assert server.output.count("Press Ctrl-C") == 1


def test_demo_proves_itself(start: Start) -> None:
    with httpx.Client(base_url=start("demo", "--port", "0").url) as client:
        page = client.get("/?q=%3Cb%3E")
        assert "It works" in page.text
        assert f"<td>{client.base_url}/?q=%3Cb%3E</td>" in page.text
        echo = client.post("/echo", data={"text": "Grüße"}).json()
        assert echo["form"] == {"text": ["Grüße"]}
        assert client.post("/echo", content=b"raw").json()["text"] == "raw"
        assert client.get("/echo").status_code == 405
        with client.stream("GET", "/stream") as response:
            pieces = list(response.iter_raw())
        assert len(pieces) > 1
        assert b"".join(pieces).endswith(b"10 of 10\n")
        assert client.get("/slow?seconds=0").text == "slept 0 s\n"
        assert client.get("/slow?seconds=x").status_code == 400
        assert client.get("/error").status_code == 500
        assert client.get("/none").status_code == 404


def test_reserved_words_behind_options(start: Start) -> None:
    assert "It works" in httpx.get(start("--port", "0", "demo").url).text


def test_file_called_as_a_command_needs_its_suffix(tmp_path: Path, start: Start) -> None:
    (tmp_path / "demo.py").write_text(PLAIN)
    assert httpx.get(start("demo.py", "--port", "0").url).text == "hello"


def test_app_of_pyproject(tmp_path: Path, start: Start) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "shop.py").write_text(PLAIN)
    (tmp_path / "pyproject.toml").write_text("[tool.aserve]\napp = 'src/shop.py'\nport = 0\n")
    (tmp_path / "below").mkdir()
    server = start(cwd=tmp_path / "below")
    assert httpx.get(server.url).text == "hello"


def test_env_files_reach_the_app(tmp_path: Path, start: Start) -> None:
    source = "import os\ndef app(environ, start):\n    start('200 OK', [])\n"
    source += "    return [f\"{os.environ['A']} {os.environ['B']}\".encode()]\n"
    (tmp_path / "app.py").write_text(source)
    (tmp_path / ".env").write_text("A=file\nB=file\nASERVE_PORT=0\n")
    assert httpx.get(start(A="real").url).text == "real file"


def test_module_entry(app_file: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(aserve.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "aserve", "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"aserve {aserve.__version__}\n"


def test_app_error_is_logged_and_the_server_lives(app_file: Path, start: Start) -> None:
    """B57."""
    server = start("--port", "0")
    assert httpx.get(f"{server.url}/fail").status_code == 500
    assert httpx.get(server.url).text == "hello"
    server.wait_for("ValueError: on purpose")
    assert server.end() == 0


def test_no_access_log(app_file: Path, start: Start) -> None:
    server = start("--port", "0", "--no-access-log")
    assert httpx.get(server.url).text == "hello"
    assert server.end() == 0
    assert "GET" not in server.output


def test_quiet(app_file: Path, start: Start) -> None:
    """B16: banner and access lines are silenced by the level; errors are not."""
    # The socket listens already, so nothing has to be waited for.
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = start("--fd", str(sock.fileno()), "--log-level", "error", fds=(sock.fileno(),))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        assert httpx.get(f"{url}/fail").status_code == 500
        server.wait_for("ValueError: on purpose")
        assert server.end() == 0
    assert "GET /fail HTTP" not in server.output
    assert "Press" not in server.output


def test_logging_of_the_app_is_used(tmp_path: Path, start: Start) -> None:
    """B115: an app that configures logging gets the records, one time."""
    (tmp_path / "app.py").write_text(
        "import logging\nlogging.basicConfig(level='INFO', format='MINE %(message)s')\n" + PLAIN
    )
    server = start("--port", "0")
    httpx.get(server.url)
    server.wait_for("MINE .*GET / HTTP")
    assert server.end() == 0
    assert server.output.count("GET / HTTP") == 1


# --- addresses ------------------------------------------------------------------------------


def test_unix_socket(app_file: Path, tmp_path: Path, start: Start) -> None:
    """B8, B9: the file is there while the server runs, and gone afterwards."""
    path = tmp_path / "a.sock"
    server = start("--host", f"unix://{path}")
    server.wait_for(f"on unix://{re.escape(str(path))}, ready")
    assert stat.S_ISSOCK(path.stat().st_mode)
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        assert client.get("http://localhost/").text == "hello"
    assert server.end() == 0
    assert not path.exists()


def test_inherited_descriptor(app_file: Path, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = start("--fd", str(sock.fileno()), fds=(sock.fileno(),))
        assert server.url == f"http://127.0.0.1:{sock.getsockname()[1]}"
        assert httpx.get(server.url).text == "hello"
        assert server.end() == 0


def test_port_that_was_asked_for_is_taken(app_file: Path, run: Run, taken_port: int) -> None:
    """B6: exit status 4, one line with the port and the ways out."""
    for words, variables in (
        (["--port", str(taken_port)], {}),
        ([], {"ASERVE_PORT": str(taken_port)}),
    ):
        done = run("--host", "127.0.0.1", *words, **variables)
        assert done.returncode == 4
        assert str(taken_port) in done.stderr
        assert "--port 0" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_address_of_another_machine(app_file: Path, run: Run) -> None:
    done = run("--host", "192.0.2.1", "--port", "0")
    assert done.returncode == 4
    assert "192.0.2.1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


_PASS_AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_sockets_of_systemd(app_file: Path, tmp_path: Path, start: Start) -> None:
    """LISTEN_FDS starts at descriptor 3 and is meant for one process (sd_listen_fds(3))."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = start(
            # The test may hold number 3 itself, so the descriptor is moved there late.
            launcher=(sys.executable, "-c", _PASS_AS_SYSTEMD, str(sock.fileno())),
            fds=(sock.fileno(),),
        )
        assert server.url == f"http://127.0.0.1:{sock.getsockname()[1]}"
        assert httpx.get(server.url).text == "hello"
        assert server.end() == 0


# --- no app ---------------------------------------------------------------------------------


def test_no_app(run: Run) -> None:
    done = run("--port", "0")
    assert done.returncode == 2
    assert done.stderr.startswith("aserve: No app was named, and ")


def test_app_that_fails_to_import(tmp_path: Path, run: Run) -> None:
    """B83: the user's frames, the message last."""
    (tmp_path / "app.py").write_text("import helper\n")
    (tmp_path / "helper.py").write_text("1 / 0\n")
    done = run("--port", "0")
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert [line for line in lines if line.startswith("  File")] == [
        f'  File "{tmp_path}/app.py", line 1, in <module>',
        f'  File "{tmp_path}/helper.py", line 1, in <module>',
    ]
    assert lines[-1] == "aserve: 'app.py' failed to import: ZeroDivisionError: division by zero"


def test_app_that_exits_at_import(tmp_path: Path, run: Run) -> None:
    (tmp_path / "app.py").write_text("raise SystemExit(0)\napp = 1\n")
    assert run("--port", "0").returncode == 3


def test_interrupt_while_the_app_is_importing(tmp_path: Path, start: Start) -> None:
    """B19: Ctrl-C is quiet, also before the server is ready."""
    (tmp_path / "app.py").write_text(
        "import sys, threading\nprint('importing', file=sys.stderr, flush=True)\n"
        "app = threading.Event().wait()\n"
    )
    server = start("--port", "0")
    server.wait_for("importing")
    assert server.end(signal.SIGINT) == 130
    assert "Traceback" not in server.output


def test_interrupt_during_the_imports_of_aserve_itself(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom aserve.__main__ import main\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'aserve.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\nmain()\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


# --- the other distribution -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["aserve-0.0.1.dist-info", "aserve-0.0.1-py2.7.egg-info"])
def test_unrelated_distribution_is_named(
    app_file: Path, tmp_path: Path, start: Start, name: str
) -> None:
    site = tmp_path / "site"
    package = Path(aserve.__file__).parent
    shutil.copytree(package, site / "aserve", ignore=shutil.ignore_patterns("__pycache__"))
    (site / name).mkdir()
    server = start("--port", "0", PYTHONPATH=str(site))
    assert httpx.get(server.url).text == "hello"
    first = server.output.splitlines()[0]
    assert first.startswith("aserve: the unrelated distribution `aserve` 0.0.1 is installed in")
    assert server.end() == 0


# --- the browser ----------------------------------------------------------------------------


def test_open_opens_the_page(app_file: Path, tmp_path: Path, start: Start) -> None:
    browser = tmp_path / "browser.py"
    browser.write_text(
        "import sys, urllib.request\nurllib.request.urlopen(sys.argv[1] + '/seen')\n"
    )
    server = start("--port", "0", "--open", BROWSER=f"{sys.executable} {browser} %s")
    server.wait_for("GET /seen HTTP/1.1")
    assert server.end() == 0


def test_open_without_a_browser_only_says_so(app_file: Path, start: Start) -> None:
    server = start("--port", "0", "--open", BROWSER="/nonexistent/browser %s", PATH="/nonexistent")
    server.wait_for("no browser could be opened")
    assert httpx.get(server.url).text == "hello"
    assert server.end() == 0


# --- the end --------------------------------------------------------------------------------


@pytest.fixture
def stuck(tmp_path: Path) -> str:
    """An app whose view never returns, and says when it has begun."""
    (tmp_path / "app.py").write_text(
        "import sys, threading\n\n"
        "def app(environ, start_response):\n"
        # In one line, so that the position is the same before and after it has said so.
        "    print('view begins', file=sys.stderr, flush=True); threading.Event().wait()\n"
    )
    return "app.py:4"


def test_second_signal_cuts(stuck: str, start: Start) -> None:
    """B19, B26: the first signal waits for what runs and names it; the second one does not."""
    server = start("--port", "0", "--grace", "3600")
    address = ("localhost", int(server.url.rpartition(":")[2]))
    with socket.create_connection(address) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for("view begins")
        server.process.send_signal(signal.SIGINT)
        server.wait_for(f"GET /slow .*{stuck}")
        assert server.end(signal.SIGINT) == 0
    assert "Traceback" not in server.output


def test_grace_ends(stuck: str, start: Start) -> None:
    server = start("--port", "0", "--grace", "0")
    address = ("localhost", int(server.url.rpartition(":")[2]))
    with socket.create_connection(address) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for("view begins")
        assert server.end() == 0
    assert re.search(f"Cut .*GET /slow .*{stuck}", server.output)
    assert '"GET /slow HTTP/1.1" - 0 ' in server.output


def test_second_signal_does_not_wait_for_the_apps_own_threads(tmp_path: Path, start: Start) -> None:
    """B19: a thread that is no daemon, and an exit function that hangs, would hold Python up."""
    (tmp_path / "app.py").write_text(
        "import atexit, sys, threading\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "atexit.register(threading.Event().wait)\n\n"
        "def app(environ, start_response):\n"
        "    print('view begins', file=sys.stderr, flush=True); threading.Event().wait()\n"
    )
    server = start("--port", "0", "--grace", "3600")
    address = ("localhost", int(server.url.rpartition(":")[2]))
    with socket.create_connection(address) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for("view begins")
        server.process.send_signal(signal.SIGINT)
        server.wait_for("Waiting up to")
        assert server.end(signal.SIGINT) == 0


def test_sigterm_while_the_app_is_imported(tmp_path: Path, start: Start) -> None:
    """B20: also as the first process of a container, which has no default action."""
    (tmp_path / "app.py").write_text(
        "import sys, time\nprint('http://importing:1', file=sys.stderr, flush=True)\n"
        "while True:\n    time.sleep(1)\n"
    )
    server = start("--port", "0")
    server.wait_for("importing")
    assert server.end(signal.SIGTERM) == 0
    assert "Traceback" not in server.output


def test_misspelt_variable_is_told_at_the_start(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text("def app(environ, start_response):\n    return []\n")
    server = start("--port", "0", ASERVE_PROT="1")
    server.wait_for("ASERVE_PROT is not an option; did you mean ASERVE_PORT")
