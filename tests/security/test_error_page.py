"""The reloader's page about an app that cannot be loaded: it shows sources, so not to everybody."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..e2e.conftest import DEADLINE, LOCATION, Child, Start, starter
from .asking import CROSS_ORIGIN, FOREIGN_HOSTS, Answer, ask, send

BROKEN = "SECRET = 1 / 0\n"
PROGRAM = """
import sys
import aserve

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"fine"]

if __name__ == "__main__":
    aserve.run(app, port=int(sys.argv[1]), reload=True)
"""
CHANGED = "/.aserve/changed"
HTML = "Accept: text/html"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of `aserve` with an app that cannot be loaded."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "app.py").write_text(BROKEN)
    with starter(folder) as start:
        yield _waiting_port(start("app.py", "--port", "0", "--reload"))


def _waiting_port(child: Child) -> int:
    return int(child.wait_for(r"Until then http://[^:]+:(\d+) shows")[1])


def has_told(answer: Answer) -> bool:
    return "ZeroDivisionError" in answer.text or "SECRET" in answer.text


def token_of(port: int) -> str:
    found = re.search(r'"token": "([\w-]{16,})"', ask(port, HTML).text)
    assert found is not None
    return found[1]


def test_who_may_see_it(broken: int) -> None:
    for host in ("localhost", "LOCALHOST:1", "localhost.", "a.localhost", "127.0.0.1", "[::1]:80"):
        assert has_told(ask(broken, host=host)), host
        assert has_told(ask(broken, HTML, host=host)), host
    link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document"
    for lines in ("Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin", link):
        assert has_told(ask(broken, HTML, lines)), lines
    assert has_told(send(broken, b"GET / HTTP/1.0\r\n\r\n"))


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_foreign_names_get_nothing(broken: int, host: str) -> None:
    for lines in ((), (HTML,), ("X-Forwarded-Host: localhost",), (f"Origin: http://{host}",)):
        answer = ask(broken, *lines, host=host)
        assert (answer.status, has_told(answer)) == (403, False)
    answer = ask(broken, target=f"http://{host}/")
    assert (answer.status, has_told(answer)) == (403, False)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", 400),
        (b"GET / HTTP/1.0\r\nHost: localhost\r\nHost: localhost", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost:80@evil.example", 403),
        (b"GET / HTTP/1.1\r\nHost: evil@localhost", 403),
        (b"GET / HTTP/1.1\r\nHost: localhost/.evil.example", 403),
        (b"GET / HTTP/1.1\r\nHost: localhost:evil.example", 403),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80@evil.example", 403),
        (b"GET / HTTP/1.1\r\nHost: l\xd0\xbecalhost", 403),
        (b"GET / HTTP/1.1\r\nHost: \x1b[2Jevil", 403),
        (b"GET http://localhost@evil.example/ HTTP/1.1\r\nHost: localhost", 403),
    ],
)
def test_hosts_that_are_none(broken: int, head: bytes, status: int) -> None:
    answer = send(broken, head + b"\r\n\r\n")
    assert (answer.status, has_told(answer)) == (status, False)
    assert "\x1b" not in answer.text


@pytest.mark.parametrize("lines", CROSS_ORIGIN.values(), ids=CROSS_ORIGIN)
def test_pages_of_other_origins_get_nothing(broken: int, lines: str) -> None:
    token = f"X-Aserve-Reload: {token_of(broken)}"
    for accept in (HTML, "Accept: */*"):
        answer = ask(broken, accept, lines)
        assert (answer.status, has_told(answer)) == (500, False)
        assert not [name for name in answer.headers if name.startswith("access-control")]
    # They do not learn either when the developer saves.
    assert ask(broken, lines, token, target=CHANGED).status == 403
    for method in ("OPTIONS", "POST"):
        answer = ask(broken, lines, "Access-Control-Request-Method: GET", method=method)
        assert not has_told(answer)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("field", ["", "X-Aserve-Reload: ", "X-Aserve-Reload: guess",
                                   "X-Aserve-Reload: \xff"])  # fmt: skip
def test_the_question_needs_the_token(broken: int, field: str) -> None:
    answer = ask(broken, *filter(None, [field]), target=CHANGED)
    assert (answer.status, has_told(answer)) == (403, False)


def test_no_address_has_the_token(broken: int) -> None:
    """An address ends up in logs, and in the field Referer."""
    token = token_of(broken)
    assert ask(broken, target=f"{CHANGED}?{token}").status == 500  # a page like any other
    page = ask(broken, HTML).text
    assert page.count(token) == 1
    assert f'"question": "{CHANGED}"' in page


def test_an_old_token_is_worth_nothing(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(BROKEN)
    port = _waiting_port(start("app.py", "--port", "0", "--reload"))
    old = f"X-Aserve-Reload: {token_of(port)}"
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as waiter:
        head = f"GET {CHANGED} HTTP/1.1\r\nHost: localhost\r\n{old}\r\n\r\n"
        waiter.sendall(head.encode())
        assert has_told(ask(port))  # whoever came before was heard before
        (tmp_path / "app.py").write_text(BROKEN + "# again\n")
        assert waiter.recv(100).startswith(b"HTTP/1.1 204 ")
    assert token_of(port) not in old
    assert ask(port, old, target=CHANGED).status == 403


def test_no_frame_and_no_guessing_of_types(broken: int) -> None:
    page = ask(broken, HTML)
    policy = page.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]{16,})'", policy)
    assert nonce is not None
    assert f'<script type="module" nonce="{nonce[1]}">' in page.text
    assert ask(broken, HTML).headers["content-security-policy"] != policy
    refused = ask(broken, HTML, host="evil.example")
    for answer in (page, ask(broken), ask(broken, target=CHANGED), refused):
        rules = answer.headers["content-security-policy"]
        for rule in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'",
                     "form-action 'none'"):  # fmt: skip
            assert rule in rules
        assert "unsafe" not in rules
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


def test_what_the_app_says_is_text(tmp_path: Path, start: Start) -> None:
    name = tmp_path / "<img src=x>.py"
    name.write_text('raise ValueError("</pre><script>alert(1)</script>\\x1b[2J\\x9b\\r")\n')
    child = start(str(name), "--port", "0", "--reload")
    port = _waiting_port(child)
    page = ask(port, HTML).text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>" not in page
    assert "<img" not in page
    # Whoever asks for no HTML reads it on a terminal.
    text = ask(port).text
    assert "\\x1b[2J\\x9b\\r" in text
    for shown in (text, child.errors):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)


@pytest.fixture
def program(tmp_path: Path, start: Start) -> Callable[[], Child]:
    def run() -> Child:
        (tmp_path / "main.py").write_text(PROGRAM)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        return start(sys.executable, "main.py", str(port), raw=True)

    return run


def test_a_program_that_lets_all_names_in(tmp_path: Path, program: Callable[[], Child]) -> None:
    """`run(reload=True)`: the app is for every name, and what aserve shows is not."""
    child = program()
    port = child.port
    assert ask(port, host="shop.example").text == "fine"
    (tmp_path / "main.py").write_text("SECRET = 1 / 0\n" + PROGRAM)
    child.wait_for("Until then")
    assert has_told(ask(port))
    answer = ask(port, HTML, host="shop.example")
    assert (answer.status, has_told(answer)) == (500, False)
    assert ask(port, target=CHANGED, host="shop.example").status == 403
    assert "log of its server" in answer.text


@pytest.mark.parametrize("host", ["*", ".", "*."])
def test_all_names_are_not_meant_for_the_page(tmp_path: Path, start: Start, host: str) -> None:
    (tmp_path / "app.py").write_text(BROKEN)
    child = start("app.py", "--port", "0", "--reload", "--allowed-host", host)
    port = _waiting_port(child)
    assert not has_told(ask(port, host="evil.example"))
    assert has_told(ask(port))


def test_the_page_of_a_slow_load(tmp_path: Path, start: Start) -> None:
    """What was typed is nobody else's business."""
    (tmp_path / "app.py").write_text(
        "import socket\nsocket.create_server(('127.0.0.1', 0)).accept()  # for ever\n"
    )
    child = start("app.py", "--port", "0", "--reload", "--name", "shop.test")
    child.wait_for("still being loaded")
    port = _port_of(child)
    page = ask(port, HTML, host="shop.test")
    assert page.status == 503
    assert "--name shop.test" in page.text
    for answer in (ask(port, HTML, host="evil.example"),
                   ask(port, HTML, "Origin: https://evil.example", host="localhost")):  # fmt: skip
        assert answer.status in (403, 503)
        assert "shop.test" not in answer.text
    assert ask(port, target=CHANGED).status == 403


