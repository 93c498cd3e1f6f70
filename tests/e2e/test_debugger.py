"""The debugger as it comes with a server: real processes, real frameworks, real reloads."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
from pathlib import Path

import pytest

from .conftest import DEADLINE, Start
from .debugging import Page, pin_of
from .reloading import only_reload
from .terminal import Terminal

APP = """
def app(environ, start_response):
    word = "one"
    if environ["PATH_INFO"] == "/fine":
        start_response("200 OK", [])
        return [b"fine"]
    if environ["PATH_INFO"] == "/begun":
        return begun(start_response)
    if environ["PATH_INFO"] == "/big":
        data = bytearray(b"x") * 1_000_000  # in memory, not only promised
    raise LookupError(f"nothing here, {word}")

def begun(start_response):
    start_response("200 OK", [])
    yield b"begun"
    raise LookupError("in the middle")
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app.py"
    path.write_text(APP)
    return path


def test_curl_gets_the_traceback(app: Path, start: Start) -> None:
    child = start("app.py", "--port", "0")
    command = ["curl", "--silent", "--include", child.url]
    text = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE).stdout
    assert text.startswith("HTTP/1.1 500 ")
    assert "Traceback (most recent call last):" in text
    assert text.rstrip().endswith("LookupError: nothing here, one")
    child.wait_for("GET /: the application raised an exception")
    assert child.end() == 0
    assert child.errors.count("Traceback") == 1


@pytest.mark.parametrize("words", [["--no-debug"], ["--host", "0.0.0.0"]])
def test_off(app: Path, start: Start, words: list[str]) -> None:
    child = start("app.py", "--port", "0", *words)
    connection = http.client.HTTPConnection("127.0.0.1", child.port, timeout=DEADLINE)
    connection.request("GET", "/", headers={"Accept": "text/html"})
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (500, b"The application failed; its log says why.\n")
    connection.close()


def test_console_with_the_pin_of_the_project(app: Path, start: Start) -> None:
    child = start("app.py", "--port", "0")
    page = Page(child.port)
    assert page.settings["can_eval"]
    assert page.command("eval", frame=0, code="word")["error"] == "pin"
    assert page.command("show-pin") == {"ok": True, "printed": False}  # it is no terminal
    pin = pin_of(start("pin"))
    assert re.fullmatch(r"\d{3}-\d{3}-\d{3}", pin)
    assert page.command("unlock", pin=pin)["ok"]
    assert page.command("eval", frame=0, code="word")["output"] == "'one'\n"
    assert pin_of(start("pin")) == pin
    assert child.end() == 0
    assert pin not in child.errors
    # Its questions are no requests to the app.
    assert child.errors.count('"GET / ') == 1
    assert "POST" not in child.errors


def test_the_terminal_shows_the_pin(app: Path, start: Start, tmp_path: Path) -> None:
    pin = pin_of(start("pin"))
    terminal = Terminal(tmp_path, "app.py", "--port", "0", "--reload")
    try:
        terminal.wait_for(f"PIN      {pin}")
        terminal.wait_for("stop")
        page = Page(terminal.port)
        assert page.command("show-pin")["printed"]
        terminal.wait_for(f"the PIN of the debugger is {pin}")
    finally:
        terminal.close()


def test_an_app_that_goes_elsewhere_keeps_its_pin(app: Path, start: Start) -> None:
    (app.parent / "below").mkdir()
    app.write_text("import os; os.chdir('below')\n" + APP)
    pin = pin_of(start("pin"))
    for words in (["--no-reload"], ["--reload"]):
        child = start("app.py", "--port", "0", *words)
        page = Page(child.port)
        assert page.command("unlock", pin=pin)["ok"]
        # Its files are still those of the project.
        assert 'title="' + str(app) in page.text
        assert "<b>app.py</b>" in page.text


