"""Find and import the application that a person names in the shell.

`load_app` is the one entry. It works in three steps, each in its module: `target` reads the
text (or looks into the directory when there is none), this module imports and resolves it,
and `explain` turns what went wrong into an `AppLoadError` that says what was looked for,
what was found near it, and what to write instead.

The import happens in the calling thread, with the directory first on `sys.path`, as
`python -m` does.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple, cast

from ..types import WSGIApp
from . import explain
from .errors_out import announce_debugger, let_errors_out
from .shape import accepts, asgi_reason, find_instances, kind_of
from .target import APP_NAMES, FACTORY_NAMES, Target, discover, parse_spec

__all__ = ["LoadedApp", "load_app"]

# Django reads its settings' name from here; `manage.py` only sets a default.
_DJANGO_VARIABLE: Final = "DJANGO_SETTINGS_MODULE"


class LoadedApp(NamedTuple):
    """An application, ready to be served.

    Args:
        app: The WSGI callable.
        name: How it can be named in the shell, e.g. `app:app` or `shop:create_app()`.
        location: The file and the line where it stands, e.g. `app.py:12`; the path is
            relative when it is below the directory. Empty when unknown.
        kind: What it is, e.g. `Flask`, `Django` or `function`.
    """

    app: WSGIApp
    name: str
    location: str
    kind: str


def load_app(spec: str | None, *, directory: Path, is_debugged: bool = False) -> LoadedApp:
    """Import the application.

    Args:
        spec: `module:attr`, `module:attr.sub`, `module:factory(1, name="x")`, `module`, a
            file `app.py` or `dir/app.py:attr`, a directory, or None to look for `app.py`,
            `wsgi.py`, `main.py` and `manage.py`.
        directory: Where names and paths start; goes first on `sys.path`.
        is_debugged: Have its framework let exceptions out, for a debugger around it.

    Returns:
        The application and where it was found. The caller may call it from any thread.

    Raises:
        AppLoadError: It was not found or is no WSGI app (`user_traceback` is empty), or
            its own code failed (`user_traceback` shows the user's frames).
        KeyboardInterrupt: Ctrl-C while the app was importing.
    """
    directory = directory.resolve()
    if is_debugged:
        announce_debugger()
    loaded = _load_target(parse_spec(spec, directory) if spec else discover(directory), directory)
    _complete(loaded)
    if is_debugged:
        let_errors_out(loaded.app)
    return loaded


def _complete(loaded: LoadedApp) -> None:
    """Import what a framework leaves to the first request: an error in it belongs here."""
    urls = sys.modules.get("django.urls")
    if loaded.kind != "Django" or urls is None:
        return
    try:
        if getattr(sys.modules["django.conf"].settings, "ROOT_URLCONF", None):
            _ = urls.get_resolver().url_patterns
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise explain.import_failed(loaded.name, error) from error


def _load_target(target: Target, directory: Path) -> LoadedApp:
    root = str(target.root)
    if sys.path[:1] != [root]:
        sys.path.insert(0, root)
    if target.django_settings:
        return _load_django(target, directory)
    module = _import(target)
    if target.attribute:
        value, attribute = _resolve(module, target)
    else:
        value, attribute = _pick(module, target)
    return _checked(value, module, attribute, directory)


def _import(target: Target) -> ModuleType:
    try:
        module = importlib.import_module(target.module)
    except ModuleNotFoundError as error:
        if explain.is_target_itself(error, target.module):
            raise explain.no_module(target) from None
        raise explain.import_failed(target.shown, error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # SystemExit too: an app that calls sys.exit() at import must not pass for a clean stop.
        raise explain.import_failed(target.shown, error) from error
    if target.file is not None and not _is_same_file(module, target.file):
        raise explain.hidden_module(target, module)
    return module


def _is_same_file(module: ModuleType, file: Path) -> bool:
    try:
        return module.__file__ is not None and file.samefile(module.__file__)
    except OSError:
        return False


def _resolve(module: ModuleType, target: Target) -> tuple[Any, str]:
    """Follow `attr.sub`, and call it when the target says so."""
    value: Any = module
    for done, part in enumerate(target.attribute):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise explain.no_attribute(module, value, target.attribute[: done + 1]) from None
        except Exception as error:
            raise explain.import_failed(target.shown, error) from error
    name = ".".join(target.attribute)
    if target.call is not None:
        if not callable(value):
            raise explain.not_callable(module, name, value)
        arguments, keywords = target.call
        return _call(value, target.shown, *arguments, **keywords), f"{name}{target.call_text}"
    if _is_factory(value):
        return _call(value, f"{module.__name__}:{name}()"), f"{name}()"
    return value, name


def _pick(module: ModuleType, target: Target) -> tuple[Any, str]:
    """Choose the app of a module when only the module was named."""
    for name in APP_NAMES:
        value = getattr(module, name, None)
        # A package `app` with a submodule `app` has that module as the attribute.
        if value is not None and not isinstance(value, ModuleType):
            return (_call(value, f"{name}()"), f"{name}()") if _is_factory(value) else (value, name)
    for name in FACTORY_NAMES:
        value = getattr(module, name, None)
        if callable(value):
            if not accepts(value, 0):
                raise explain.factory_needs_arguments(module, name)
            return _call(value, f"{module.__name__}:{name}()"), f"{name}()"
    instances = find_instances(module)
    if len(instances) == 1:
        return getattr(module, instances[0]), instances[0]
    raise explain.no_app(module, instances)


def _is_factory(value: Any) -> bool:
    """Whether calling it without arguments is the only thing that can be meant.

    A WSGI app is called with two arguments; a function or class that takes none cannot be one.
    """
    is_code = isinstance(value, type) or hasattr(value, "__code__")
    return is_code and accepts(value, 0) and not accepts(value, 2)


def _call(factory: Callable[..., Any], shown: str, *arguments: Any, **keywords: Any) -> Any:
    try:
        return factory(*arguments, **keywords)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise explain.import_failed(shown, error) from error


def _checked(value: Any, module: ModuleType, attribute: str, directory: Path) -> LoadedApp:
    name = f"{module.__name__}:{attribute}"
    if not callable(value):
        raise explain.not_callable(module, attribute, value)
    if reason := asgi_reason(value):
        raise explain.asgi_app(name, reason)
    if isinstance(value, type) and not accepts(value, 2):
        raise explain.wrong_arguments(name, value)
    if hasattr(value, "__code__") and not accepts(value, 2):
        raise explain.wrong_arguments(name, value)
    location = _locate(value, module, attribute, directory)
    return LoadedApp(cast(WSGIApp, value), name, location, kind_of(value))


def _locate(value: Any, module: ModuleType, attribute: str, directory: Path) -> str:
    """The place as `path:line`: of the function's code, or of the line that names the app."""
    code = getattr(value, "__code__", None)
    if code is not None:
        return f"{_relative(code.co_filename, directory)}:{code.co_firstlineno}"
    if module.__file__ is None:
        return ""
    name = re.escape(re.match(r"\w*", attribute)[0])  # type: ignore[index]
    # A search for the line, not a parse: `ast` takes 50 ms for a long file.
    definition = re.compile(rf"(?:(?:async\s+)?def\s+|class\s+)?{name}\b\s*(?:[:=(,]|$)")
    shown = _relative(module.__file__, directory)
    try:
        with Path(module.__file__).open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if definition.match(line):
                    return f"{shown}:{number}"
    except OSError:
        pass
    return shown


def _relative(path: str, directory: Path) -> str:
    prefix = f"{directory}{os.sep}"
    return path.removeprefix(prefix)


def _load_django(target: Target, directory: Path) -> LoadedApp:
    """Serve what the settings of `manage.py` name as WSGI_APPLICATION.

    Without that setting Django's own `get_wsgi_application()` makes the app.
    """
    settings_name = os.environ.setdefault(_DJANGO_VARIABLE, target.django_settings)
    try:
        settings = importlib.import_module("django.conf").settings
        path = settings.WSGI_APPLICATION
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise explain.import_failed(f"manage.py (settings {settings_name})", error) from error
    if path:
        module_name, _, attribute = path.rpartition(".")
        named = parse_spec(f"{module_name}:{attribute}", target.root)
        module = _import(named)
        value, attribute = _resolve(module, named)
    else:
        module = importlib.import_module("django.core.wsgi")
        attribute = "get_wsgi_application()"
        value = _call(module.get_wsgi_application, f"manage.py (settings {settings_name})")
    loaded = _checked(value, module, attribute, directory)
    if path:
        return loaded
    return LoadedApp(loaded.app, f"django:{settings_name}", "manage.py", loaded.kind)