def _port_of(child: Child) -> int:
    """Before there is a banner: the port that the process listens on."""
    links = [str(each.readlink()) for each in Path(f"/proc/{child.pid}/fd").iterdir()]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[3] == "0A" and f"socket:[{columns[9]}]" in links:
            return int(columns[1].rpartition(":")[2], 16)
    raise AssertionError("it listens nowhere")


# What the supervisor, which has little to do, must cope with.


def _broken(tmp_path: Path, start: Start, *words: str) -> tuple[Child, int]:
    (tmp_path / "app.py").write_text(BROKEN)
    child = start("app.py", "--port", "0", "--reload", *words)
    return child, int(child.wait_for(r"Until then https?://[^:]+:(\d+) shows")[1])


def _processor_time(pid: int) -> float:
    """Seconds that a process has computed, in its own code and the kernel's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_descriptors_it_neither_spins_nor_hangs(tmp_path: Path, start: Start) -> None:
    child, port = _broken(tmp_path, start)
    token = token_of(port)
    head = f"GET {CHANGED} HTTP/1.1\r\nHost: localhost\r\nX-Aserve-Reload: {token}\r\n\r\n"
    used = sum(1 for _ in Path(f"/proc/{child.pid}/fd").iterdir())
    resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (used + 20, used + 20))
    with contextlib.ExitStack() as tabs:
        for _ in range(60):
            tab = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
            tabs.enter_context(tab).sendall(head.encode())
        # The oldest tabs give way: whoever comes new is answered.
        for _ in range(3):
            assert has_told(ask(port, HTML))
        before, began = _processor_time(child.pid), time.monotonic()
        asked = 0
        while time.monotonic() - began < 1.0:
            asked += has_told(ask(port, HTML))
        assert asked > 0
        idle_before, idle_began = _processor_time(child.pid), time.monotonic()
        assert idle_before - before < 1.0
        select.select([], [], [], 1.0)  # nobody asks for anything
        idle = _processor_time(child.pid) - idle_before
        assert idle / (time.monotonic() - idle_began) < 0.3
    assert has_told(ask(port, HTML))


def test_a_save_while_clients_hold_all_descriptors(tmp_path: Path, start: Start) -> None:
    """The new process waits for a descriptor, and the supervisor does not end."""
    child, port = _broken(tmp_path, start)
    token = token_of(port)
    head = f"GET {CHANGED} HTTP/1.1\r\nHost: localhost\r\nX-Aserve-Reload: {token}\r\n\r\n"
    used = sum(1 for _ in Path(f"/proc/{child.pid}/fd").iterdir())
    with contextlib.ExitStack() as tabs:
        for _ in range(30):
            tab = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
            tabs.enter_context(tab).sendall(head.encode())
        assert has_told(ask(port))  # whoever came before was heard before
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (used + 15, used + 15))
        (tmp_path / "app.py").write_text(
            "def app(environ, start_response):\n    start_response('200 OK', [])\n"
            "    return [b'fine']\n"
        )
        while "fine" not in ask(port).text:
            assert child.process.poll() is None, child.errors


def test_a_silent_tls_connection_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import aserve.reload.page\naserve.reload.page._HEAD_SECONDS = 0.2\n"
    )
    (tmp_path / "app.py").write_text(BROKEN)
    path = os.pathsep.join(filter(None, [str(tmp_path), str(LOCATION)]))
    child = start("app.py", "--port", "0", "--reload", "--ssl", "adhoc", PYTHONPATH=path)
    port = int(child.wait_for(r"Until then https://[^:]+:(\d+) shows")[1])
    for data in (b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01"):
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as silent:
            silent.sendall(data)
            with contextlib.suppress(ConnectionResetError):
                assert silent.recv(100) == b""


def test_nothing_turns_the_direction_of_what_it_says(tmp_path: Path, start: Start) -> None:
    name = tmp_path / "a\u202eb\u2066.py"
    name.write_text('# \u202e\n\nraise ValueError("\\u202e\\u061c\\x1b[31m")  # \u2067 \u200f\n')
    child = start(str(name), "--port", "0", "--reload")
    port = _waiting_port(child)
    for accept in (HTML, "Accept: */*"):
        text = ask(port, accept).text
        assert "ValueError" in text
        assert not re.search("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\x1b]", text)
