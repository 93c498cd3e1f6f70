"""WebSockets of Flask's extensions, against the `websockets` client and a browser."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from pathlib import Path

import pytest
import websockets.sync.client
from websockets.exceptions import ConnectionClosed

from .conftest import DEADLINE, Child, Start
from .test_reload import ask, until

FLASK_SOCK = """
from flask import Flask, request
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)
WORD = "one"

@app.get("/")
def index():
    return WORD

@sock.route("/echo")
def echo(ws):
    while True:
        data = ws.receive()
        if data == "close":
            break
        ws.send(data)
"""

SOCKET_IO = """
from flask import Flask
from flask_socketio import SocketIO

app = Flask(__name__)
socketio = SocketIO(app, async_mode="threading")

@socketio.on("message")
def message(data):
    socketio.send(data.upper())
"""

PAGE = """
@app.get("/page")
def page():
    return '''<!doctype html><p id=out>nothing</p><img src=/gate><script>
const ws = new WebSocket("ws://" + location.host + "/echo");
ws.onopen = () => ws.send("from a browser");
ws.onmessage = async event => {
  document.getElementById("out").textContent = "got " + event.data;
  ws.close();
  await fetch("/report");
};
</script>'''

import threading
reported = threading.Event()

@app.get("/report")
def report():
    reported.set()
    return ""

@app.get("/gate")
def gate():
    reported.wait(20)
    return "", 404
"""

Client = websockets.sync.client.ClientConnection


def connect(child: Child, path: str = "/echo") -> Client:
    url = f"ws://127.0.0.1:{child.port}{path}"
    return websockets.sync.client.connect(url, open_timeout=DEADLINE)


@pytest.mark.parametrize("words", [["--no-reload"], ["--reload"]])
def test_flask_sock(tmp_path: Path, start: Start, words: list[str]) -> None:
    (tmp_path / "app.py").write_text(FLASK_SOCK)
    child = start("app.py", "--port", "0", *words)
    with connect(child) as client:
        for message in ("hello", "x" * 200_000, b"\0" * 70_000, ""):
            client.send(message)
            assert client.recv(DEADLINE) == message
        client.send("close")
        with pytest.raises(ConnectionClosed):
            client.recv(DEADLINE)
    child.wait_for(r'"GET /echo HTTP/1.1" 101 \d+ [\d.]+')
    assert child.end() == 0
    assert " 500 " not in child.errors
    assert "Traceback" not in child.errors


def test_each_close_is_answered_by_one(tmp_path: Path, start: Start) -> None:
    """RFC 6455 section 5.5.1; the library answers in a thread, and the view returns meanwhile."""
    (tmp_path / "app.py").write_text(FLASK_SOCK)
    child = start("app.py", "--port", "0")
    for _ in range(200):
        with connect(child) as client:
            client.send("hello")
            assert client.recv(DEADLINE) == "hello"
        assert client.close_code == 1000
        assert client.protocol.close_rcvd is not None
    assert child.end() == 0


def test_two_hundred_of_them_take_nobodys_thread(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(FLASK_SOCK)
    child = start("app.py", "--port", "0", "--threads", "2")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(child)) for _ in range(200)]
        assert ask(child.port) == (200, "one")
        for client in (clients[0], clients[-1]):
            client.send("still there")
            assert client.recv(DEADLINE) == "still there"
        # All at once, or each would wait for its own farewell.
        closing = [threading.Thread(target=client.close) for client in clients]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(DEADLINE)
    assert ask(child.port) == (200, "one")
    assert child.end() == 0


def test_a_reload_and_the_end_close_with_1001(tmp_path: Path, start: Start) -> None:
    app = tmp_path / "app.py"
    app.write_text(FLASK_SOCK)
    child = start("app.py", "--port", "0", "--reload")
    for word in ("two", ""):
        with connect(child) as client:
            client.send("hello")
            assert client.recv(DEADLINE) == "hello"
            if word:
                app.write_text(FLASK_SOCK.replace("one", word))
            else:
                assert child.end() == 0
            with pytest.raises(ConnectionClosed) as caught:
                client.recv(DEADLINE)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001
        if word:
            until(child, word)
    assert "Cut" not in child.errors


def test_over_tls(tmp_path: Path, start: Start) -> None:
    import ssl

    (tmp_path / "app.py").write_text(FLASK_SOCK)
    child = start("app.py", "--port", "0", "--ssl", "adhoc")
    url = f"wss://127.0.0.1:{child.port}/echo"
    context = ssl._create_unverified_context()
    with websockets.sync.client.connect(url, ssl=context) as client:
        client.send("x" * 100_000)
        assert client.recv(DEADLINE) == "x" * 100_000


def test_on_a_unix_socket(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(FLASK_SOCK)
    child = start("app.py", "--uds", "s")
    child.wait_for("ready in")
    with websockets.sync.client.unix_connect(str(tmp_path / "s"), "ws://localhost/echo") as client:
        client.send("hello")
        assert client.recv(DEADLINE) == "hello"


def test_a_plain_request_to_it(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(FLASK_SOCK)
    child = start("app.py", "--port", "0")
    status, _ = ask(child.port, "/echo")
    assert status >= 400
    assert ask(child.port) == (200, "one")


def test_socket_io(tmp_path: Path, start: Start) -> None:
    """Engine.IO's and Socket.IO's own framing, spoken by hand: open, connect, an event."""
    (tmp_path / "app.py").write_text(SOCKET_IO)
    child = start("app.py", "--port", "0")
    with connect(child, "/socket.io/?EIO=4&transport=websocket") as client:
        assert str(client.recv(DEADLINE)).startswith("0{")
        client.send("40")
        assert str(client.recv(DEADLINE)).startswith("40{")
        client.send('42["message","hello"]')
        assert client.recv(DEADLINE) == '42["message","HELLO"]'
    child.wait_for(r'"GET /socket.io/\S+ HTTP/1.1" 101')
    assert " 500 " not in child.errors


def test_a_browser(tmp_path: Path, start: Start, chromium: str) -> None:
    (tmp_path / "app.py").write_text(FLASK_SOCK + PAGE)
    child = start("app.py", "--port", "0")
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"http://localhost:{child.port}/page",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r'id="?out"?>([^<]*)<', done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert found[1] == "got from a browser"
