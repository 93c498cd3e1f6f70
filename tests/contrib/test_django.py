"""`manage.py runserver`: Django's arguments, what it prints, and how it serves."""

from __future__ import annotations

import re
import signal
import sys
import urllib.request
from pathlib import Path

import pytest
from django.contrib.staticfiles.management.commands.runserver import Command as DjangosStatic
from django.core.management.commands.runserver import Command as Djangos

import aserve.contrib.django.management.commands.runserver as ours

from ..e2e.conftest import Start
from ..e2e.test_reload import children_of, get
from .conftest import Command, printed
from .project import MODELS, SETTINGS, URLS, write_project

FAILING_VIEW = """
def fails(request):
    raise LookupError("this")

urlpatterns.append(path("fails", fails))
"""
CSS = "/static/admin/css/base.css"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    write_project(tmp_path)
    return tmp_path


def settings(folder: Path, old: str, new: str) -> None:
    assert old in SETTINGS
    (folder / "site_" / "settings.py").write_text(SETTINGS.replace(old, new))


@pytest.mark.parametrize("words", [[], ["--noreload"]])
def test_page_and_static_files(manage: Command, words: list[str]) -> None:
    child = manage("runserver", "0", *words)
    assert get(child) == (200, "one")
    assert child.url.startswith("http://127.0.0.1:")
    status, text = get(child, path=CSS)
    assert status == 200
    assert "{" in text
    assert (children_of(child.pid) == []) is bool(words)
    assert child.end(signal.SIGINT) == 0


@pytest.mark.parametrize("words", [[], ["--noreload"]])
def test_what_it_prints(manage: Command, words: list[str]) -> None:
    child = manage("runserver", "0", *words)
    assert get(child) == (200, "one")
    assert child.end(signal.SIGINT) == 0
    text = printed(child)
    # Once, in the process that serves; not in the one that supervises.
    assert text.count("Performing system checks...") == 1
    assert text.count("System check identified no issues (0 silenced).") == 1
    assert re.search(r"You have \d+ unapplied migration\(s\)", text)
    assert re.search(r"^Django version [\d.]+, using settings 'site_\.settings'$", text, re.M)
    assert "Traceback" not in child.errors
    assert "Starting development server" not in text


@pytest.mark.parametrize("more", [[], ["--noreload"]])
def test_debugger_instead_of_djangos_page(folder: Path, manage: Command, more: list[str]) -> None:
    (folder / "site_" / "urls.py").write_text(f"{URLS}\n{FAILING_VIEW}")
    first, second = (manage("runserver", "0", *words, *more) for words in ([], ["--debugger"]))
    assert "Request Method:" in get(first, path="/fails")[1]
    assert get(second, path="/fails")[1].rstrip().endswith("LookupError: this")


def test_after_migrate_there_is_no_notice_and_the_admin_works(manage: Command) -> None:
    assert manage("migrate").wait() == 0
    child = manage("runserver", "0")
    assert get(child, path="/admin/login/")[0] == 200
    assert child.end(signal.SIGINT) == 0
    assert "unapplied" not in printed(child)


def test_skipped_checks(manage: Command) -> None:
    child = manage("runserver", "0", "--skip-checks")
    assert get(child) == (200, "one")
    assert child.end() == 0
    assert "System check" not in printed(child)


@pytest.mark.parametrize(
    ("words", "debug", "status"),
    [([], True, 200), (["--nostatic"], True, 404), ([], False, 404), (["--insecure"], False, 200)],
)
def test_when_static_files_are_served(
    folder: Path, manage: Command, words: list[str], debug: bool, status: int
) -> None:
    settings(folder, "DEBUG = True", f"DEBUG = {debug}")
    child = manage("runserver", "0", *words)
    assert get(child, path=CSS)[0] == status
    assert get(child) == (200, "one")


def test_without_the_app_for_static_files(folder: Path, manage: Command) -> None:
    settings(folder, '    "django.contrib.staticfiles",\n', "")
    child = manage("runserver", "0")
    assert get(child, path=CSS)[0] == 404
    assert get(child) == (200, "one")
    refused = manage("runserver", "0", "--nostatic", "--noreload")
    assert refused.wait() == 2
    assert "unrecognized arguments: --nostatic" in refused.errors


@pytest.mark.parametrize("words", [["[::1]:0"], ["--ipv6", "0"], ["-6", "localhost:0"]])
@pytest.mark.parametrize("more", [[], ["--noreload"]])
def test_ipv6(manage: Command, words: list[str], more: list[str]) -> None:
    child = manage("runserver", *words, *more)
    assert child.url.startswith("http://[::1]:")
    with urllib.request.urlopen(child.url) as answer:
        assert answer.read() == b"one"


def test_port_and_address(manage: Command, free_port: int) -> None:
    assert manage("runserver", str(free_port)).port == free_port
    public = manage("runserver", "0:0", "--noreload")
    public.wait_for("can be reached from the network")


@pytest.mark.parametrize(("words", "answer"), [([], "True"), (["--nothreading"], "False")])
def test_threads(manage: Command, words: list[str], answer: str) -> None:
    assert get(manage("runserver", "0", *words), path="/threads") == (200, answer)


def test_defaults_and_arguments_are_djangos() -> None:
    def arguments(command: Djangos) -> set[tuple[str, ...]]:
        parser = command.create_parser("manage.py", "runserver")
        return {(action.dest, *action.option_strings) for action in parser._actions}

    mine = ours.Command()
    assert (mine.default_addr, mine.default_port, mine.default_addr_ipv6) == (
        "127.0.0.1", "8000", "::1",
    )  # fmt: skip
    # This process has no settings, so the app for static files is not installed.
    added = {("debugger", "--debugger")}
    assert arguments(mine) - added == arguments(Djangos()) < arguments(DjangosStatic())


