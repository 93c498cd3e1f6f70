"""Tell what an object is by its shape: WSGI app, ASGI app, factory, or something else."""

from __future__ import annotations

import functools
import inspect
from types import ModuleType
from typing import Any, Final

__all__ = ["accepts", "asgi_reason", "callables_near", "find_instances", "kind_of"]

# Frameworks whose app classes are known by the package they come from. Only for names and
# for search; an app of any other package is served all the same.
_WSGI_PACKAGES: Final = frozenset(
    {"bottle", "cherrypy", "django", "dash", "falcon", "flask", "morepath", "pyramid", "web"}
)
_ASGI_PACKAGES: Final = frozenset(
    {"blacksheep", "connexion", "fastapi", "litestar", "quart", "sanic", "starlette"}
)
_NAMED_KINDS: Final = {"django": "Django", "pyramid": "Pyramid", "falcon": "Falcon"}


def accepts(value: Any, count: int) -> bool:
    """Whether it can be called with that many positional arguments.

    True when nothing is known about the signature, as for callables written in C.
    """
    try:
        inspect.signature(value).bind(*(None,) * count)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def asgi_reason(value: Any) -> str:
    """Why this is an ASGI app, as the end of a sentence; empty when it is none."""
    while isinstance(value, functools.partial):
        value = value.func
    if inspect.iscoroutinefunction(value):
        return "it is a coroutine function (`async def`)"
    if isinstance(value, type):
        return ""
    call = type(value).__call__ if not inspect.isroutine(value) else value
    if inspect.iscoroutinefunction(call):
        return "its `__call__` is a coroutine function (`async def`)"
    if _parameters(value)[:3] == ["scope", "receive", "send"]:
        return "it takes `scope, receive, send`"
    package = _package_of(value)
    if package in _ASGI_PACKAGES and not hasattr(type(value), "wsgi_app"):
        return f"it is an app of the ASGI framework {package}"
    return ""


def find_instances(module: ModuleType) -> list[str]:
    """Names of objects in the module that are apps of a WSGI framework."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, type | ModuleType)
        and callable(value)
        and _looks_like_app_object(value)
    ]


def callables_near(module: ModuleType) -> list[str]:
    """What in the module may have been meant: apps, functions of two arguments, factories."""
    found = find_instances(module)
    for name, value in vars(module).items():
        if name.startswith("_") or name in found or not callable(value):
            continue
        if getattr(value, "__module__", None) != module.__name__:
            continue
        parameters = _parameters(value)
        if parameters and parameters[0] in ("environ", "env") and len(parameters) == 2:
            found.append(name)
        elif name.endswith("_app") and inspect.isfunction(value) and accepts(value, 0):
            found.append(f"{name}()")
    return found


def kind_of(app: Any) -> str:
    """What to call the app in the banner: the framework, or `function`."""
    if inspect.isroutine(app):
        return "function"
    cls = app if isinstance(app, type) else type(app)
    for base in cls.__mro__:
        package = base.__module__.partition(".")[0]
        if package in _NAMED_KINDS:
            return _NAMED_KINDS[package]
        if package in _WSGI_PACKAGES:
            return base.__name__
    return cls.__name__


def _looks_like_app_object(value: Any) -> bool:
    if inspect.isroutine(value):
        return False
    packages = {base.__module__.partition(".")[0] for base in type(value).__mro__}
    # Of the type: on a proxy such as Flask's `request` even `hasattr` raises outside of a request.
    if hasattr(type(value), "wsgi_app"):
        return True
    # `bottle.request` and `flask.g` are callable-looking proxies of the same packages.
    return bool(packages & _WSGI_PACKAGES) and type(value).__name__ in (
        "API", "App", "Application", "Bottle", "Router", "WSGIHandler",
    )  # fmt: skip


def _package_of(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _parameters(value: Any) -> list[str]:
    try:
        return list(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return []
