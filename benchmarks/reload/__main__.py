"""From save to the first new answer: `python -m benchmarks.reload [--edits N] [--app NAME]`.

All servers take turns with the same app, the same interpreter and the same edits: one file is
written, and the clock runs from then until an answer on a new connection holds the new word. A
connection that is refused or reset, or an answer that is cut, counts as lost. Between two edits
there is a second of rest, in which one request goes out each 50 ms.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from .. import common

_PEERS: Final = Path(__file__).with_name("peers.txt")
_POLL: Final = 0.001
_REST: Final = 1.0
_GIVE_UP: Final = 15.0

# The better of the two has to be beaten by this factor.
_GOALS: Final = {"hello": 5.0, "modules": 3.0, "heavy": 10.0}
_RIVALS: Final = ("gunicorn", "granian")

_SERVERS: Final = {
    "aserve": "-m aserve app:app --host 127.0.0.1 --port {port} --reload --no-access-log",
    "gunicorn": "-m gunicorn app:app --bind 127.0.0.1:{port} --reload --reload-engine inotify",
    "granian": "-m granian --interface wsgi --host 127.0.0.1 --port {port} --reload app:app",
    "werkzeug": "serve.py {port}",
}

_FLASK: Final = """
from flask import Flask
{imports}
app = Flask(__name__)
WORD = "word0"

@app.get("/")
def index():
    return WORD
"""

_SERVE: Final = """
import sys
from werkzeug.serving import run_simple
from app import app
run_simple("127.0.0.1", int(sys.argv[1]), app, use_reloader=True, threaded=True)
"""

_DJANGO: Final = """
import django
from django.conf import settings
settings.configure(DEBUG=True, ROOT_URLCONF="site70.urls", SECRET_KEY="x", ALLOWED_HOSTS=["*"],
                   INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"])
django.setup()
from django.core.wsgi import get_wsgi_application
app = get_wsgi_application()
import site70.urls
"""


def _make_hello(folder: Path) -> Path:
    (folder / "app.py").write_text(_FLASK.format(imports=""))
    return folder / "app.py"


def _make_heavy(folder: Path) -> Path:
    (folder / "app.py").write_text(_FLASK.format(imports="import numpy, pandas, sqlalchemy"))
    return folder / "app.py"


def _make_modules(folder: Path) -> Path:
    package = folder / "site70"
    package.mkdir()
    (package / "__init__.py").write_text("")
    functions = "\n".join(f"def view_{n}(request):\n    return {n}\n" for n in range(20))
    for number in range(70):
        (package / f"part{number}.py").write_text(f"WORD = 'word0'\n{functions}\n")
    imports = "\n".join(f"from . import part{number}" for number in range(70))
    (package / "urls.py").write_text(
        f"from django.http import HttpResponse\nfrom django.urls import path\n{imports}\n"
        "urlpatterns = [path('', lambda request: HttpResponse(part35.WORD))]\n"
    )
    (folder / "app.py").write_text(_DJANGO)
    return package / "part35.py"


_APPS: Final[dict[str, Callable[[Path], Path]]] = {
    "hello": _make_hello,
    "modules": _make_modules,
    "heavy": _make_heavy,
}


@dataclass(slots=True)
class Result:
    """What one server did: seconds per edit, and requests that were lost."""

    times: list[float] = field(default_factory=list)
    lost: int = 0
    asked: int = 0

    @property
    def p50(self) -> float:
        """Milliseconds."""
        return statistics.median(self.times) * 1000

    @property
    def p95(self) -> float:
        """Milliseconds."""
        rank = math.ceil(len(self.times) * 0.95)  # of 20 the 19th, by the nearest-rank method
        return sorted(self.times)[rank - 1] * 1000


def _python() -> str:
    """The interpreter of the peers' environment; made on first use."""
    folder = common.ENVIRONMENTS / f"reload-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    wanted = _PEERS.read_text("utf-8")
    made_from = folder / "peers.txt"
    if not made_from.is_file() or made_from.read_text("utf-8") != wanted:
        print(f"making {folder} (once)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", str(_PEERS), str(common.ROOT)], check=True)
        # Only what it needs: the code that is measured is the one beside this file.
        subprocess.run([*pip[:3], "uninstall", "--quiet", "--yes", "aserve-wsgi"], check=True)
        made_from.write_text(wanted, "utf-8")
    return str(python)


