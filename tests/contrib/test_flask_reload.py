"""`flask aserve` with the reloader: edits, errors and their end, `.env`, what is watched."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from ..e2e.reloading import only_reload
from ..e2e.test_reload import ask, get, until
from .conftest import Command

APP = """
import os
import sys
import flask

print("imported by", os.getpid(), file=sys.stderr, flush=True)
app = flask.Flask(__name__)

@app.get("/")
def page():
    return f"one SHOP={os.environ.get('SHOP')}"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def test_each_generation_imports_the_app_once(folder: Path, flask: Command) -> None:
    child = flask("aserve", "--port", "0", "--debug")
    until(child, "one")
    for word in ("two", "six"):
        (folder / "app.py").write_text(APP.replace("one", word))
        until(child, word)
    assert child.end(signal.SIGINT) == 0
    importers = re.findall(r"imported by (\d+)", child.errors)
    assert len(importers) == len(set(importers)) == 3
    assert str(child.pid) not in importers
    assert "Traceback" not in child.errors


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = (\n", "SyntaxError: '(' was never closed"),
        ("import nonsense_\n", "No module named 'nonsense_'"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("x = 1\n", "Failed to find Flask application or factory in module 'app'"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["at the start", "later"])
def test_broken_app(folder: Path, flask: Command, text: str, told: str, is_first: bool) -> None:
    if is_first:
        (folder / "app.py").write_text(text)
    child = flask("aserve", "--port", "0", "--debug")
    if is_first:
        url = child.wait_for(r"Until then (\S+) shows this")[1]
        port = int(url.rpartition(":")[2])
    else:
        until(child, "one")
        port = child.port
        (folder / "app.py").write_text(text)
    shown = _until(port, told)
    assert shown[0] == 500
    child.wait_for(re.escape(told))
    child.wait_for("'-m flask aserve --port 0 --debug' failed to import")
    (folder / "app.py").write_text(APP.replace("one", "fixed"))
    assert _until(port, "fixed")[0] == 200
    assert child.end(signal.SIGINT) == 0


def _until(port: int, text: str) -> tuple[int, str]:
    for _ in range(10_000):
        status, body = ask(port)
        if text in body:
            return status, body
    raise AssertionError(body)


def test_error_in_an_import_shows_the_file_that_has_it(folder: Path, flask: Command) -> None:
    (folder / "app.py").write_text("import parts\n" + APP)
    (folder / "parts.py").write_text("import nonsense_\n")
    child = flask("aserve", "--port", "0", "--reload")
    child.wait_for("Waiting for a change")
    assert 'parts.py", line 1' in child.errors
    assert "During handling" not in child.errors
    (folder / "parts.py").write_text("")
    assert get(child)[0] == 200


def test_app_that_does_not_exist_yet(folder: Path, flask: Command) -> None:
    child = flask("--app", "shop", "aserve", "--port", "0", "--reload")
    child.wait_for("No module named 'shop'(.*\n)*.*Waiting for a change")
    (folder / "shop.py").write_text(APP)
    assert get(child)[0] == 200


def test_factory_in_a_package(folder: Path, flask: Command) -> None:
    package = folder / "shop"
    package.mkdir()
    text = (
        "import flask\n"
        "def create_app(name):\n"
        "    app = flask.Flask(__name__)\n"
        "    app.get('/')(lambda: f'one {name}')\n"
        "    return app\n"
    )
    (package / "__init__.py").write_text(text)
    child = flask("aserve", "--port", "0", "--reload", FLASK_APP="shop:create_app('market')")
    assert get(child) == (200, "one market")
    (package / "__init__.py").write_text(text.replace("one", "two"))
    until(child, "two market")
    (package / "__init__.py").write_text(text.replace("app = ", "app = None or 1 / 0 or "))
    until(child, "ZeroDivisionError")
    (package / "__init__.py").write_text(text)
    until(child, "one market")


@pytest.mark.parametrize("name", [".env", ".flaskenv"])
def test_edit_of_the_variables(folder: Path, flask: Command, name: str) -> None:
    (folder / name).write_text("SHOP=open\nFLASK_DEBUG=1\nFLASK_RUN_PORT=0\n")
    child = flask("aserve")
    assert get(child) == (200, "one SHOP=open")
    # Debug mode ends, the reloader does not; and the port is not another one.
    (folder / name).write_text("SHOP=closed\nFLASK_DEBUG=0\nFLASK_RUN_PORT=1\n")
    until(child, "SHOP=closed")
    (folder / name).write_text("SHOP=sold\n")
    until(child, "SHOP=sold")
    assert child.end() == 0


def test_environment_goes_before_the_files(folder: Path, flask: Command) -> None:
    (folder / ".env").write_text("SHOP=file\n")
    child = flask("aserve", "--port", "0", "--reload", SHOP="shell")
    assert get(child) == (200, "one SHOP=shell")


def test_files_that_flask_must_not_read(folder: Path, flask: Command) -> None:
    (folder / ".env").write_text("SHOP=open\n")
    more = {"SHOP": "open", "FLASK_SKIP_DOTENV": "1"}
    child = flask("aserve", "--port", "0", "--reload", **more)
    assert get(child) == (200, "one SHOP=open")


@pytest.mark.parametrize("variable", ["", "FLASK_RUN_EXTRA_FILES"])
def test_extra_files(folder: Path, flask: Command, variable: str) -> None:
    (folder / "words.txt").write_text("a")
    (folder / "other.yaml").write_text("a")
    value = "words.txt:*.yaml"
    words, variables = ([], {variable: value}) if variable else (["--extra-files", value], {})
    child = flask("aserve", "--port", "0", "--reload", *words, **variables)
    get(child)
    (folder / "other.yaml").write_text("b")
    child.wait_for(r"Detected change in '.*other\.yaml'")
    (folder / "words.txt").write_text("b")
    child.wait_for(r"Detected change in '.*words\.txt'")


def test_excluded_files(folder: Path, flask: Command) -> None:
    for name in ("one.py", "two.py"):
        (folder / name).write_text("")
    child = flask("aserve", "--port", "0", "--reload", "--exclude-patterns", "one.py:*/two.py")
    until(child, "one")
    for name in ("one.py", "two.py"):
        (folder / name).write_text("x = 1\n")
    (folder / "app.py").write_text(APP.replace("one", "three"))
    until(child, "three")
    told = only_reload(child)
    assert "app.py" in told
    assert "one.py" not in told
    assert "two.py" not in told
