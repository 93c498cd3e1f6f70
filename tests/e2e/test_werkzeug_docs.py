"""The examples of Werkzeug's page "Serving WSGI Applications", with the import replaced.

https://werkzeug.palletsprojects.com/en/stable/serving/
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.request
from pathlib import Path

from .conftest import Start
from .test_reload import get, until

# "The easiest way is creating a small start-myproject.py file that runs the application".
START = """
#!/usr/bin/env python
from aserve import run_simple
from myproject import make_app

app = make_app(...)
run_simple('localhost', PORT, app, use_reloader=True)
"""

MYPROJECT = """
from werkzeug.wrappers import Response

def make_app(config):
    return Response("one")
"""


def test_a_small_file_that_runs_the_application(tmp_path: Path, start: Start) -> None:
    (tmp_path / "start-myproject.py").write_text(START.replace("PORT", "0"))
    (tmp_path / "myproject.py").write_text(MYPROJECT)
    child = start(sys.executable, "start-myproject.py", raw=True)
    assert get(child) == (200, "one")
    (tmp_path / "myproject.py").write_text(MYPROJECT.replace("one", "two"))
    until(child, "two")
    # "make sure that the reloader and the app are in a main guard" is not even needed.
    assert child.end() == 0


def test_virtual_hosts(tmp_path: Path, start: Start) -> None:
    """Names that lead here are the app's to tell apart, by its own routing."""
    (tmp_path / "program.py").write_text(
        "from aserve import run_simple\n"
        "from werkzeug.routing import Map, Rule\n"
        "from werkzeug.wrappers import Request, Response\n"
        "urls = Map([Rule('/', endpoint='shop', subdomain='<name>')])\n"
        "@Request.application\n"
        "def app(request):\n"
        "    adapter = urls.bind_to_environ(request.environ, server_name='yourapplication.local')\n"
        "    return Response(adapter.match()[1]['name'])\n"
        "run_simple('localhost', 0, app)\n"
    )
    child = start(sys.executable, "program.py", raw=True)
    request = urllib.request.Request(
        f"http://127.0.0.1:{child.port}/", headers={"Host": "api.yourapplication.local"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.read() == b"api"


def test_shutting_down_by_a_process(tmp_path: Path, start: Start) -> None:
    """The page's own example of a token that comes back, shortened by its browser."""
    (tmp_path / "program.py").write_text(
        "import multiprocessing, socket, time, urllib.request\n"
        "from aserve import run_simple\n"
        "from werkzeug.wrappers import Request, Response\n"
        "def get_token(q, port):\n"
        "    @Request.application\n"
        "    def app(request):\n"
        "        q.put(request.args['token'])\n"
        "        return Response('', 204)\n"
        "    run_simple('localhost', port, app)\n"
        "if __name__ == '__main__':\n"
        "    with socket.create_server(('127.0.0.1', 0)) as sock:\n"
        "        port = sock.getsockname()[1]\n"
        "    q = multiprocessing.Queue()\n"
        "    p = multiprocessing.Process(target=get_token, args=(q, port))\n"
        "    p.start()\n"
        "    print('waiting')\n"
        "    while True:\n"
        "        try: urllib.request.urlopen(f'http://localhost:{port}/?token=abc'); break\n"
        "        except OSError: assert p.is_alive()\n"
        "    token = q.get(block=True)\n"
        "    p.terminate()\n"
        "    p.join()\n"
        "    print(token, p.exitcode)\n"
    )
    child = start(sys.executable, "program.py", raw=True)
    assert child.wait() == 0
    assert child.process.stdout is not None
    assert child.process.stdout.read() == "waiting\nabc 0\n"


def test_shutting_down_by_a_thread(tmp_path: Path, start: Start) -> None:
    (tmp_path / "program.py").write_text(
        "import threading, urllib.request\n"
        "from flask import Flask\n"
        "from aserve import make_server\n"
        "class ServerThread(threading.Thread):\n"
        "    def __init__(self, app):\n"
        "        threading.Thread.__init__(self)\n"
        "        self.server = make_server('127.0.0.1', 0, app)\n"
        "        self.ctx = app.app_context()\n"
        "        self.ctx.push()\n"
        "    def run(self):\n"
        "        self.server.serve_forever()\n"
        "    def shutdown(self):\n"
        "        self.server.shutdown()\n"
        "app = Flask('myapp')\n"
        "@app.get('/')\n"
        "def index(): return 'hello'\n"
        "server = ServerThread(app)\n"
        "server.start()\n"
        "with urllib.request.urlopen(f'http://127.0.0.1:{server.server.port}/') as answer:\n"
        "    print(answer.read().decode())\n"
        "server.shutdown()\n"
        "server.join()\n"
    )
    child = start(sys.executable, "program.py", raw=True)
    assert child.wait() == 0
    assert child.process.stdout is not None
    assert child.process.stdout.read() == "hello\n"


def test_ssl(tmp_path: Path, start: Start) -> None:
    """`make_ssl_devcert`, and the files that it returns."""
    (tmp_path / "program.py").write_text(
        "from aserve import make_ssl_devcert, run_simple\n"
        "from werkzeug.wrappers import Response\n"
        "make_ssl_devcert('key', host='localhost')\n"
        "run_simple('localhost', 0, Response('safe'), ssl_context=('key.crt', 'key.key'))\n"
    )
    child = start(sys.executable, "program.py", raw=True)
    port = child.port
    context = ssl.create_default_context(cafile=os.fspath(tmp_path / "key.crt"))
    with urllib.request.urlopen(f"https://localhost:{port}/", context=context) as answer:
        assert answer.read() == b"safe"


def test_a_unix_socket(tmp_path: Path, start: Start, curl: str) -> None:
    import subprocess

    (tmp_path / "program.py").write_text(
        "from aserve import run_simple\nfrom werkzeug.wrappers import Response\n"
        "run_simple('unix://example.sock', 0, Response('here'))\n"
    )
    child = start(sys.executable, "program.py", raw=True)
    child.wait_for("ready in")
    path = os.fspath(tmp_path / "example.sock")
    done = subprocess.run(
        [curl, "--silent", "--unix-socket", path, "http://localhost/"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "here"
