"""`flask aserve`: the words and variables of `flask run`, and how it serves."""

from __future__ import annotations

import os
import re
import signal
import ssl
import sys
import sysconfig
import urllib.request
from pathlib import Path
from typing import Any

import click
import pytest
from flask.cli import run_command

import aserve
from aserve.contrib.flask import command

from ..e2e.conftest import Start
from ..e2e.test_reload import ask, children_of, get
from .conftest import Command

APP = """
import os
import sys
import flask

print("imported by", os.getpid(), file=sys.stderr, flush=True)
app = flask.Flask(__name__)

@app.get("/")
def page():
    return f"debug={app.debug} SHOP={os.environ.get('SHOP')}"

@app.get("/threads")
def threads():
    return str(flask.request.environ["wsgi.multithread"])

if __name__ != "__main__":
    app.run(port=1)  # Flask ignores it below its own commands
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def importers(errors: str) -> list[int]:
    return [int(number) for number in re.findall(r"imported by (\d+)", errors)]


def test_options_are_those_of_flask_run() -> None:
    def described(of: click.Command) -> dict[str | None, Any]:
        options = [option for option in of.params if isinstance(option, click.Option)]
        return {
            option.name: (set(option.opts), set(option.secondary_opts), option.default)
            for option in options
        }

    mine, flasks = described(command), described(run_command)
    for name in ("extra_files", "exclude_patterns"):
        assert mine[name][:2] == flasks[name][:2]
    # Flask of 3.0 spells the two defaults that nobody sees in another way.
    assert {name: parts[:2] for name, parts in mine.items()} == {
        name: parts[:2] for name, parts in flasks.items()
    }
    for name in ("host", "port", "with_threads"):
        assert mine[name][2] == flasks[name][2]


def test_command_is_found_by_flask(flask: Command) -> None:
    child = flask("--help")
    assert child.wait() == 0
    assert child.process.stdout is not None
    assert re.search(r"^  aserve +Run the app with aserve", child.process.stdout.read(), re.M)


def test_without_debug_mode_one_process_serves(flask: Command) -> None:
    child = flask("aserve", "--port", "0")
    assert get(child) == (200, "debug=False SHOP=None")
    assert child.url.startswith("http://127.0.0.1:")
    assert get(child, path="/threads") == (200, "True")
    assert children_of(child.pid) == []
    assert child.end(signal.SIGINT) == 0
    assert importers(child.errors) == [child.pid]
    assert "Traceback" not in child.errors


def test_command_as_pip_installs_it(folder: Path, start: Start) -> None:
    script = Path(sysconfig.get_path("scripts"), "flask")
    child = start(str(script), "aserve", "--debug", "-p", "0", raw=True)
    assert get(child) == (200, "debug=True SHOP=None")
    assert child.end(signal.SIGINT) == 0
    assert child.pid not in importers(child.errors)


@pytest.mark.parametrize(
    "where", ["words", "FLASK_RUN_PORT", "FLASK_ASERVE_PORT", ".env", ".flaskenv"]
)
def test_port(folder: Path, flask: Command, free_port: int, where: str) -> None:
    words, variables = ["aserve"], {}
    if where == "words":
        words += ["--port", str(free_port)]
    elif where.startswith("."):
        (folder / where).write_text(f"FLASK_RUN_PORT={free_port}\n")
    else:
        variables[where] = str(free_port)
    child = flask(*words, **variables)
    assert child.port == free_port
    assert get(child)[0] == 200


def test_words_go_before_variables(flask: Command, free_port: int) -> None:
    child = flask("aserve", "-p", str(free_port), FLASK_RUN_PORT="1", FLASK_ASERVE_PORT="2")
    assert child.port == free_port


@pytest.mark.parametrize("words", [["--host", "::1"], ["-h", "::1"], []])
def test_ipv6(flask: Command, words: list[str]) -> None:
    child = flask("aserve", "--port", "0", *words, FLASK_RUN_HOST="::1")
    with urllib.request.urlopen(child.url) as answer:
        assert answer.read() == b"debug=False SHOP=None"
    assert child.url.startswith("http://[::1]:")


@pytest.mark.parametrize("how", ["aserve --debug", "--debug aserve", "FLASK_DEBUG", ".flaskenv"])
def test_debug_mode_reloads(folder: Path, flask: Command, how: str) -> None:
    words, variables = ["aserve", "--port", "0"], {}
    if how == ".flaskenv":
        (folder / how).write_text("FLASK_DEBUG=1\n")
    elif how == "FLASK_DEBUG":
        variables[how] = "1"
    else:
        words = [*how.split(), "--port", "0"]
    child = flask(*words, **variables)
    assert get(child) == (200, "debug=True SHOP=None")
    assert children_of(child.pid) != []
    assert child.pid not in importers(child.errors)


@pytest.mark.parametrize(("word", "debug"), [("--no-reload", "1"), ("--reload", "0")])
def test_reloading_can_be_told_apart_from_debug_mode(flask: Command, word: str, debug: str) -> None:
    child = flask("aserve", "--port", "0", word, FLASK_DEBUG=debug)
    assert get(child) == (200, f"debug={debug == '1'} SHOP=None")
    assert (children_of(child.pid) == []) is (word == "--no-reload")


def test_variable_for_reloading(flask: Command) -> None:
    child = flask("aserve", "--port", "0", FLASK_RUN_RELOAD="1")
    assert get(child)[0] == 200
    assert children_of(child.pid) != []


@pytest.mark.parametrize("variable", ["", "FLASK_RUN_WITH_THREADS"])
def test_without_threads(flask: Command, variable: str) -> None:
    words, variables = ([], {variable: "0"}) if variable else (["--without-threads"], {})
    child = flask("aserve", "--port", "0", *words, **variables)
    assert get(child, path="/threads") == (200, "False")


@pytest.mark.parametrize(
    ("words", "is_on"),
    [
        (["--debug"], True),
        (["--debug", "--no-reload"], True),
        (["--debug", "--no-debugger"], False),
        (["--no-reload"], False),
    ],
)
def test_debugger(folder: Path, flask: Command, words: list[str], is_on: bool) -> None:
    with (folder / "app.py").open("a") as file:
        file.write('@app.get("/fails")\ndef fails():\n    raise LookupError("this")\n')
    status, text = get(flask("aserve", "--port", "0", *words), path="/fails")
    assert (status, "LookupError: this" in text) == (500, is_on)


CONTEXT = """
import ssl

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("site.crt", "site.key")
"""


@pytest.mark.parametrize("word", ["--reload", "--no-reload"])
@pytest.mark.parametrize(
    "words",
    [["--cert", "adhoc"], ["--cert", "site.crt", "--key", "site.key"], ["--cert", "tls:context"]],
    ids=lambda words: words[1],
)
def test_https(folder: Path, flask: Command, words: list[str], word: str) -> None:
    aserve.make_ssl_devcert(folder / "site")
    (folder / "tls.py").write_text(CONTEXT)
    child = flask("aserve", "--port", "0", word, *words)
    assert child.url.startswith("https://")
    trusting = ssl._create_unverified_context()
    with urllib.request.urlopen(child.url, context=trusting) as answer:
        assert answer.read().startswith(b"debug=")
    assert child.end() == 0
    assert "Traceback" not in child.errors


def test_variables_for_https(folder: Path, flask: Command) -> None:
    certificate, key = aserve.make_ssl_devcert(folder / "site")
    child = flask("aserve", "--port", "0", FLASK_RUN_CERT=certificate, FLASK_RUN_KEY=key)
    assert child.url.startswith("https://")


@pytest.mark.parametrize("words", [[], ["--cert", "adhoc"]])
def test_key_without_its_certificate(folder: Path, flask: Command, words: list[str]) -> None:
    aserve.make_ssl_devcert(folder / "site")
    child = flask("aserve", "--port", "0", "--key", "site.key", *words)
    assert child.wait() == 2
    assert "Error: Invalid value for '--key': It " in child.errors


@pytest.mark.parametrize("word", ["--reload", "--no-reload"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cert", "site.crt"], "'--cert': '.*site.crt' holds no private key in PEM; name its"),
        (["--cert", "app.py"], "'--cert': '.*app.py' holds no certificate in PEM"),
        (["--cert", "site.crt", "--key", "app.py"], "'--key': '.*app.py' holds no private key"),
        (["--host", ""], "'--host': '' is empty"),
    ],
)
def test_options_that_cannot_be_used(
    folder: Path, flask: Command, words: list[str], told: str, word: str
) -> None:
    aserve.make_ssl_devcert(folder / "site")
    child = flask("aserve", "--port", "0", word, *words)
    assert child.wait() == 2
    assert re.search(f"^Error: Invalid value for {told}", child.errors, re.M), child.errors


def test_certificate_with_its_key_in_one_file(folder: Path, flask: Command) -> None:
    certificate, key = aserve.make_ssl_devcert(folder / "site")
    (folder / "both.pem").write_text(Path(key).read_text() + Path(certificate).read_text())
    assert flask("aserve", "--port", "0", "--cert", "both.pem").url.startswith("https://")


@pytest.mark.parametrize("word", ["--reload", "--no-reload"])
def test_busy_port(flask: Command, busy_port: int, word: str) -> None:
    child = flask("aserve", "--port", str(busy_port), word)
    assert child.wait() == 1
    lines = [line for line in child.errors.splitlines() if not line.startswith("imported by")]
    assert len(lines) == 1
    assert lines[0].startswith(f"Error: port {busy_port} on 127.0.0.1 is already in use")


@pytest.mark.parametrize("words", [["--port", "70000"], ["--nonsense"], ["--cert", "nowhere"]])
def test_wrong_words(flask: Command, words: list[str]) -> None:
    child = flask("aserve", *words)
    assert child.wait() == 2
    assert "Error: " in child.errors
    assert "Traceback" not in child.errors


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        ("import nonsense_\n", 2, "Error: While importing 'app', an ImportError was raised:"),
        ("x = (\n", 1, "SyntaxError: '(' was never closed"),
        ("x = 1\n", 2, "Error: Failed to find Flask application or factory in module 'app'."),
        (None, 2, "Error: Could not locate a Flask application."),
    ],
)
def test_broken_app_without_the_reloader_is_flasks_error(
    folder: Path, flask: Command, text: str | None, status: int, told: str
) -> None:
    if text is None:
        (folder / "app.py").unlink()
    else:
        (folder / "app.py").write_text(text)
    child = flask("aserve", "--port", "0")
    assert child.wait() == status
    assert told in child.errors


def test_group_of_somebody_else(folder: Path, start: Start) -> None:
    (folder / "shop.py").write_text(
        "import click, flask.cli\n"
        "def create_app():\n"
        "    app = flask.Flask('shop')\n"
        "    app.get('/')(lambda: 'shop')\n"
        "    return app\n"
        "@click.group(cls=flask.cli.FlaskGroup, create_app=create_app)\n"
        "def main(): pass\n"
        "if __name__ == '__main__': main()\n"
    )
    child = start(sys.executable, "shop.py", "aserve", "-p", "0", "--reload", raw=True)
    assert ask(child.port) == (200, "shop")
    assert child.end() == 0


def test_separator_is_that_of_the_system() -> None:
    given = f"a{os.pathsep}b"
    context = command.make_context("aserve", ["--extra-files", given, "--exclude-patterns", given])
    assert context.params["extra_files"] == context.params["exclude_patterns"] == ("a", "b")