@pytest.mark.parametrize("words", [["--reload"], ["--processes", "2", "--no-reload"]])
def test_processes_agree_on_a_pin_that_cannot_be_kept(
    app: Path, tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    nowhere = str(tmp_path / "file" / "state")
    terminal = Terminal(tmp_path, "app.py", "--port", "0", *words, XDG_STATE_HOME=nowhere)
    try:
        port = terminal.port
        found = re.search(r"PIN +(\d{3}-\d{3}-\d{3})", terminal.output)
        assert found is not None, terminal.output
        for _ in range(3):
            assert Page(port).command("unlock", pin=found[1])["ok"]
    finally:
        terminal.close()


def test_the_page_does_not_tell_the_pin_that_was_typed(app: Path, start: Start) -> None:
    for words in (["--no-reload"], ["--reload"]):
        child = start("app.py", "--port", "0", "--debug-pin", "86427531", *words)
        page = Page(child.port)
        assert "86427531" not in page.text
        assert "--debug-pin ..." in page.text
        assert page.command("unlock", pin="86427531")["ok"]


def test_the_terminal_obeys_nothing_of_an_exception(app: Path, start: Start) -> None:
    app.write_text(APP.replace("nothing here, ", "\\x1b]0;title\\x07\\r\\x9b31m\\u202e"))
    child = start("app.py", "--port", "0")
    assert Page(child.port).status == 500
    child.wait_for("LookupError: ")
    assert child.end() == 0
    assert r"LookupError: \x1b]0;title\x07\r\x9b31m\u202eone" in child.errors
    assert not re.search("[\x1b\x07\x9b\u202e]", child.errors)


def test_a_reload_is_noticed_and_ten_wrong_pins_outlive_it(app: Path, start: Start) -> None:
    child = start("app.py", "--port", "0", "--reload")
    page = Page(child.port)
    assert page.command("alive") == {"ok": True, "run": page.settings["generation"], "kept": True}
    for number in range(10):
        assert page.command("unlock", pin=f"{number:09}")["error"] in ("wrong-pin", "locked")
    app.write_text(APP.replace("one", "two"))
    only_reload(child)
    later = page.command("alive")
    assert (later["ok"], later["kept"]) == (True, False)
    assert later["run"] != page.settings["generation"]
    assert page.command("locals", frame=0)["error"] == "gone"
    again = Page(child.port)
    assert "nothing here, two" in again.text
    assert again.command("unlock", pin=pin_of(start("pin")))["error"] == "locked"


def test_a_cookie_lives_on_through_reloads(app: Path, start: Start) -> None:
    child = start("app.py", "--port", "0", "--reload", ASERVE_DEBUG_PIN="2468")
    page = Page(child.port)
    assert page.command("unlock", pin="24-68")["ok"]
    app.write_text(APP.replace("one", "two"))
    only_reload(child)
    again = Page(child.port)
    again.cookie = page.cookie
    assert again.command("eval", frame=0, code="word")["output"] == "'two'\n"


def test_several_processes_find_their_frames(app: Path, start: Start) -> None:
    child = start("app.py", "--port", "0", "--processes", "2", ASERVE_DEBUG_PIN="off")
    pages = [Page(child.port) for _ in range(4)]
    assert len({page.settings["generation"] for page in pages}) == 1
    for page in pages:
        assert page.command("eval", frame=0, code="kept = word")["ok"]
        assert page.command("eval", frame=0, code="kept")["output"] == "'one'\n"


def test_a_response_that_had_begun_is_cut_and_can_be_seen(app: Path, start: Start) -> None:
    child = start("app.py", "--port", "0", "--no-reload")
    connection = http.client.HTTPConnection("127.0.0.1", child.port, timeout=DEADLINE)
    connection.request("GET", "/begun")
    answer = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    connection.close()
    link = child.wait_for(r"the error page is http://[^/]+(/\S+)")[1]
    page = Page(child.port, link)
    assert page.status == 200
    assert "in the middle" in page.text
    child.wait_for("LookupError: in the middle")


def test_bad_pins_are_told_without_them(app: Path, start: Start) -> None:
    child = start("app.py", "--port", "0", ASERVE_DEBUG_PIN="s3cret")
    assert child.wait() == 2
    assert "ASERVE_DEBUG_PIN" in child.errors
    assert "s3cret" not in child.errors
    child = start("config", ASERVE_DEBUG_PIN="2468")
    assert child.wait() == 0
    assert child.process.stdout is not None
    assert "2468" not in child.process.stdout.read()


FLASK = """
from flask import Flask, request, session

app = Flask(__name__)

@app.get("/<name>")
def page(name):
    return {}[name]
"""


def test_flask(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(FLASK)
    child = start("app.py", "--port", "0", ASERVE_DEBUG_PIN="off")
    page = Page(child.port, "/there?a=1")
    assert "KeyError" in page.text
    frame = next(
        number for number in range(40)
        if page.command("locals", frame=number)["values"][:1] == [
            {"name": "name", "type": "str", "text": "'there'", "is_hidden": False,
             "can_expand": False}]
    )  # fmt: skip
    # Its contexts are entered again.
    answer = page.command("eval", frame=frame, code="request.args['a'], request.path")
    assert answer["output"] == "('1', '/there')\n"


def test_flask_that_was_told_otherwise(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(FLASK)
    child = start("app.py", "--port", "0", FLASK_DEBUG="0")
    command = ["curl", "--silent", child.url + "/there"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE).stdout
    assert "Internal Server Error" in text
    assert "KeyError" not in text


BOTTLE = """
import bottle

app = bottle.Bottle()

@app.get("/")
def page():
    raise LookupError("in bottle")
"""

DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

settings.configure(DEBUG=DEBUG, ROOT_URLCONF=__name__, SECRET_KEY="x", ALLOWED_HOSTS=["*"])

def page(request):
    raise LookupError("in django")

urlpatterns = [path("", page)]
app = get_wsgi_application()
"""


@pytest.mark.parametrize(
    ("text", "what"),
    [(BOTTLE, "in bottle"), (DJANGO.replace("DEBUG=DEBUG", "DEBUG=True"), "in django")],
    ids=["bottle", "django"],
)
def test_frameworks_let_their_errors_out(
    tmp_path: Path, start: Start, text: str, what: str
) -> None:
    (tmp_path / "app.py").write_text(text)
    page = Page(start("app.py", "--port", "0").port)
    assert what in page.text


def test_a_django_site_with_an_error_page_of_its_own(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(DJANGO.replace("DEBUG=DEBUG", "DEBUG=False"))
    child = start("app.py", "--port", "0")
    command = ["curl", "--silent", child.url]
    text = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE).stdout
    assert "Server Error (500)" in text


RUN_SIMPLE = """
import aserve
from app import app

if __name__ == "__main__":
    aserve.run_simple("localhost", 0, app, use_debugger=True, use_evalex={evalex},
                      use_reloader={reloader}, passthrough_errors=True)
"""


@pytest.mark.parametrize("reloader", [False, True])
@pytest.mark.parametrize("evalex", [False, True])
def test_run_simple(app: Path, tmp_path: Path, start: Start, evalex: bool, reloader: bool) -> None:
    (tmp_path / "serve.py").write_text(RUN_SIMPLE.format(evalex=evalex, reloader=reloader))
    import sys

    child = start(sys.executable, "serve.py", raw=True, ASERVE_DEBUG_PIN="off")
    page = Page(child.port)
    assert page.settings["can_eval"] is evalex
    if evalex:
        assert page.command("eval", frame=0, code="word")["output"] == "'one'\n"
        console = Page(child.port, "/console")
        assert console.command("eval", frame=0, code="import math; math.pi")["output"] == (
            "3.141592653589793\n"
        )
    else:
        assert "LookupError" in page.get("/console")[1]


def test_a_thousand_errors_take_no_memory(app: Path, start: Start) -> None:
    """Each holds a megabyte in a local; ten are kept.

    The heap of each of the eight threads may have holes of a few megabytes. All errors would take
    a gigabyte; one in thirty would be seen.
    """
    child = start("app.py", "--port", "0", "--no-access-log")
    connection = http.client.HTTPConnection("127.0.0.1", child.port, timeout=DEADLINE)

    def fail(times: int) -> None:
        for _ in range(times):
            connection.request("GET", "/big", headers={"Accept": "text/html"})
            assert connection.getresponse().read().startswith(b"<!doctype html>")

    fail(50)
    before = child.memory("VmRSS")
    fail(1000)
    grown = child.memory("VmRSS") - before
    connection.close()
    assert grown < 32_000_000, f"grew by {grown / 1e6:.1f} MB"


def test_another_name_gets_nothing(app: Path, start: Start) -> None:
    child = start("app.py", "--port", "0", "--allowed-host", "*")
    with socket.create_connection(("127.0.0.1", child.port), timeout=DEADLINE) as client:
        client.sendall(b"GET / HTTP/1.0\r\nHost: evil.example\r\nAccept: text/html\r\n\r\n")
        data = b""
        while piece := client.recv(65_536):
            data += piece
    assert b"500 " in data
    assert b"LookupError" not in data
