"""`manage.py runserver` with the reloader: edits, errors wherever Django looks, and their end."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

from ..e2e.conftest import Child, Start
from ..e2e.test_reload import ask, children_of, until
from .conftest import Command, printed
from .project import MODELS, SETTINGS, URLS, write_project

# A file, what breaks it, what then stands on the page and in the terminal.
BROKEN = {
    "models": ("shop/models.py", MODELS + "1 / 0\n", "ZeroDivisionError: division by zero"),
    "models that lack a module": (
        "shop/models.py", "import nonsense_\n", "No module named 'nonsense_'",
    ),
    "a check": (
        "shop/models.py", MODELS.replace("20", "-1"), "fields.E121",
    ),
    "URLs": ("site_/urls.py", URLS + "x = (\n", "SyntaxError: '(' was never closed"),
    "settings": ("site_/settings.py", SETTINGS + "1 / 0\n", "ZeroDivisionError: division by zero"),
    "settings that lack a module": (
        "site_/settings.py", "import nonsense_\n" + SETTINGS, "No module named 'nonsense_'",
    ),
    "an app that does not exist": (
        "site_/settings.py", SETTINGS.replace('"shop"', '"shoop"'), "No module named 'shoop'",
    ),
    "no allowed host": (
        "site_/settings.py", SETTINGS.replace("= True\nALLOWED_HOSTS", "= False\nX"),
        "You must set settings.ALLOWED_HOSTS",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    write_project(tmp_path)
    return tmp_path


def answer(port: int, text: str) -> int:
    """Ask until the answer has a text in it; returns its status."""
    for _ in range(10_000):
        status, body = ask(port)
        if text in body:
            return status
    raise AssertionError(body)


def is_served(port: int) -> bool:
    """Ask until the page itself comes; the page of an error shows the same word, as source."""
    return any(ask(port) == (200, "one") for _ in range(10_000))


def port_of(child: Child) -> int:
    """Of a server whose first load has failed."""
    return int(child.wait_for(r"Until then \S+:(\d+) shows this")[1])


def test_edits_are_served(folder: Path, manage: Command) -> None:
    child = manage("runserver", "0")
    until(child, "one")
    for word in ("two", "six", "three"):
        (folder / "site_" / "urls.py").write_text(URLS.replace("one", word))
        until(child, word)
    child.wait_for(r"Detected change in '.*urls\.py', reloading \(edited\)")
    assert child.end(signal.SIGINT) == 0
    assert "Traceback" not in child.errors
    # Each process that serves checks, as with Django.
    assert printed(child).count("System check identified no issues") == 4


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_is_shown_and_the_server_lives(
    folder: Path, manage: Command, name: str
) -> None:
    place, text, told = BROKEN[name]
    path = folder / place
    fine = path.read_text()
    child = manage("runserver", "0")
    until(child, "one")
    path.write_text(text)
    assert answer(child.port, told) == 500
    child.wait_for(re.escape(told))
    path.write_text(fine)
    assert is_served(child.port)
    assert child.end(signal.SIGINT) == 0


@pytest.mark.parametrize("name", ["models", "models that lack a module", "a check", "URLs"])
def test_what_is_broken_at_the_start(folder: Path, manage: Command, name: str) -> None:
    place, text, told = BROKEN[name]
    path = folder / place
    fine = path.read_text()
    path.write_text(text)
    child = manage("runserver", "0")
    port = port_of(child)
    assert answer(port, told) == 500
    assert told in child.errors
    path.write_text(fine)
    assert is_served(port)
    # Served with static files, though the apps were not known at the start.
    assert ask(port, "/static/admin/css/base.css")[0] == 200
    assert child.end(signal.SIGINT) == 0


def test_broken_urls_with_skipped_checks(folder: Path, manage: Command) -> None:
    (folder / "site_" / "urls.py").write_text("1 / 0\n")
    child = manage("runserver", "0", "--skip-checks")
    assert answer(port_of(child), "ZeroDivisionError") == 500


def test_checks_are_shown_without_colours(folder: Path, manage: Command) -> None:
    (folder / "shop" / "models.py").write_text(BROKEN["a check"][1])
    child = manage("runserver", "0", "--force-color")
    port = port_of(child)
    _, body = ask(port)
    assert "shop.Item.name: (fields.E121)" in body
    assert "\x1b" not in body


def test_page_names_what_was_typed(folder: Path, manage: Command) -> None:
    (folder / "shop" / "models.py").write_text("1 / 0\n")
    _, page = ask(port_of(manage("runserver", "0", "--verbosity", "1")), accept="text/html")
    assert "python manage.py runserver 0 --verbosity 1" in page
    assert "--noreload" not in page


def test_program_with_words_of_its_own(folder: Path, start: Start) -> None:
    """It takes no word more, and what breaks is shown all the same."""
    (folder / "serve.py").write_text(
        "import argparse, os\n"
        "from django.core.management import execute_from_command_line\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--where')\n"
        "where = parser.parse_args().where\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'site_.settings'\n"
        "execute_from_command_line(['manage.py', 'runserver', where])\n"
    )
    child = start(sys.executable, "serve.py", "--where", "0", raw=True)
    until(child, "one")
    models = folder / "shop" / "models.py"
    models.write_text(MODELS + "1 / 0\n")
    assert answer(child.port, "ZeroDivisionError: division by zero") == 500
    models.write_text(MODELS)
    assert is_served(child.port)
    assert child.end(signal.SIGINT) == 0


def test_there_is_one_reloader(manage: Command) -> None:
    """Django's own would start a process from that of aserve."""
    child = manage("runserver", "0")
    until(child, "one")
    for process in children_of(child.pid):
        arguments = Path(f"/proc/{process}/cmdline").read_text()
        assert "aserve.worker" in arguments
    assert child.end() == 0


@pytest.mark.parametrize("text", ["import nonsense_\n", "x = (\n"])
def test_settings_that_cannot_be_imported_at_the_start(
    folder: Path, manage: Command, text: str
) -> None:
    (folder / "site_" / "settings.py").write_text(text)
    child = manage("runserver", "0")
    assert child.wait() == 1
    assert "Traceback" in child.errors
