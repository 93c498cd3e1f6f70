"""What can happen while the app is imported: it hangs, dies, is edited, or opens things."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from .conftest import DEADLINE, Child, Start
from .reloading import ANSWER, serve
from .test_reload import children_of, get, until, wait_gone

ONE = "WORD = 'one'\n" + ANSWER
FIXED = "WORD = 'fixed'\n" + ANSWER
HANGS = (
    "import sys, threading\nprint('hangs now', file=sys.stderr, flush=True)\n"
    "threading.Event().wait()\n"
)


def test_an_edit_during_a_load(tmp_path: Path, start: Start) -> None:
    """What was superseded answers nobody: neither who waits already nor who comes later."""
    app = tmp_path / "app.py"
    app.write_text(ONE)
    child = serve(start)
    assert get(child)[1] == "one"
    app.write_text(
        "import sys\nfrom pathlib import Path\nprint('in the middle', file=sys.stderr)\n"
        "while not Path('go').exists(): pass\nWORD = 'superseded'\n" + ANSWER
    )
    child.wait_for("in the middle")
    answers: list[tuple[int, str]] = []
    waiting = threading.Thread(target=lambda: answers.append(get(child)))
    waiting.start()
    app.write_text(FIXED)
    (tmp_path / "go").touch()
    assert until(child, "fixed") == "200 fixed"
    waiting.join(DEADLINE)
    assert answers == [(200, "fixed")]
    assert "superseded" not in child.errors


def test_an_edit_of_what_was_imported_already_during_a_load(tmp_path: Path, start: Start) -> None:
    """The load is not stopped by it in its own eyes: it ends well, with an old module."""
    (tmp_path / "words.py").write_text("WORD = 'one'\n")
    app = tmp_path / "app.py"
    app.write_text("from words import WORD\n" + ANSWER)
    child = serve(start)
    assert get(child)[1] == "one"
    app.write_text(
        "from words import WORD\nfrom pathlib import Path\n"
        "if WORD == 'one': Path('words.py').write_text('WORD = \"two\"')\n" + ANSWER
    )
    assert until(child, "two") == "200 two"
    assert get(child) == (200, "two")


@pytest.mark.parametrize(
    "code",
    [HANGS, "import sys\nprint('hangs now', file=sys.stderr, flush=True)\nwhile True: pass\n"],
    ids=["waits", "spins"],
)
def test_an_import_that_hangs(tmp_path: Path, start: Start, code: str) -> None:
    app = tmp_path / "app.py"
    app.write_text(ONE)
    child = serve(start)
    assert get(child)[1] == "one"
    app.write_text(code)
    child.wait_for("hangs now")
    hanging = children_of(child.pid)
    app.write_text(FIXED)
    assert until(child, "fixed") == "200 fixed"
    assert child.end() == 0
    wait_gone(hanging)


def test_the_first_import_hangs(tmp_path: Path, start: Start) -> None:
    app = tmp_path / "app.py"
    app.write_text(HANGS)
    child = serve(start)
    child.wait_for("hangs now")
    app.write_text(FIXED)
    assert child.url
    assert get(child) == (200, "fixed")


@pytest.mark.parametrize("is_first", [True, False], ids=["at first", "later"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_while_loading(
    tmp_path: Path, start: Start, number: signal.Signals, is_first: bool
) -> None:
    app = tmp_path / "app.py"
    app.write_text(HANGS if is_first else ONE)
    child = serve(start)
    if not is_first:
        assert get(child)[1] == "one"
        app.write_text(HANGS)
    child.wait_for("hangs now")
    children = children_of(child.pid)
    assert children
    assert child.end(number) == 0
    wait_gone(children)
    assert "Traceback" not in child.errors


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import ctypes\nctypes.string_at(0)", "was ended by SIGSEGV"),
        ("import os\nos.abort()", "was ended by SIGABRT"),
        ("import os\nos._exit(0)", "ended with status 0"),
        ("import sys\nsys.exit()", "SystemExit"),
        ("raise KeyboardInterrupt", "was ended by SIGINT"),
        ("def app(): return app()\napp()", "RecursionError"),
        ("import sys\nsys.stderr.close()\nraise ValueError('mute')", "mute"),
        ("WORD = '\\ud800'\nraise ValueError(WORD)", "ValueError"),
        ("x = '\0'", "null bytes"),
        ("# coding: no-such-coding\nWORD = 'ä'", "no-such-coding"),
    ],
)
def test_whatever_ends_an_import(tmp_path: Path, start: Start, code: str, words: str) -> None:
    app = tmp_path / "app.py"
    app.write_text(ONE)
    child = serve(start)
    assert get(child)[1] == "one"
    app.write_text(code)
    assert until(child, words).startswith("500")
    app.write_text(FIXED)
    assert until(child, "fixed") == "200 fixed"
    assert child.end() == 0


def test_a_circular_import(tmp_path: Path, start: Start) -> None:
    """It is mended in the other file than the one that fails."""
    (tmp_path / "app.py").write_text("from words import WORD\n" + ANSWER)
    (tmp_path / "words.py").write_text("WORD = 'one'\n")
    child = serve(start)
    assert get(child)[1] == "one"
    (tmp_path / "words.py").write_text("from helper import WORD\n")
    until(child, "No module named 'helper'")
    (tmp_path / "helper.py").write_text("from words import WORD\n")
    shown = until(child, "circular import")
    assert shown.startswith("500")
    assert "helper.py" in shown
    (tmp_path / "helper.py").write_text("WORD = 'whole'\n")
    assert until(child, "whole") == "200 whole"


def test_an_error_in_a_factory(tmp_path: Path, start: Start) -> None:
    """Also one in a module that only the factory imports, and it returns nothing."""
    app = tmp_path / "app.py"
    factory = "def create_app():\n    {}\n    from late import app\n    return app\n"
    app.write_text(factory.format("pass"))
    (tmp_path / "late.py").write_text(ONE)
    child = serve(start)
    assert get(child)[1] == "one"
    app.write_text(factory.format("raise LookupError('no settings')"))
    shown = until(child, "LookupError")
    assert shown.startswith("500")
    assert "app.py" in shown
    app.write_text(factory.format("return None"))
    until(child, "returned None")
    app.write_text(factory.format("pass"))
    until(child, "one")
    (tmp_path / "late.py").write_text("nonsense(\n")
    assert "late.py" in until(child, "SyntaxError")
    (tmp_path / "late.py").write_text(FIXED)
    assert until(child, "fixed") == "200 fixed"


def make_django(folder: Path, *, debug: bool) -> Path:
    """A project as `startproject` makes it; returns the module of its routes."""
    (folder / "manage.py").write_text(
        "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site_.settings')\n"
    )
    site = folder / "site_"
    site.mkdir()
    (site / "__init__.py").write_text("")
    (site / "settings.py").write_text(
        f"SECRET_KEY = 'for tests'\nDEBUG = {debug}\nALLOWED_HOSTS = ['*']\n"
        "ROOT_URLCONF = 'site_.urls'\nWSGI_APPLICATION = 'site_.wsgi.application'\n"
        "INSTALLED_APPS = ['pages']\n"
        "TEMPLATES = [{'BACKEND': 'django.template.backends.django.DjangoTemplates',"
        " 'APP_DIRS': True}]\n"
    )
    (site / "wsgi.py").write_text(
        "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"
    )
    pages = folder / "pages"
    (pages / "templates").mkdir(parents=True)
    (pages / "__init__.py").write_text("")
    (pages / "models.py").write_text("")
    (pages / "views.py").write_text(
        "from django.shortcuts import render\nWORD = 'one'\n"
        "def page(request): return render(request, 'page.html', {'word': WORD})\n"
    )
    (pages / "templates" / "page.html").write_text("<p>{{ word }}</p>")
    urls = site / "urls.py"
    urls.write_text(
        "from django.urls import path\nfrom pages import views\n"
        "urlpatterns = [path('', views.page)]\n"
    )
    return urls


def serve_django(start: Start) -> Child:
    return start("--port", "0", "--reload")


def test_a_django_project(tmp_path: Path, start: Start) -> None:
    """Views, routes, a model and an app that is new; each of them only lazily imported."""
    urls = make_django(tmp_path, debug=True)
    child = serve_django(start)
    assert get(child) == (200, "<p>one</p>")
    views = tmp_path / "pages" / "views.py"
    views.write_text(views.read_text().replace("one", "two"))
    until(child, "<p>two</p>")
    urls.write_text(urls.read_text().replace("path('',", "path('new',"))
    until(child, "Page not found")
    assert get(child, path="/new") == (200, "<p>two</p>")
    (tmp_path / "pages" / "models.py").write_text(
        "from django.db import models\nclass Thing(models.Model): pass\n"
    )
    child.wait_for("models.py")
    assert get(child, path="/new") == (200, "<p>two</p>")


def test_a_broken_django_urlconf_and_its_fix(tmp_path: Path, start: Start) -> None:
    urls = make_django(tmp_path, debug=True)
    whole = urls.read_text()
    child = serve_django(start)
    assert get(child) == (200, "<p>one</p>")
    urls.write_text("nonsense(\n")
    shown = until(child, "SyntaxError")
    assert shown.startswith("500")
    assert "urls.py" in shown
    assert "resolvers.py" not in shown  # Django's own frames help nobody
    child.wait_for("SyntaxError")
    urls.write_text(whole)
    assert until(child, "one") == "200 <p>one</p>"


def test_what_an_app_opens_when_it_is_imported(tmp_path: Path, start: Start) -> None:
    """A thread, a socket on a free port and a database, each anew in each process."""
    app = tmp_path / "app.py"
    code = (
        "import socket, sqlite3, threading\n"
        "database = sqlite3.connect('data.db', check_same_thread=False)\n"
        "database.execute('CREATE TABLE IF NOT EXISTS seen (name TEXT)')\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "stop, lock = threading.Event(), threading.Lock()\n"
        "thread = threading.Thread(target=stop.wait)\nthread.start()\n"
        "def app(environ, start_response):\n"
        "    with lock, database:\n"
        "        database.execute('INSERT INTO seen VALUES (?)', ['NAME'])\n"
        "        names = [name for name, in database.execute('SELECT * FROM seen')]\n"
        "    assert thread.is_alive() and listener.getsockname()[1]\n"
        "    start_response('200 OK', [])\n    return [' '.join(names).encode()]\n"
    )
    app.write_text(code.replace("NAME", "one"))
    child = serve(start)
    seen = ["one"]
    assert get(child) == (200, "one")
    for name in ("two", "three", "four"):
        app.write_text(code.replace("NAME", name))
        body = until(child, name)
        assert body.split()[1 : len(seen) + 1] == seen
        seen = body.split()[1:]  # who asked before the change was noticed wrote, too
    assert child.end() == 0
    assert "Traceback" not in child.errors
