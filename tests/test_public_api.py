"""The names that users may rely on: a change here is a change of the promise."""

from __future__ import annotations

import inspect

import pytest

import aserve
from aserve import errors

PUBLIC = [
    "AppLoadError",
    "AserveError",
    "CallbackAnswer",
    "CallbackError",
    "CallbackOptions",
    "CallbackRequest",
    "CallbackServer",
    "CallbackTimeout",
    "ClientDisconnected",
    "ConfigError",
    "DrainTimeout",
    "ErrorRecord",
    "ExchangeRecord",
    "Hooks",
    "Limits",
    "ListenError",
    "LocalProtocolError",
    "ProtocolError",
    "ReloadConfig",
    "RemoteProtocolError",
    "Request",
    "Server",
    "ServerConfig",
    "ServerProcess",
    "ServerState",
    "ServerThread",
    "StaticFiles",
    "Timeouts",
    "WSGIError",
    "WSGIRequestHandler",
    "WSGIServer",
    "__version__",
    "is_running_from_reloader",
    "make_server",
    "make_ssl_devcert",
    "may_shut_down",
    "on_reload",
    "on_shutdown",
    "open_browser",
    "open_server",
    "run",
    "run_shutdown_callbacks",
    "run_simple",
    "serve",
    "wait_for_callback",
]


def test_all_is_the_promise() -> None:
    assert sorted(aserve.__all__) == PUBLIC


def test_dir_lists_the_promise_and_nothing_private() -> None:
    listed = dir(aserve)
    assert set(PUBLIC) <= set(listed)
    assert "DoesNotExist" not in listed


@pytest.mark.parametrize("name", PUBLIC)
def test_name_can_be_imported_and_is_documented(name: str) -> None:
    value = getattr(aserve, name)
    if name != "__version__":
        assert inspect.getdoc(value), f"{name} has no docstring"


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="does_not_exist"):
        _ = aserve.does_not_exist


def test_every_error_is_public_and_has_one_base() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(aserve, name), aserve.AserveError)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        ("ConfigError", ValueError),
        ("AppLoadError", ImportError),
        ("ListenError", OSError),
        ("ClientDisconnected", ConnectionError),
        ("DrainTimeout", TimeoutError),
        ("CallbackTimeout", TimeoutError),
    ],
)
def test_errors_are_what_callers_already_catch(error: str, builtin: type[Exception]) -> None:
    assert issubclass(getattr(aserve, error), builtin)
