"""Apps that have their standard library patched, by gevent and by eventlet, through the doors."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import websockets.sync.client
from websockets.exceptions import ConnectionClosed

from .conftest import DEADLINE, Child, Start
from .test_reload import ask, until

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    # It says at its import that it is in its last years.
    "eventlet": "import warnings; warnings.simplefilter('ignore')\n"
    "import eventlet; eventlet.monkey_patch()",
}

APP = """
import threading, time
from flask import Flask, request
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)
WORD = "one"
beats = []
lock = threading.Lock()
closed = threading.Event()

def beat():
    while True:
        time.sleep(0.01)
        beats.append(1)

threading.Thread(target=beat, daemon=True).start()

@app.get("/")
def index():
    return WORD

@app.get("/beats")
def count():
    seen = len(beats)
    while len(beats) < seen + 3:
        time.sleep(0.01)
    return {"thread": type(threading.current_thread()).__module__}

@app.get("/meet")
def meet():
    # All of them, or nobody leaves: they take turns in one thread.
    with lock:
        waiting.append(1)
    while len(waiting) < 30:
        time.sleep(0.001)
    return "met"

waiting = []

@app.post("/echo")
def echo():
    return request.get_data()

@app.get("/stream")
def stream():
    def pieces():
        try:
            for number in range(1000):
                time.sleep(0.01)
                yield f"{number} " * 1000
        finally:
            closed.set()
    return pieces()

@app.get("/closed")
def is_closed():
    return str(closed.wait(10))

@app.get("/wrong")
def wrong():
    number = 41
    return str(1 / 0)

@sock.route("/sock")
def talk(ws):
    while True:
        ws.send(ws.receive())
"""


@pytest.fixture(params=PATCHES)
def source(request: pytest.FixtureRequest) -> str:
    return f"{PATCHES[request.param]}\n{APP}"


@pytest.fixture(params=["--no-reload", "--reload"])
def child(request: pytest.FixtureRequest, tmp_path: Path, start: Start, source: str) -> Child:
    (tmp_path / "app.py").write_text(source)
    return start("app.py", "--port", "0", "--threads", "40", request.param)


def test_what_the_app_does(child: Child) -> None:
    assert ask(child.port) == (200, "one")
    # What was started at the import runs on, and a request is a greenlet like that.
    status, body = ask(child.port, "/beats")
    assert status == 200
    assert "thread" in json.loads(body)
    with ThreadPoolExecutor(30) as pool:
        assert set(pool.map(lambda _: ask(child.port, "/meet"), range(30))) == {(200, "met")}
    for size in (5, 3_000_000):
        body = "x" * size
        assert ask(child.port, "/echo", body=body.encode()) == (200, body)
    status, page = ask(child.port, "/wrong", accept="text/html")
    assert status == 500
    assert "ZeroDivisionError" in page
    assert "number" in page
    assert child.end(signal.SIGINT) == 0
    assert "Traceback" not in child.errors.replace("ZeroDivisionError", "", 1).partition("GET")[0]


def test_many_fail_at_once(child: Child) -> None:
    """Pages, logs and their locks are made in threads that are no greenlets."""
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(ask, child.port, "/wrong", accept="text/html") for _ in range(24)]
        answers = [one.result() for one in asked]
    assert {status for status, _ in answers} == {500}
    assert all("ZeroDivisionError" in page for _, page in answers)
    assert child.end(signal.SIGINT) == 0
    assert child.errors.count("application raised an exception") == 24


def test_a_client_that_sends_slowly_holds_up_nobody(child: Child) -> None:
    with socket.create_connection(("127.0.0.1", child.port), timeout=DEADLINE) as sock:
        sock.sendall(
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 9
        )
        sock.sendall(b"x" * 1_500_000)
        assert ask(child.port) == (200, "one")
        sock.sendall(b"x" * 499_991)
        assert sock.recv(12) == b"HTTP/1.1 200"


def test_a_client_that_leaves_ends_its_stream(child: Child) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", child.port, timeout=DEADLINE)
    connection.request("GET", "/stream")
    answer = connection.getresponse()
    assert answer.read(4) == b"0 0 "
    answer.close()
    connection.close()
    assert ask(child.port, "/closed") == (200, "True")


def test_a_websocket(child: Child) -> None:
    url = f"ws://127.0.0.1:{child.port}/sock"
    with websockets.sync.client.connect(url, open_timeout=DEADLINE) as client:
        for message in ("hello", "x" * 200_000):
            client.send(message)
            assert client.recv(DEADLINE) == message
            assert ask(child.port) == (200, "one")
        assert child.end() == 0
        with pytest.raises(ConnectionClosed):
            client.recv(DEADLINE)


def test_edits_are_served_cold_each_time(tmp_path: Path, start: Start, source: str) -> None:
    app = tmp_path / "app.py"
    app.write_text(source)
    child = start("app.py", "--port", "0", "--reload")
    until(child, "one")
    for word in ("two", "three", "four"):
        app.write_text(source.replace('"one"', repr(word)))
        until(child, word)
        assert ask(child.port, "/beats")[0] == 200
    assert child.end(signal.SIGINT) == 0
    assert "Traceback" not in child.errors
    assert "Warning" not in child.errors


@pytest.mark.parametrize("call", [
    "import aserve; aserve.run(app, port=0)",
    "import aserve; aserve.run(app, port=0, reload=True)",
    "import aserve; aserve.run_simple('localhost', 0, app)",
    "import aserve; aserve.run_simple('localhost', 0, app, use_reloader=True)",
])  # fmt: skip
def test_a_script_that_patches_first(tmp_path: Path, start: Start, source: str, call: str) -> None:
    """The way of CTFd: patch, make the app, run it."""
    (tmp_path / "serve.py").write_text(f"{source}\nif __name__ == '__main__':\n    {call}\n")
    child = start(sys.executable, "serve.py", raw=True)
    assert ask(child.port) == (200, "one")
    assert ask(child.port, "/beats")[0] == 200
    assert ask(child.port, "/echo", body=b"x" * 3_000_000)[1] == "x" * 3_000_000
    assert child.end(signal.SIGINT) == 0
    assert "Traceback" not in child.errors


SOCKET_IO = """
from flask import Flask
from flask_socketio import SocketIO

app = Flask(__name__)
socketio = SocketIO(app, async_mode="gevent")

def tick():
    while True:
        socketio.sleep(0.05)
        socketio.emit("tick", socketio.async_mode)

@socketio.on("connect")
def connected():
    socketio.start_background_task(tick)
"""


def test_flask_socketio_by_long_polling(tmp_path: Path, start: Start) -> None:
    """A task of its own, begun by a request, outlives the request."""
    (tmp_path / "app.py").write_text(f"{PATCHES['gevent']}\n{SOCKET_IO}")
    child = start("app.py", "--port", "0")
    path = "/socket.io/?EIO=4&transport=polling"
    _, opened = ask(child.port, path)
    session = f"{path}&sid={json.loads(opened[1:])['sid']}"
    assert ask(child.port, session, body=b"40") == (200, "OK")
    seen = ""
    for _ in range(20):
        seen += ask(child.port, session)[1]
        if seen.count("tick") >= 3:
            break
    assert '"tick","gevent' in seen
    assert child.end() == 0
