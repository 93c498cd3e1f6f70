"""Every way to name an app, and the search when none is named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aserve.errors import AppLoadError
from aserve.loader import LoadedApp, load_app

EXAMPLES = Path(__file__).parents[2] / "examples"
PLAIN = "def app(environ, start_response):\n    return []\n"

Write = Callable[..., Path]


def _error(spec: str | None, directory: Path) -> AppLoadError:
    """What loading raises; its message is one line, always."""
    with pytest.raises(AppLoadError) as caught:
        load_app(spec, directory=directory)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


# --- forms of APP ---------------------------------------------------------------------------


def test_module_and_attribute(tmp_path: Path, write: Write) -> None:
    write("shop.py", "import os\n\n" + PLAIN)
    loaded = load_app("shop:app", directory=tmp_path)
    assert isinstance(loaded, LoadedApp)
    assert loaded.app({}, None) == []
    assert (loaded.name, loaded.location, loaded.kind) == ("shop:app", "shop.py:3", "function")
    assert sys.path[0] == str(tmp_path)


def test_dotted_attribute(tmp_path: Path, write: Write) -> None:
    write(
        "shop.py",
        "class api:\n    @staticmethod\n    def app(environ, start):\n        return [1]\n",
    )
    loaded = load_app("shop:api.app", directory=tmp_path)
    assert (loaded.name, loaded.app({}, None)) == ("shop:api.app", [1])


def test_factory_with_literal_arguments(tmp_path: Path, write: Write) -> None:
    source = """
        def make(name, *, debug=False):
            def app(environ, start_response):
                return [name, debug]
            return app
    """
    write("shop.py", source)
    loaded = load_app("shop:make('x', debug=True)", directory=tmp_path)
    assert loaded.app({}, None) == ["x", True]
    assert loaded.name == "shop:make('x', debug=True)"


def test_factory_without_parentheses_is_called_when_nothing_else_can_be_meant(
    tmp_path: Path, write: Write
) -> None:
    write("shop.py", "def build():\n    return lambda environ, start: [2]\n")
    loaded = load_app("shop:build", directory=tmp_path)
    assert (loaded.name, loaded.app({}, None)) == ("shop:build()", [2])


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("app = lambda environ, start: []", "shop:app"),
        ("application = lambda environ, start: []", "shop:application"),
        ("def create_app():\n    return lambda environ, start: []", "shop:create_app()"),
        ("def make_app(debug=False):\n    return lambda environ, start: []", "shop:make_app()"),
        ("def app():\n    return lambda environ, start: []", "shop:app()"),
        ("from flask import Flask\nserver = Flask('x')", "shop:server"),
        ("from bottle import Bottle\nsite = Bottle()", "shop:site"),
        ("class app:\n    def __init__(self, environ, start): pass", "shop:app"),
    ],
)
def test_module_alone(tmp_path: Path, write: Write, source: str, name: str) -> None:
    write("shop.py", source)
    assert load_app("shop", directory=tmp_path).name == name


def test_package_alone_passes_over_its_submodule_of_the_same_name(
    tmp_path: Path, write: Write
) -> None:
    write("site1/__init__.py", "from . import app\nfrom .app import app as application\n")
    write("site1/app.py")
    assert load_app("site1", directory=tmp_path).name == "site1:application"


def test_file(tmp_path: Path, write: Write) -> None:
    write("sub/shop.py")
    loaded = load_app("sub/shop.py", directory=tmp_path)
    assert (loaded.name, loaded.location) == ("shop:app", "sub/shop.py:1")
    assert sys.path[0] == str(tmp_path / "sub")


def test_file_with_attribute(tmp_path: Path, write: Write) -> None:
    path = write("shop.py", "other = lambda environ, start: [3]\n")
    loaded = load_app(f"{path}:other", directory=Path("/"))
    assert loaded.app({}, None) == [3]


def test_file_without_suffix(tmp_path: Path, write: Write) -> None:
    write("sub/shop.py")
    assert load_app("sub/shop", directory=tmp_path).name == "shop:app"


def test_file_in_a_package_is_imported_from_the_package_root(tmp_path: Path, write: Write) -> None:
    write("src/pkg/__init__.py", "")
    write("src/pkg/helper.py", "text = 'h'\n")
    write("src/pkg/web.py", "from .helper import text\n" + PLAIN)
    loaded = load_app("src/pkg/web.py", directory=tmp_path)
    assert loaded.name == "pkg.web:app"
    assert sys.path[0] == str(tmp_path / "src")


def test_directory(tmp_path: Path, write: Write) -> None:
    write("project/main.py")
    assert load_app("project", directory=tmp_path).name == "main:app"


def test_module_beats_a_directory_of_its_name(tmp_path: Path, write: Write) -> None:
    write("shop.py")
    write("shop/data.txt", "")
    assert load_app("shop", directory=tmp_path).location == "shop.py:1"
    assert "has no app.py" in str(_error("shop/", tmp_path))


def test_file_with_a_dash_is_imported(tmp_path: Path, write: Write) -> None:
    write("my-app.py")
    assert load_app("my-app.py", directory=tmp_path).name == "my-app:app"


def test_directory_goes_first_on_the_path_only_once(tmp_path: Path, write: Write) -> None:
    write("shop.py")
    load_app("shop", directory=tmp_path)
    load_app("shop", directory=tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


# --- nothing named --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["app.py", "wsgi.py", "main.py", "app/__init__.py"])
def test_nothing_named(tmp_path: Path, write: Write, name: str) -> None:
    write(name)
    assert load_app(None, directory=tmp_path).location == f"{name}:1"


def test_nothing_named_takes_the_first_in_order(tmp_path: Path, write: Write) -> None:
    for name in ("main.py", "wsgi.py", "app.py"):
        write(name)
    assert load_app(None, directory=tmp_path).name == "app:app"


def test_nothing_named_passes_over_a_file_without_an_app(tmp_path: Path, write: Write) -> None:
    write("app.py", "raise RuntimeError('a script, never imported')\n")
    write("main.py", "from helper import create_app\n")
    write("helper.py", "def create_app():\n    return lambda environ, start: []\n")
    assert load_app(None, directory=tmp_path).name == "main:create_app()"


def test_nothing_named_and_nothing_there(tmp_path: Path) -> None:
    error = _error(None, tmp_path)
    assert "app.py, wsgi.py, main.py or manage.py" in str(error)
    assert str(tmp_path) in str(error)
    assert "aserve demo" in error.advice
    assert error.user_traceback == ""


def test_nothing_named_but_another_file_has_an_app(tmp_path: Path, write: Write) -> None:
    write("shop.py")
    assert _error(None, tmp_path).advice == "Did you mean `aserve shop.py`?"


def test_nothing_named_and_the_file_has_no_app(tmp_path: Path, write: Write) -> None:
    write("app.py", "def shop_app():\n    pass\n")
    error = _error(None, tmp_path)
    assert str(error) == "'app' has none of app, application, create_app, make_app."
    assert error.advice == "Did you mean 'app:shop_app()'?"


def test_manage_py_without_settings(tmp_path: Path, write: Write) -> None:
    write("manage.py", "print('mine')\n")
    assert "names no DJANGO_SETTINGS_MODULE" in _error(None, tmp_path).advice


# --- frameworks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "kind"),
    [("flask_app.py", "Flask"), ("bottle_app.py", "Bottle"), ("plain_app.py", "function")],
)
def test_examples(file: str, kind: str) -> None:
    loaded = load_app(file, directory=EXAMPLES)
    assert (loaded.name, loaded.kind) == (f"{file[:-3]}:app", kind)
    assert loaded.location.startswith(f"{file}:")


def test_flask_behind_middleware_is_named_by_its_variable(tmp_path: Path, write: Write) -> None:
    source = """
        from flask import Flask

        class Prefix:
            def __init__(self, app): self.app = app
            def __call__(self, environ, start_response): return self.app(environ, start_response)

        app = Prefix(Flask("x"))
    """
    write("shop.py", source)
    loaded = load_app("shop", directory=tmp_path)
    assert (loaded.location, loaded.kind) == ("shop.py:8", "Prefix")


def test_callable_of_another_make(tmp_path: Path, write: Write) -> None:
    """A callable without a readable signature is believed to be an app."""
    write("shop.py", "import operator\napp = operator.methodcaller('run')\n")
    assert load_app("shop:app", directory=tmp_path).kind == "methodcaller"


def test_location_of_an_instance_whose_line_is_not_found(tmp_path: Path, write: Write) -> None:
    write("shop.py", "from flask import Flask\nglobals()['app'] = Flask('x')\n")
    assert load_app("shop:app", directory=tmp_path).location == "shop.py"
