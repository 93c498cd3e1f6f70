"""`aserve.advice`: each function with the exceptions that really come."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aserve.advice import ADVICE, advise

from .e2e.conftest import environment


def raised(function: Callable[[], object], *kinds: type[BaseException]) -> BaseException:
    with pytest.raises(kinds or BaseException) as caught:
        function()
    return caught.value


def in_process(code: str, folder: Path) -> str:
    """What is advised about the exception of a program in a process of its own."""
    program = (
        f"{code}\nfrom aserve.advice import advise\n"
        "try:\n    fail()\nexcept BaseException as error:\n    print(advise(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("name", "distribution"),
    [("no_such_module", "no-such-module"), ("yaml_x", "yaml-x"), ("cv2.misc", "opencv-python")],
)
def test_a_module_that_is_not_installed(name: str, distribution: str) -> None:
    told = advise(ModuleNotFoundError(f"No module named {name!r}", name=name))
    assert f"-m pip install {distribution}`" in told
    assert f"`{sys.executable}`" in told


def test_a_module_is_installed_by_the_projects_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = ModuleNotFoundError("No module named 'jwt'", name="jwt")
    (tmp_path / "poetry.lock").touch()
    assert advise(error).startswith("Install it: `poetry add PyJWT`.")
    (tmp_path / "uv.lock").touch()
    assert advise(error).startswith("Install it: `uv add PyJWT`.")
    # It is the project's own.
    (tmp_path / "src" / "jwt").mkdir(parents=True)
    assert advise(error) == ""


def test_a_module_of_python_and_one_of_a_package() -> None:
    assert "belongs to Python" in advise(ModuleNotFoundError("", name="tkinter"))
    told = advise(raised(lambda: __import__("json.nothing")))
    assert told == "The package `json` is there, but it has no module `json.nothing`."


def test_a_template_of_flask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flask import Blueprint, Flask, render_template

    monkeypatch.chdir(tmp_path)
    app = Flask("shop", root_path=str(tmp_path))
    app.register_blueprint(Blueprint("pay", "pay", root_path=str(tmp_path), template_folder="pay"))
    with app.test_request_context():
        told = advise(raised(lambda: render_template("cart.html")))
    assert told == "It was looked for at `templates/cart.html`, `pay/cart.html`."


def test_a_template_of_jinja(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader

    monkeypatch.chdir(tmp_path)
    loader = ChoiceLoader([FileSystemLoader([str(tmp_path / "a"), "/b"]), DictLoader({})])
    told = advise(raised(lambda: Environment(loader=loader).get_template("cart.html")))
    assert "a/cart.html" in told
    loader = FileSystemLoader("templates")
    told = advise(raised(lambda: Environment(loader=loader).get_template("cart.html")))
    assert told == "It was looked for at `templates/cart.html`."


DJANGO = """
import django
from django.conf import settings
settings.configure(
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": ["templates", "/other"], "APP_DIRS": False}],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"], ALLOWED_HOSTS=["x"],
)
django.setup()
"""


@pytest.mark.parametrize(
    ("fail", "pattern"),
    [
        ("from django.template.loader import get_template\n    get_template('cart.html')",
         r"It was looked for at `templates/cart\.html`, `/other/cart\.html`\."),
        ("from django.contrib.auth.models import User\n    User.objects.count()",
         r"no such table yet: `python manage\.py migrate`\."),
        ("from django.db import connection\n    connection.cursor().execute('create table a (b)')\n"
         "    connection.cursor().execute('select c from a')",
         r"no such column yet: `python manage\.py makemigrations` and `python manage\.py migrate`"),
        ("from django.test import RequestFactory\n"
         "    RequestFactory().get('/', headers={'host': 'shop.test'}).get_host()",
         r"ALLOWED_HOSTS = \[\"shop\.test\"\]"),
    ],
)  # fmt: skip
def test_django(tmp_path: Path, fail: str, pattern: str) -> None:
    told = in_process(f"{DJANGO}\ndef fail():\n    {fail}", tmp_path)
    assert re.search(pattern, told), told


def test_a_view_of_django_that_returns_nothing(tmp_path: Path) -> None:
    code = (
        "import django\nfrom django.conf import settings\nfrom django.urls import path\n"
        "settings.configure(ROOT_URLCONF='__main__', DEBUG_PROPAGATE_EXCEPTIONS=True,\n"
        "    ALLOWED_HOSTS=['*'])\n"
        "django.setup()\nurlpatterns = [path('', lambda request: None)]\n"
        "from django.test import Client\ndef fail():\n    Client().get('/')"
    )
    assert "Return an `HttpResponse`" in in_process(code, tmp_path)


def test_tables_without_a_framework(tmp_path: Path) -> None:
    def ask() -> None:
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            database.execute("select * from users")

    assert advise(raised(ask)) == ""  # nobody knows what makes them
    for module, command in (
        ("flask_migrate", "`flask db upgrade`"), ("alembic", "`alembic upgrade head`"),
        ("flask_sqlalchemy", "db.create_all()"), ("sqlalchemy", "Base.metadata.create_all(engine)"),
    ):  # fmt: skip
        code = (
            f"import sys, types\nsys.modules['{module}'] = types.ModuleType('{module}')\n"
            "import sqlite3\ndef fail():\n"
            "    sqlite3.connect(':memory:').execute('select * from users')"
        )
        assert command in in_process(code, tmp_path)


def test_a_locked_database(tmp_path: Path) -> None:
    one, other = (sqlite3.connect(tmp_path / "db", timeout=0) for _ in range(2))
    one.execute("create table a (b)")
    one.execute("begin exclusive")
    told = advise(raised(lambda: other.execute("insert into a values (1)")))
    assert "Another connection writes" in told
    one.close()
    other.close()


def test_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = advise(raised(lambda: socket.create_server(server.getsockname())))
        assert "Another program listens there" in told
        port = server.getsockname()[1]
    told = advise(raised(lambda: socket.create_connection(("127.0.0.1", port))))
    assert "Nothing listens at that address" in told
    assert advise(FileNotFoundError(2, "x")) == ""


def test_flask() -> None:
    from flask import Flask, current_app, request

    app = Flask(__name__)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    view: Any = lambda: None  # noqa: E731
    app.add_url_rule("/", view_func=view, endpoint="home")
    told = advise(raised(lambda: app.test_client().get("/")))
    assert told.startswith("Return a text, a dict, a list, a response, or a tuple")
    assert "with app.app_context():" in advise(raised(lambda: current_app.name))
    assert "test_request_context" in advise(raised(lambda: request.path))


def test_a_variable_that_is_not_set() -> None:
    told = advise(raised(lambda: os.environ["NO_SUCH_VARIABLE"]))
    assert told.startswith("The variable is not set: start with `NO_SUCH_VARIABLE=... aserve`")
    assert advise(raised(lambda: {}["NO_SUCH_VARIABLE"])) == ""


def test_the_cause_is_looked_at() -> None:
    error = RuntimeError("cannot start")
    error.__cause__ = ModuleNotFoundError("", name="yaml")
    assert "PyYAML" in advise(error)
    error.__cause__ = None
    error.__suppress_context__ = True
    error.__context__ = ModuleNotFoundError("", name="yaml")
    assert advise(error) == ""


class Hostile(Exception):
    name = property(lambda self: 1 / 0)

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("error", [Hostile(), ValueError(), KeyError(), KeyError(1), OSError()])
def test_others(error: BaseException) -> None:
    assert advise(error) == ""


def test_each_has_a_source() -> None:
    assert all(function.__doc__ for function in ADVICE)