@contextmanager
def _serving(name: str, folder: Path) -> Iterator[int]:
    port = common.free_port()
    environment = {**os.environ, "PYTHONPATH": f"{common.ROOT}{os.pathsep}{folder}"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [_python(), *_SERVERS[name].format(port=port).split()],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            yield port
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _ask(port: int) -> bytes:
    """The body of one answer; raises OSError or HTTPException when it is lost."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_GIVE_UP)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def _until(port: int, word: bytes, result: Result) -> float:
    """Seconds until an answer holds the word."""
    started = time.perf_counter()
    while time.perf_counter() - started < _GIVE_UP:
        result.asked += 1
        try:
            if word in _ask(port):
                return time.perf_counter() - started
        except (OSError, http.client.HTTPException):
            result.lost += 1
        time.sleep(_POLL)
    raise common.BenchmarkError(f"{word.decode()} was never served")


def _rest(port: int, result: Result) -> None:
    end = time.perf_counter() + _REST
    while time.perf_counter() < end:
        result.asked += 1
        try:
            _ask(port)
        except (OSError, http.client.HTTPException):
            result.lost += 1
        time.sleep(0.05)


def measure(app: str, name: str, edits: int) -> Result:
    """One server, one app."""
    result = Result()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        edited = _APPS[app](folder)
        (folder / "serve.py").write_text(_SERVE)
        with _serving(name, folder) as port:
            _until(port, b"word0", Result())
            _rest(port, result)
            for number in range(1, edits + 1):
                text = re.sub(r"word\d+", f"word{number}", edited.read_text())
                edited.write_text(text)
                result.times.append(_until(port, b"word%d" % number, result))
                _rest(port, result)
    return result


def main() -> int:
    """Measure, print, save; 1 when a goal is missed with `--check`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reload", description=__doc__)
    parser.add_argument("--edits", type=int, default=20, help="per server and app (20)")
    parser.add_argument("--app", action="append", choices=list(_APPS), help="only this one")
    parser.add_argument("--server", action="append", choices=list(_SERVERS), help="only this one")
    parser.add_argument("--check", action="store_true", help="fail on a goal that is missed")
    options = parser.parse_args()
    saved: dict[str, dict[str, object]] = {}
    missed = False
    for app in options.app or _APPS:
        results = {name: measure(app, name, options.edits) for name in options.server or _SERVERS}
        print(f"\n### {app}\n\n| server | p50 ms | p95 ms | lost requests | aserve is |")
        print("|---|---:|---:|---:|---:|")
        base = results.get("aserve")
        for name, result in sorted(results.items(), key=lambda item: item[1].p50):
            ratio = f"{result.p50 / base.p50:.1f} x" if base else ""
            lost = f"{result.lost} of {result.asked}"
            print(f"| {name} | {result.p50:.0f} | {result.p95:.0f} | {lost} | {ratio} |")
        saved[app] = {name: vars_of(result) for name, result in results.items()}
        rivals = [results[name].p50 for name in _RIVALS if name in results]
        if base and rivals:
            factor = min(rivals) / base.p50
            verdict = "reached" if factor >= _GOALS[app] else "SHORT"
            missed |= factor < _GOALS[app] or base.lost > 0
            print(f"\n{app}: the better peer takes {factor:.1f} times as long;", end=" ")
            print(f"goal {_GOALS[app]:g}, {verdict}; p95 is {base.p95 / base.p50:.1f} x p50")
    common.RESULTS.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = common.RESULTS / f"reload-{stamp}.json"
    path.write_text(json.dumps(saved, indent=1), "utf-8")
    print(f"\nsaved: {path.relative_to(common.ROOT)}")
    return 1 if missed and options.check else 0


def vars_of(result: Result) -> dict[str, object]:
    """For the file."""
    return {"ms": [round(t * 1000, 1) for t in result.times], "lost": result.lost}


if __name__ == "__main__":
    sys.exit(main())
