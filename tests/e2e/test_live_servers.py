"""The live servers of pytest's plugins, on aserve."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

from pytest_httpserver import HTTPServer
from werkzeug.wrappers import Request

import aserve

from .conftest import DEADLINE, environment

# What pytest-flask starts is the app's own `run`.
FLASK_PROGRAM = """
import urllib.request
from flask import Flask
from pytest_flask.live_server import LiveServer
import aserve

class App(Flask):
    def run(self, host=None, port=None, debug=None, load_dotenv=True, **options):
        aserve.run_simple(host, port, self, **options)

app = App(__name__)

@app.get("/")
def index():
    return "hello"

if __name__ == "__main__":
    live_server = LiveServer(app, "localhost", {port}, 20, clean_stop=True)
    live_server.start()
    with urllib.request.urlopen(live_server.url("/")) as answer:
        print(answer.headers["Server"], answer.read().decode())
    live_server.stop()
    print(live_server._process.exitcode)
"""


class OnAserve(HTTPServer):
    """pytest-httpserver's server, with `make_server` of aserve in the place of Werkzeug's."""

    def start(self) -> None:
        application = Request.application(self.application)
        self.server = aserve.make_server(self.host, self.port, application, threaded=self.threaded)
        self.port = self.server.port
        self.server_thread = threading.Thread(target=self.thread_target, daemon=True)
        self.server_thread.start()


def test_pytest_httpserver() -> None:
    with OnAserve() as server:
        server.expect_request("/hello", query_string="a=1").respond_with_json({"is": "well"})
        with urllib.request.urlopen(server.url_for("/hello?a=1"), timeout=DEADLINE) as answer:
            assert json.load(answer) == {"is": "well"}
            assert answer.headers["Server"] == "aserve"
        server.check()
        assert len(server.log) == 1


def test_pytest_flask(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    program = tmp_path / "program.py"
    program.write_text(FLASK_PROGRAM.format(port=port))
    done = subprocess.run(
        [sys.executable, str(program)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.stdout == "aserve hello\n0\n", done.stderr
