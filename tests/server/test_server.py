"""The life of a server: accepting, draining, closing, and what the system may refuse."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest

import aserve
from aserve.server.pool import Running
from aserve.server.report import describe, user_position
from aserve.types import Environ, StartResponse, WSGIApp

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


class Gated:
    """An app that says when it is at work and waits to be let go."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = asyncio.Event()
        self.go = threading.Event()
        self.closed = asyncio.Event()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.loop.call_soon_threadsafe(self.began.set)
        self.go.wait()
        return hello(environ, start_response)


@asynccontextmanager
async def connect(server: aserve.Server) -> AsyncIterator[tuple[Any, Any]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_urls_port_sockets_and_states() -> None:
    async with aserve.open_server(hello) as server:
        assert server.state is aserve.ServerState.SERVING
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert server.urls == [server.url, f"http://[::1]:{server.port}"]
        assert len(server.sockets) == 2
        with pytest.raises(aserve.LocalProtocolError, match="start while the server is serving"):
            server.start()
    assert server.state is aserve.ServerState.CLOSED
    await server.wait_closed()
    await server.aclose()  # idempotent
    server.shutdown()


async def test_a_server_that_never_started_closes_its_sockets() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    server = aserve.Server(hello, [sock], aserve.ServerConfig())
    await server.aclose()
    assert sock.fileno() == -1
    assert server.state is aserve.ServerState.CLOSED


async def test_a_running_request_is_finished_before_the_end() -> None:
    """B19: and its answer says that the connection ends with it."""
    app = Gated()
    async with aserve.open_server(app) as server, connect(server) as (reader, writer):
        writer.write(GET)
        await app.began.wait()
        server.shutdown()
        asyncio.get_running_loop().call_soon(app.go.set)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"Connection: close" in answer
    assert answer.endswith(b"hello")


async def test_a_request_in_the_backlog_is_answered() -> None:
    """What has arrived before the end of accepting is served, not thrown out."""
    async with aserve.open_server(hello, "127.0.0.1") as server:
        for sock in server.sockets:  # as if the loop had been busy
            asyncio.get_running_loop().remove_reader(sock.fileno())
        async with connect(server) as (reader, writer):
            writer.write(GET)
            await writer.drain()
            server.shutdown()
            answer = await reader.read()
    assert answer.endswith(b"hello")


async def test_idle_and_silent_connections_do_not_hold_the_end_up() -> None:
    async with aserve.open_server(hello, grace=60) as server:
        async with connect(server) as (reader, writer), connect(server) as (silent, _):
            writer.write(GET)
            await reader.readuntil(b"hello")
            await server.aclose()
            assert await reader.read() == b""
            assert await silent.read() == b""


async def test_at_the_end_of_the_grace_the_rest_is_named_and_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "aserve.error")
    app = Gated()
    async with aserve.open_server(app, grace=0.05) as server:
        async with connect(server) as (reader, writer):
            writer.write(b"GET /slow?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await app.began.wait()
            await server.aclose()
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
    waiting, cut = [r.getMessage() for r in caplog.records if r.name == "aserve.error"]
    assert waiting.startswith("Waiting up to 0.05 s for GET /slow?x=1 (")
    assert "test_server.py:" in cut
    assert "aserve-worker-1" in cut
    app.go.set()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_half_a_head_does_not_hold_the_end_up(sent: bytes) -> None:
    """Its sender has been promised nothing yet."""
    async with aserve.open_server(hello, grace=3600) as server:
        async with connect(server) as (reader, writer):
            writer.write(GET)
            await reader.readuntil(b"hello")
            writer.write(sent)
            await server.aclose()
            with suppress(ConnectionResetError):
                assert await reader.read() == b""


async def test_a_body_that_is_still_arriving_is_waited_for_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "aserve.error")
    records: list[aserve.ExchangeRecord] = []
    hooks = aserve.Hooks(on_exchange=records.append)
    async with aserve.open_server(hello, grace=0.05, hooks=hooks) as server:
        async with connect(server) as (reader, writer):
            head = b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
            writer.write(GET + head + b"1234")  # in one: the answer says that all of it was read
            await reader.readuntil(b"hello")
            await server.aclose()
    # The worker of the first request may be on its last instructions, and be named, too.
    waiting, cut = [m for r in caplog.records if "POST" in (m := r.getMessage())]
    assert waiting == "Waiting up to 0.05 s for POST /form (its body is still arriving)"
    assert cut == "Cut at the end of the grace: POST /form (its body is still arriving)"
    assert (records[-1].complete, records[-1].client_left) == (False, False)


