"""What goes wrong with an app is told in one line, with the way out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aserve.errors import AppLoadError
from aserve.loader import load_app

EXAMPLES = Path(__file__).parents[2] / "examples"
PLAIN = "def app(environ, start_response):\n    return []\n"

Write = Callable[..., Path]


def _error(spec: str | None, directory: Path) -> AppLoadError:
    """What loading raises; its message is one line, always."""
    with pytest.raises(AppLoadError) as caught:
        load_app(spec, directory=directory)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


@pytest.mark.parametrize(
    "spec",
    [
        ":app",
        "shop:",
        "shop:app[0]",
        "shop:make(open('x'))",
        "shop:make(**{})",
        "shop:a b",
        "a-b",
        "1x",
    ],
)
def test_text_without_a_form(tmp_path: Path, spec: str) -> None:
    error = _error(spec, tmp_path)
    assert spec.partition(":")[2] in str(error)
    assert "module:attr" in error.advice


def test_no_such_module(tmp_path: Path, write: Write) -> None:
    write("shop.py")
    error = _error("shpo:app", tmp_path)
    assert str(error) == "There is no module 'shpo'."
    assert error.advice == "Did you mean 'shop:app'?"
    assert "Modules in" in _error("zzzzzz", tmp_path).advice


def test_no_such_submodule(tmp_path: Path, write: Write) -> None:
    write("pkg/__init__.py", "")
    write("pkg/views.py")
    assert _error("pkg.veiws:app", tmp_path).advice == "Did you mean 'pkg.views:app'?"
    assert "has no modules" in _error("nothing.here", tmp_path / "pkg" / "none").advice


def test_no_such_file(tmp_path: Path, write: Write) -> None:
    write("sub/shop.py")
    error = _error("sub/shpo.py", tmp_path)
    assert str(error) == "There is no file 'sub/shpo.py'."
    assert error.advice == "Did you mean 'sub/shop.py'?"
    assert "does not exist either" in _error("none/shop.py", tmp_path).advice
    assert "Python files in" in _error("zzzzzzzzz.py", tmp_path / "sub").advice


def test_not_a_python_file(tmp_path: Path, write: Write) -> None:
    write("sub/data/readme.txt", "x")
    assert str(_error("sub/data:app", tmp_path)) == "'sub/data' is no Python file."


def test_file_with_a_dot_in_its_name(tmp_path: Path, write: Write) -> None:
    write("my.app.py")
    assert _error("my.app.py", tmp_path).advice == "Rename my.app.py to my_app.py."


def test_file_hidden_by_another_module(tmp_path: Path, write: Write) -> None:
    write("types.py")
    error = _error("types.py", tmp_path)
    assert "has the same name" in str(error)
    assert error.advice == "Rename the file."


def test_no_such_attribute(tmp_path: Path, write: Write) -> None:
    write("shop.py", PLAIN.replace("app", "application"))
    error = _error("shop:aplication", tmp_path)
    assert str(error) == "'shop' has no attribute 'aplication'."
    assert error.advice == "Did you mean 'shop:application'?"
    assert _error("shop:zzz", tmp_path).advice == "Did you mean 'shop:application'?"
    assert "'shop:application' has no attribute 'wsgi'" in str(
        _error("shop:application.wsgi", tmp_path)
    )


def test_no_such_attribute_and_several_candidates(tmp_path: Path, write: Write) -> None:
    write("shop.py", "def one(environ, start): ...\ndef two(environ, start): ...\n")
    assert _error("shop:zzz", tmp_path).advice == "It has `shop:one`, `shop:two`."


def test_no_such_attribute_and_nothing_like_an_app(tmp_path: Path, write: Write) -> None:
    write("shop.py", "")
    assert "Nothing in it looks like a WSGI app" in _error("shop:zzz", tmp_path).advice


def test_several_apps(tmp_path: Path, write: Write) -> None:
    write("shop.py", "from flask import Flask\na = Flask('a')\nb = Flask('b')\n")
    assert _error("shop", tmp_path).advice == "Write `shop:a` or `shop:b`."


def test_not_callable(tmp_path: Path, write: Write) -> None:
    write("shop.py", "app = 'x'\ndef real(environ, start): ...\n")
    error = _error("shop:app", tmp_path)
    assert str(error) == "'shop:app' is of type str, which cannot be called."
    assert error.advice == "Did you mean 'shop:real'?"
    assert "cannot be called" in str(_error("shop:app()", tmp_path))


def test_module_for_an_app(tmp_path: Path, write: Write) -> None:
    write("pkg/__init__.py", "from . import web\n")
    write("pkg/web.py")
    error = _error("pkg:web", tmp_path)
    assert str(error) == "'pkg:web' is a module, not an app."
    assert error.advice == "Did you mean 'pkg.web:app'?"


def test_factory_that_returns_nothing(tmp_path: Path, write: Write) -> None:
    write("shop.py", "def create_app():\n    pass\n")
    assert "returned None; a factory returns the app" in str(_error("shop", tmp_path))


def test_factory_that_needs_arguments(tmp_path: Path, write: Write) -> None:
    write("shop.py", "def create_app(config):\n    pass\n")
    assert "is a factory that needs arguments" in str(_error("shop", tmp_path))
    error = _error("shop:create_app", tmp_path)
    assert "is no WSGI app" in str(error)
    assert "\"shop:create_app('value')\"" in error.advice


def test_class_for_an_app(tmp_path: Path, write: Write) -> None:
    write("shop.py", "class Shop:\n    def __init__(self, a, b, c): ...\n")
    assert "is no WSGI app" in str(_error("shop:Shop", tmp_path))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("async def app(scope, receive, send): ...", "it is a coroutine function"),
        (
            "class A:\n    async def __call__(self, scope, receive, send): ...\napp = A()",
            "`__call__`",
        ),
        ("def app(scope, receive, send): ...", "`scope, receive, send`"),
        (
            "import functools\nasync def f(x, scope): ...\napp = functools.partial(f, 1)",
            "coroutine",
        ),
        (
            "from django.core.handlers.asgi import ASGIHandler\n"
            "class Application(ASGIHandler):\n    def __init__(self): ...\napp = Application()",
            "`__call__`",
        ),
    ],
)
def test_asgi_app_is_explained(tmp_path: Path, write: Write, source: str, reason: str) -> None:
    write("shop.py", source)
    error = _error("shop", tmp_path)
    assert str(error).startswith("'shop:app' is an ASGI app, and aserve serves WSGI apps: ")
    assert reason in str(error)
    assert "ASGIMiddleware(app)" in error.advice


# --- the app's own failures -----------------------------------------------------------------


def _only_user_frames(error: AppLoadError) -> str:
    text = error.user_traceback
    assert "importlib/__init__.py" not in text.replace(os.sep, "/")
    assert "aserve/loader" not in text.replace(os.sep, "/")
    assert "frozen" not in text
    return text


def test_own_error_shows_only_the_users_frames(tmp_path: Path, write: Write) -> None:
    """B83."""
    write("shop.py", "import helper\n")
    write("helper.py", "def fail():\n    raise ValueError('no luck')\nfail()\n")
    error = _error("shop", tmp_path)
    assert str(error) == "'shop' failed to import: ValueError: no luck"
    text = _only_user_frames(error)
    assert text.startswith("Traceback (most recent call last):\n")
    assert [line for line in text.splitlines() if line.startswith("  File")] == [
        f'  File "{tmp_path}/shop.py", line 1, in <module>',
        f'  File "{tmp_path}/helper.py", line 3, in <module>',
        f'  File "{tmp_path}/helper.py", line 2, in fail',
    ]
    assert isinstance(error.__cause__, ValueError)


def test_missing_module_of_the_app_is_its_own_error(tmp_path: Path, write: Write) -> None:
    write("shop.py", "import no_such_library\n")
    error = _error("shop", tmp_path)
    assert "No module named 'no_such_library'" in str(error)
    assert error.advice is not None
    assert f"{sys.executable} -m pip install no-such-library" in error.advice
    assert "shop.py" in _only_user_frames(error)


def test_missing_module_of_the_same_name_as_the_package(tmp_path: Path, write: Write) -> None:
    """The app imports a part of itself that does not exist: not the same as a wrong APP."""
    write("pkg/__init__.py", "import pkg.none\n")
    error = _error("pkg.none:app", tmp_path)
    assert "failed to import" in str(error)
    assert "__init__.py" in _only_user_frames(error)


def test_syntax_error_shows_its_place(tmp_path: Path, write: Write) -> None:
    write("shop.py", "x = (\n")
    error = _error("shop", tmp_path)
    assert str(error) == "'shop' failed to import: SyntaxError: '(' was never closed"
    text = _only_user_frames(error)
    assert text.startswith(f'  File "{tmp_path}/shop.py", line 1')
    assert "^" in text


def test_chained_causes_are_kept(tmp_path: Path, write: Write) -> None:
    source = """
        try:
            import no_such_library
        except ImportError as error:
            raise RuntimeError("second") from error
    """
    write("shop.py", source)
    text = _only_user_frames(_error("shop", tmp_path))
    assert "no_such_library" in text
    assert "direct cause" in text
    assert text.endswith("RuntimeError: second")


def test_exception_group_is_reduced_too(tmp_path: Path, write: Write) -> None:
    source = """
        import importlib
        try:
            importlib.import_module("helper")
        except ValueError as error:
            raise ExceptionGroup("both", [error])
    """
    write("shop.py", source)
    write("helper.py", "raise ValueError('inner')\n")
    assert "inner" in _only_user_frames(_error("shop", tmp_path))


def test_sys_exit_at_import_is_a_failure(tmp_path: Path, write: Write) -> None:
    write("shop.py", "import sys\nsys.exit(0)\n")
    error = _error("shop", tmp_path)
    assert str(error) == "'shop' failed to import: it called sys.exit(0)"
    assert "line 2" in _only_user_frames(error)


def test_keyboard_interrupt_goes_through(tmp_path: Path, write: Write) -> None:
    write("shop.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_app("shop", directory=tmp_path)
    write("shop.py", "def create_app():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_app("shop", directory=tmp_path)


def test_failing_factory(tmp_path: Path, write: Write) -> None:
    write("shop.py", "def create_app():\n    raise SystemExit('no database')\n")
    error = _error("shop:create_app()", tmp_path)
    assert "it called sys.exit('no database')" in str(error)
    assert "create_app" in _only_user_frames(error)


def test_failing_attribute(tmp_path: Path, write: Write) -> None:
    write("shop.py", "def __getattr__(name):\n    raise ValueError(name)\n")
    assert "ValueError: app" in str(_error("shop:app", tmp_path))


def test_interrupt_while_settings_load(tmp_path: Path, write: Write) -> None:
    write("manage.py", "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'interrupted.settings')\n")
    write("interrupted/__init__.py", "")
    write("interrupted/settings.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_app(None, directory=tmp_path)


def test_calling_what_cannot_be_called(tmp_path: Path, write: Write) -> None:
    write("shop.py", "def create_app():\n    return 5\n")
    assert "'shop:create_app()' is of type int" in str(_error("shop", tmp_path))
