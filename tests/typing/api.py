"""User code as `mypy --strict` must accept it; it is checked, never run.

`assert_type` pins what a user's editor shows. A line that must be refused carries the ignore
that `warn_unused_ignores` would report if it were accepted.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import anyio

import aserve
from aserve import (
    ExchangeRecord,
    Hooks,
    ListenError,
    Request,
    Server,
    open_server,
    run,
    serve,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


# What frameworks hand out is a WSGIApplication of the standard library.
application: WSGIApplication = app


async def serve_for_ever() -> None:
    await serve(app)
    await serve(application, host="localhost", port=0)
    await serve(app, "localhost", 8000, threads=4, grace=1.5, access_log=False)


async def serve_in_a_task_group() -> None:
    async with anyio.create_task_group() as group:
        server = await group.start(serve, app)
        assert isinstance(server, Server)
        server.shutdown()


async def use_a_server() -> None:
    async with open_server(app, threads=2) as server:
        assert_type(server, Server)
        assert_type(server.url, str)
        assert_type(server.port, int)
        for url in server.urls:
            assert_type(url, str)
        server.shutdown()
        await server.wait_closed()


def run_from_a_script() -> None:
    run(app)
    run(app, host="127.0.0.1", port=0, strict_port=True, log_level="warning")


def on_exchange(record: ExchangeRecord) -> None:
    assert_type(record.status_code, int)
    assert_type(record.request, Request | None)


async def observe() -> None:
    hooks = Hooks(on_exchange=on_exchange, on_ready=lambda server: print(server.url))
    async with open_server(app, hooks=hooks):
        pass


async def https() -> None:
    async with open_server(app, https=True, names=("shop.localhost",)) as server:
        assert_type(server.ssl_context_for_clients(), ssl.SSLContext)
        assert_type(server.ca_pem, str | None)
    pair = aserve.make_ssl_devcert(Path("dev"), host="shop.localhost")
    assert_type(pair, tuple[str, str])
    run(app, hooks=Hooks(ssl_context=pair))
    run(app, hooks=Hooks(ssl_context="adhoc"))
    run(app, hooks=Hooks(ssl_context=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)))


def answer(request: aserve.CallbackRequest) -> int | None:
    return 204 if assert_type(request.body, bytes) else None


async def receive() -> None:
    options = aserve.CallbackOptions(ports=(8765, 0), response_mode="form_post", answer=answer)
    async with aserve.CallbackServer("/callback", state="s", options=options) as cb:
        assert_type(cb.url, str)
        assert_type(await cb.wait(timeout=60), dict[str, str])
        assert_type(await cb.wait(cb.expect()), dict[str, str])
        assert_type(await cb.open_browser("https://provider.test/"), bool)
        async for request in cb.requests():
            assert_type(request, aserve.CallbackRequest)
    assert_type(aserve.wait_for_callback(lambda cb: cb.url, timeout=60), dict[str, str])
    aserve.CallbackOptions(response_mode="fragment")  # type: ignore[arg-type]


def handle_errors() -> str:
    try:
        run(app)
    except ListenError as error:
        return assert_type(error.advice, str)
    except aserve.ConfigError as error:
        return f"{error.option}: {error.fix}"
    except aserve.AserveError as error:
        return str(error)
    return aserve.__version__


async def mistakes() -> None:
    await serve("app:app")  # type: ignore[arg-type]
    await serve(app, port="8000")  # type: ignore[arg-type]
    await serve(app, prot=8000)  # type: ignore[call-arg]
    run(app, threads=None)  # type: ignore[arg-type]
    run(app, hooks=Hooks(ssl_context=7))  # type: ignore[arg-type]