async def test_a_client_that_leaves_is_recorded_as_such() -> None:
    app, records, seen = Gated(), [], asyncio.Event()

    def on_exchange(record: aserve.ExchangeRecord) -> None:
        records.append(record)
        seen.set()

    async with aserve.open_server(app, hooks=aserve.Hooks(on_exchange=on_exchange)) as server:
        async with connect(server) as (_, writer):
            writer.write(GET)
            await app.began.wait()
            # A reset; after a mere end of its stream it might still wait for the answer.
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            await seen.wait()
        app.go.set()
    assert (records[0].complete, records[0].client_left) == (False, True)


async def test_a_second_shutdown_cuts_at_once() -> None:
    app = Gated()
    async with aserve.open_server(app, grace=60) as server, connect(server) as (_, writer):
        writer.write(GET)
        await app.began.wait()
        server.shutdown()
        server.shutdown(0)
        await server.wait_closed()
    app.go.set()


async def test_close_of_the_iterable_belongs_to_the_grace() -> None:
    """B58: its answer is out, but the application is not done."""
    gate = threading.Event()
    closed: list[bool] = []

    class Body:
        def __iter__(self) -> Any:
            return iter([b"hello"])

        def close(self) -> None:
            gate.wait()
            closed.append(True)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "5"), ("Connection", "close")])
        return Body()

    async with aserve.open_server(app, grace=60) as server:
        async with connect(server) as (reader, writer):
            writer.write(GET)
            assert (await reader.read()).endswith(b"hello")
        server.shutdown()
        asyncio.get_running_loop().call_soon(gate.set)
    assert closed == [True]


async def test_several_servers_share_a_loop() -> None:
    def named(name: bytes) -> WSGIApp:
        def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [])
            return [name]

        return app

    async with aserve.open_server(named(b"one")) as one, aserve.open_server(named(b"two")) as two:
        for server, name in ((one, b"one"), (two, b"two")):
            async with connect(server) as (reader, writer):
                writer.write(GET)
                assert (await reader.readuntil(name)).endswith(name)


def test_a_thread_that_is_gone_has_no_position() -> None:
    running = Running(job=_Named(), thread_id=-1, thread_name="aserve-worker-9", seconds=1.25)
    assert describe(running) == "GET / (1.2 s, aserve-worker-9)"


def test_a_position_is_the_users_own_line() -> None:
    """Not the line of the library in which it waits."""
    began, go = threading.Event(), threading.Event()

    def view() -> None:
        began.set()
        go.wait()

    thread = threading.Thread(target=view)
    thread.start()
    began.wait()
    assert thread.ident is not None
    place = user_position(thread.ident)
    go.set()
    thread.join()
    name, _, line = place.rpartition(":")
    assert name.endswith("test_server.py")
    assert int(line) in range(view.__code__.co_firstlineno, view.__code__.co_firstlineno + 4)


class _Named:
    def __str__(self) -> str:
        return "GET /"

    def run(self) -> None: ...


async def test_an_observer_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the client, who goes on, nor the end."""

    def fail(record: aserve.ExchangeRecord) -> None:
        raise LookupError("the observer")

    async with aserve.open_server(hello, hooks=aserve.Hooks(on_exchange=fail)) as server:
        async with httpx.AsyncClient(timeout=20) as client:
            for _ in range(2):
                assert (await client.get(server.url)).status_code == 200
    assert caplog.text.count("on_exchange has failed") == 2
