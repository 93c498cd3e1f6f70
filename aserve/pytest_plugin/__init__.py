"""The pytest plugin: servers as fixtures, and what they saw beside a test that fails.

Fixtures, see their docstrings: `aserve_server`, `aserve_server_module`, `aserve_server_session`,
`aserve_app`, `aserve_url`, `aserve_url_module`.

pytest loads this module in every run of everybody who has aserve installed. So it imports pytest
and cheap parts of the standard library only; the server is loaded by the first fixture that
starts one.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Final, Unpack

import pytest

from .seen import AppError, SeenRequest
from .serving import FAIL_ON_ERROR, AppServer, Registry, ServerFactory

if TYPE_CHECKING:
    from ..api import Hooks
    from ..config import ServerOptions
    from ..types import WSGIApp

__all__ = ["AppError", "AppServer", "SeenRequest", "ServerFactory"]

_REGISTRY: Final = pytest.StashKey[Registry]()


# -- hooks ---------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """See pytest."""
    help_text = "Fail a test when an app that aserve serves in it lets an exception out."
    parser.addini(FAIL_ON_ERROR, help_text, type="bool", default=False)
    parser.addini("aserve_app", "The app of `aserve_url`, as in `shop:app`.", default="")
    parser.getgroup("aserve").addoption(
        "--aserve-fail-on-error",
        action=argparse.BooleanOptionalAction,
        default=None,
        dest=FAIL_ON_ERROR,
        help=help_text,
    )


def pytest_configure(config: pytest.Config) -> None:
    """See pytest."""
    config.stash[_REGISTRY] = Registry(config)
    config.addinivalue_line(
        "markers",
        f"{FAIL_ON_ERROR}(enabled=True): fail when an app that aserve serves lets one out.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """See pytest."""
    item.config.stash[_REGISTRY].begin()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """See pytest. An exception of the test itself passes by."""
    result = yield
    item.config.stash[_REGISTRY].fail_on_errors(item)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """See pytest."""
    report = yield
    if report.failed:
        report.sections += item.config.stash[_REGISTRY].sections()
    return report


# -- fixtures ------------------------------------------------------------------------------


def _serve(request: pytest.FixtureRequest) -> Iterator[ServerFactory]:
    registry = request.config.stash[_REGISTRY]
    started: list[AppServer] = []

    def start(
        app: WSGIApp | str,
        host: str = "localhost",
        port: int = 0,
        *,
        hooks: Hooks | None = None,
        **options: Unpack[ServerOptions],
    ) -> AppServer:
        if isinstance(app, str):
            app = _load(app, request.config)
        started.append(registry.start(app, (host, port), hooks, options))
        return started[-1]

    yield start
    registry.end(started, request.node)


def _load(spec: str, config: pytest.Config) -> WSGIApp:
    from ..loader import load_app

    return load_app(spec, directory=config.rootpath).app


@pytest.fixture
def aserve_server(request: pytest.FixtureRequest) -> Iterator[ServerFactory]:
    """Serve apps until the test ends: `server = aserve_server(app, https=True)`."""
    yield from _serve(request)


@pytest.fixture(scope="module")
def aserve_server_module(request: pytest.FixtureRequest) -> Iterator[ServerFactory]:
    """Like `aserve_server`, until the last test of the module has ended."""
    yield from _serve(request)


@pytest.fixture(scope="session")
def aserve_server_session(request: pytest.FixtureRequest) -> Iterator[ServerFactory]:
    """Like `aserve_server`, until all tests have ended."""
    yield from _serve(request)


@pytest.fixture(scope="session")
def aserve_app(request: pytest.FixtureRequest) -> WSGIApp:
    """The app that the ini option `aserve_app` names; define it anew to make the app otherwise."""
    spec = request.config.getini("aserve_app")
    if not spec:
        fix = "set aserve_app = shop:app in pytest's configuration, or define the fixture"
        pytest.fail(f"aserve_app: nobody said which app to serve; {fix} aserve_app", pytrace=False)
    return _load(spec, request.config)


@pytest.fixture(scope="session")
def aserve_url(aserve_server_session: ServerFactory, aserve_app: WSGIApp) -> str:
    """The URL of `aserve_app`, which one server serves to all tests."""
    return aserve_server_session(aserve_app).url


@pytest.fixture(scope="module")
def aserve_url_module(aserve_server_module: ServerFactory, aserve_app: WSGIApp) -> str:
    """Like `aserve_url`, but a new server for each module; so `aserve_app` may be, too."""
    return aserve_server_module(aserve_app).url
