"""From no frame of an app does a way lead to the PIN, or to something that tells it."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..e2e.conftest import Child, Start
from ..e2e.debugging import Page, pin_of
from .asking import ask

PIN = "864-297-531"

# An optional import, whose exception is kept: its frames lead to all that was there at the start.
KEPT = """
try:
    import does_not_exist
except ImportError as error:
    MISSING = error
"""
FLASK = f"""
import walker
{KEPT}
from flask import Flask, request

app = Flask(__name__)
app.config["PROPAGATE_EXCEPTIONS"] = True

@app.get("/fail")
def fail():
    kept = request.environ
    raise LookupError("on purpose")

@app.get("/walk")
def walk():
    return "\\n".join(walker.find(request.headers["X-Mask"], request.headers["X-Token"]))
"""
PLAIN = f"""
import walker
{KEPT}

def app(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        raise LookupError("on purpose")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\\n".join(walker.find(environ["HTTP_X_MASK"], environ["HTTP_X_TOKEN"])).encode()]
"""
DJANGO = f"""
import walker
{KEPT}
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    DEBUG=True, DEBUG_PROPAGATE_EXCEPTIONS=True, ROOT_URLCONF=__name__, SECRET_KEY="x",
    ALLOWED_HOSTS=["*"],
)

def fail(request):
    raise LookupError("on purpose")

def walk(request):
    fields = request.headers
    return HttpResponse("\\n".join(walker.find(fields["X-Mask"], fields["X-Token"])))

urlpatterns = [path("fail", fail), path("walk", walk)]
app = get_wsgi_application()
"""
# A program, with the app put in front of it.
RUN_SIMPLE = """
from aserve import run_simple
run_simple("localhost", 0, app, use_debugger=True, use_evalex=True)
"""
RUN = """
import aserve
aserve.run(app, port=0, debug=True, reload=%s)
"""
SERVER_THREAD = """
import sys
import aserve
with aserve.ServerThread(app, debug=True) as server:
    print(f"aserve: app on {server.url}, ready in 0 ms", file=sys.stderr, flush=True)
    sys.stdin.read()
"""
# Another server, and the middleware where Flask's documentation puts it.
WSGIREF = """
import sys
from wsgiref.simple_server import make_server
from aserve.debug import DebuggedApplication

if hasattr(app, "wsgi_app"):
    app.wsgi_app = DebuggedApplication(app.wsgi_app, True)
else:
    app = DebuggedApplication(app, True)
server = make_server("127.0.0.1", 0, app)
url = f"http://localhost:{server.server_port}"
print(f"x: app on {url}, ready in 0 ms", file=sys.stderr, flush=True)
server.serve_forever()
"""


def masked(text: str) -> str:
    return bytes(byte ^ 0x55 for byte in text.encode()).hex()


DOORS: dict[str, Callable[[Start, Path], Callable[..., Child]]] = {}


def words(*command: str) -> Callable[[Start, Path], Callable[..., Child]]:
    def door(start: Start, folder: Path) -> Callable[..., Child]:
        return lambda **variables: start("app:app", "--port", "0", *command, **variables)

    return door


def program(code: str) -> Callable[[Start, Path], Callable[..., Child]]:
    def door(start: Start, folder: Path) -> Callable[..., Child]:
        with (folder / "app.py").open("a") as file:
            file.write(f"\nif __name__ == '__main__':\n    exec({code!r})\n")
        return lambda **variables: start(sys.executable, "app.py", raw=True, **variables)

    return door


DOORS = {
    "aserve": words("--no-reload"),
    "reload": words("--reload"),
    "processes": words("--processes", "2"),
    "flag": words("--no-reload", "--debug-pin", PIN),
    "run_simple": program(RUN_SIMPLE),
    "run": program(RUN % False),
    "run, reload": program(RUN % True),
    "wsgiref": program(WSGIREF),
}
CASES = [
    *(("flask", door) for door in DOORS),
    *(("plain", door) for door in ("aserve", "reload", "wsgiref")),
    *(("django", door) for door in ("aserve", "reload", "wsgiref")),
]


@pytest.mark.parametrize("source", ["variable", "file"])
@pytest.mark.parametrize(("kind", "door"), CASES)
def test_nothing_leads_to_the_pin(
    tmp_path: Path, start: Start, kind: str, door: str, source: str
) -> None:
    if door == "wsgiref":
        # It keeps a copy of the environment: what is shown of that is tested elsewhere.
        source = "file"
    app = {"flask": FLASK, "plain": PLAIN, "django": DJANGO}[kind]
    (tmp_path / "app.py").write_text(app)
    shutil.copy(Path(__file__).with_name("walker.py"), tmp_path)
    begin = DOORS[door](start, tmp_path)
    where = {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}
    if source == "variable":
        child, pin = begin(**where, ASERVE_DEBUG_PIN=PIN), PIN
    elif door == "flag":
        child, pin = begin(**where), PIN
    else:
        child = begin(**where)
        pin = pin_of(start("pin", **where))
    page = Page(child.port, "/fail")
    assert page.command("unlock", pin="111-111-111")["error"] == "wrong-pin"
    assert page.command("unlock", pin=pin)["ok"]
    assert page.command("eval", frame=0, code="6 * 7")["output"] == "42\n"
    assert pin not in page.text
    for _ in range(2):  # the second time, what the first one has left behind is walked, too
        fields = (f"X-Mask: {masked(pin)}", f"X-Token: {masked(page.settings['token'])}")
        answer = ask(child.port, *fields, target="/walk")
        (count,) = re.findall(r"^walked (\d+)\r?$", answer.text, re.MULTILINE)
        assert int(count) > 20_000
        assert not re.findall(r"^.* < .*$", answer.text, re.MULTILINE)[:10]


def test_the_walk_finds_what_is_there(tmp_path: Path, start: Start) -> None:
    """What is kept in a closure, in a slot, in a default, in a module: all of it is found."""
    places = f"""
class Slots:
    __slots__ = ("held",)

def closure():
    held = " ".join(["", {PIN!r}])
    return lambda: held

one = Slots()
one.held = {PIN!r}.encode()
two = closure()
import hashlib, functools
three = functools.partial(print, hashlib.sha256({PIN.replace("-", "")!r}.encode()).hexdigest())
"""
    (tmp_path / "app.py").write_text(PLAIN + places)
    shutil.copy(Path(__file__).with_name("walker.py"), tmp_path)
    child = start("app:app", "--port", "0", "--no-reload", ASERVE_DEBUG_PIN="135-792-468")
    fields = (f"X-Mask: {masked(PIN)}", f"X-Token: {masked('0' * 32)}")
    found = ask(child.port, *fields, target="/walk").text.splitlines()[1:]
    assert any("Slots" in way for way in found)
    assert any("cell" in way for way in found)
    assert any("partial" in way for way in found)