@pytest.mark.parametrize("words", [[], ["--noreload"]])
def test_busy_port(manage: Command, busy_port: int, words: list[str]) -> None:
    child = manage("runserver", str(busy_port), *words)
    assert child.wait() == 1
    assert child.errors.count("\n") == 1
    assert child.errors.startswith(f"Error: port {busy_port} on 127.0.0.1 is already in use")


@pytest.mark.parametrize("words", [["x:y"], ["1.2.3.4.5:x"], ["-6", "127.0.0.1:0"]])
def test_wrong_address(manage: Command, words: list[str]) -> None:
    child = manage("runserver", *words)
    assert child.wait() == 1
    assert child.errors.startswith("CommandError: ")
    assert child.errors.count("\n") == 1


def test_hosts_have_to_be_allowed(folder: Path, manage: Command) -> None:
    settings(folder, 'DEBUG = True\nALLOWED_HOSTS = ["*"]', "DEBUG = False")
    child = manage("runserver", "0")
    assert child.wait() == 1
    assert "CommandError: You must set settings.ALLOWED_HOSTS" in child.errors


def test_failed_check_without_the_reloader(folder: Path, manage: Command) -> None:
    (folder / "shop" / "models.py").write_text(MODELS.replace("20", "-1"))
    child = manage("runserver", "0", "--noreload")
    assert child.wait() == 1
    assert "SystemCheckError: System check identified some issues" in child.errors
    assert "shop.Item.name: (fields.E121)" in child.errors


def test_broken_models_without_the_reloader(folder: Path, manage: Command) -> None:
    (folder / "shop" / "models.py").write_text("1 / 0\n")
    child = manage("runserver", "0", "--noreload")
    assert child.wait() == 1
    assert child.errors.endswith("ZeroDivisionError: division by zero\n")


def test_app_that_is_not_first_is_told_so(folder: Path, manage: Command) -> None:
    name = '    "aserve.contrib.django",\n'
    moved = SETTINGS.replace(name, "").replace("]\nMIDDLEWARE", f"{name}]\nMIDDLEWARE")
    (folder / "site_" / "settings.py").write_text(moved)
    child = manage("check")
    assert child.wait() == 0
    assert "(aserve.W001) `runserver` is the one of django.contrib.staticfiles" in child.errors
    assert 'Put "aserve.contrib.django" first into INSTALLED_APPS.' in child.errors


def test_app_that_is_first_is_told_nothing(manage: Command) -> None:
    child = manage("check")
    assert child.wait() == 0
    assert "aserve" not in child.errors


# As WhiteNoise does it: whatever command comes next, with another default.
NO_STATIC = """
from importlib import import_module
from django.apps import apps

names = [config.name for config in apps.get_app_configs()]
for name in [*names[names.index("nostatic") + 1:], "django.core"]:
    try:
        Next = import_module(f"{name}.management.commands.runserver").Command
        break
    except ImportError:
        pass

class Command(Next):
    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.set_defaults(use_static_handler=False)
"""


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("words", [[], ["--noreload"]])
def test_command_of_another_app_that_changes_it(
    folder: Path, manage: Command, is_first: bool, words: list[str]
) -> None:
    commands = folder / "nostatic" / "management" / "commands"
    commands.mkdir(parents=True)
    (commands / "runserver.py").write_text(NO_STATIC)
    (folder / "nostatic" / "__init__.py").touch()
    name = '"aserve.contrib.django",'
    settings(folder, name, f'"nostatic", {name}' if is_first else f'{name} "nostatic",')
    child = manage("runserver", "0", *words)
    assert get(child, path=CSS)[0] == 404
    assert get(child) == (200, "one")
    assert child.end(signal.SIGINT) == 0
    assert "W001" not in printed(child) + child.errors


def test_app_whose_command_is_broken_is_passed_over(folder: Path, manage: Command) -> None:
    commands = folder / "shop" / "management" / "commands"
    commands.mkdir(parents=True)
    (commands / "runserver.py").write_text("1 / 0\n")
    settings(folder, '    "shop",\n', "")
    text = (folder / "site_" / "settings.py").read_text()
    first = '"aserve.contrib.django",'
    (folder / "site_" / "settings.py").write_text(text.replace(first, f'{first} "shop",'))
    child = manage("runserver", "0")
    assert get(child, path=CSS)[0] == 200


def test_words_behind_the_end_of_options(manage: Command) -> None:
    assert get(manage("runserver", "--", "0")) == (200, "one")


@pytest.mark.parametrize("more", ["", ", use_reloader=False"])
def test_called_by_a_program(folder: Path, start: Start, more: str) -> None:
    (folder / "program.py").write_text(
        "import os, django\n"
        "from django.core.management import call_command\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'site_.settings'\n"
        "django.setup()\n"
        f"call_command('runserver', '0', shutdown_message='Goodbye!'{more})\n"
    )
    child = start(sys.executable, "program.py", raw=True)
    assert get(child) == (200, "one")
    assert (children_of(child.pid) == []) is bool(more)
    assert child.end(signal.SIGINT) == 0
    assert printed(child).count("Goodbye!") == 1


@pytest.mark.parametrize("words", [[], ["--noreload"]])
def test_other_program_and_settings(folder: Path, start: Start, words: list[str]) -> None:
    (folder / "other.py").write_text(SETTINGS.replace("site_.urls", "other_urls"))
    (folder / "other_urls.py").write_text(URLS.replace("one", "other"))
    words = ["runserver", "0", "--settings", "other", *words]
    child = start(sys.executable, "-m", "django", *words, raw=True)
    assert get(child) == (200, "other")
