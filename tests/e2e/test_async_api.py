"""`serve` and `open_server` inside async programs, on asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

import aserve
from aserve import Hooks, Server, open_server, serve

from .conftest import DEADLINE


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Every async test of this file runs on both."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def hello(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ.get("QUERY_STRING", "").encode() or b"hello"]


async def fetch(url: str) -> str:
    async with httpx.AsyncClient(timeout=DEADLINE) as client:
        return (await client.get(url)).text


def open_sockets() -> set[str]:
    """The sockets that this process has open, as the kernel numbers them."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        # One of them is the directory that is being read.
        with contextlib.suppress(OSError):
            found.add(str(link.readlink()))
    return {target for target in found if target.startswith("socket:")}


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """Compares threads and sockets before and after; tasks are compared in the test."""
    gc.collect()
    threads, sockets = set(threading.enumerate()), open_sockets()
    yield
    gc.collect()
    for thread in set(threading.enumerate()) - threads:
        if thread.name.startswith("aserve"):
            thread.join(DEADLINE)
            assert not thread.is_alive(), thread
    # The loop's own pair of sockets is gone only after this fixture.
    assert open_sockets() <= sockets


async def test_open_server(nothing_is_left: None) -> None:
    """B4: bound on entry, gone on exit."""
    tasks = asyncio.all_tasks()
    async with open_server(hello) as server:
        assert isinstance(server, Server)
        assert len(server.urls) == len(server.sockets) >= 1
        for url in server.urls:
            assert await fetch(url) == "hello"
        port = server.port
    assert asyncio.all_tasks() == tasks
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), DEADLINE)


async def test_task_group_start(nothing_is_left: None) -> None:
    """`tg.start(serve, app)` returns when connections are accepted; cancelling ends it."""
    tasks = asyncio.all_tasks()
    async with anyio.create_task_group() as group:
        server = await group.start(partial(serve, hello, port=0))
        assert await fetch(f"{server.url}/?one") == "one"
        group.cancel_scope.cancel()
    assert asyncio.all_tasks() == tasks
    assert server.state is aserve.ServerState.CLOSED


async def test_shutdown_ends_serve(nothing_is_left: None) -> None:
    async with anyio.create_task_group() as group:
        server = await group.start(partial(serve, hello, port=0))
        server.shutdown()
        await server.wait_closed()


async def test_serve_as_a_bare_task(nothing_is_left: None) -> None:
    """Plain asyncio, without anyio."""
    ready: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
    hooks = Hooks(on_ready=ready.set_result)
    task = asyncio.create_task(serve(hello, port=0, hooks=hooks))
    server = await ready
    assert await fetch(server.url) == "hello"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_several_servers_in_one_loop(nothing_is_left: None) -> None:
    """Each has its own app and port, and each ends alone."""

    def app(name: bytes, environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [name]

    async with (
        open_server(partial(app, b"first")) as first,
        open_server(partial(app, b"second")) as second,
        open_server(partial(app, b"third")) as third,
    ):
        assert len({first.port, second.port, third.port}) == 3
        assert await fetch(second.url) == "second"
        await second.aclose()
        assert [await fetch(first.url), await fetch(third.url)] == ["first", "third"]


async def test_app_calls_its_own_loop(nothing_is_left: None) -> None:
    """An app that waits for the loop: the loop is free meanwhile."""
    loop = asyncio.get_running_loop()

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        async def answer() -> bytes:
            await anyio.lowlevel.checkpoint()
            return b"from the loop"

        start_response("200 OK", [])
        return [asyncio.run_coroutine_threadsafe(answer(), loop).result(DEADLINE)]

    async with open_server(app) as server:
        assert await fetch(server.url) == "from the loop"


async def test_app_calls_another_server_of_the_loop(nothing_is_left: None) -> None:
    """A blocking call from one app to the other, in both directions of the stack."""
    async with open_server(hello) as backend:

        def proxy(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", [])
            return [httpx.get(f"{backend.url}/?proxied").content]

        async with open_server(proxy) as front:
            assert await fetch(front.url) == "proxied"


class Held:
    """An app whose requests wait until they are let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        self.entered.release()
        assert self.go.wait(DEADLINE)
        start_response("200 OK", [])
        return [b"finished"]

    async def wait_until_entered(self) -> None:
        await anyio.to_thread.run_sync(partial(self.entered.acquire, timeout=DEADLINE))


async def test_cancellation_finishes_what_runs(nothing_is_left: None) -> None:
    """The drain is not cut short by the cancellation that caused it."""
    held = Held()
    answers: list[str] = []

    async def ask(url: str) -> None:
        answers.append(await fetch(url))

    async with anyio.create_task_group() as clients:
        async with anyio.create_task_group() as group:
            server = await group.start(partial(serve, held, port=0, grace=float(DEADLINE)))
            clients.start_soon(ask, server.url)
            await held.wait_until_entered()
            group.cancel_scope.cancel()
            asyncio.get_running_loop().call_soon(held.go.set)
    assert answers == ["finished"]


async def test_cancellation_cuts_at_the_end_of_the_grace(nothing_is_left: None) -> None:
    """A stuck app keeps neither the block nor the loop."""
    held = Held()

    async def ask(url: str) -> None:
        with pytest.raises(httpx.HTTPError):
            await fetch(url)

    async with anyio.create_task_group() as clients:
        async with open_server(held, grace=0.0) as server:
            clients.start_soon(ask, server.url)
            await held.wait_until_entered()
    held.go.set()


async def test_exception_in_the_block_comes_through(nothing_is_left: None) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_server(hello):
            raise ZeroDivisionError


async def test_cancelled_while_it_opens(nothing_is_left: None) -> None:
    """Cancellation that comes first leaves nothing behind."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with open_server(hello):
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_sockets_of_the_caller(nothing_is_left: None) -> None:
    """Handed in bound and listening; the server closes them."""
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    async with open_server(hello, hooks=Hooks(sockets=[sock])) as server:
        assert server.port == port
        assert await fetch(server.url) == "hello"
    assert sock.fileno() == -1


async def test_unix_socket(nothing_is_left: None, tmp_path: Path) -> None:
    """B8, B9."""
    path = tmp_path / "s"
    async with open_server(hello, f"unix://{path}"):
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get("http://localhost/")).text == "hello"
    assert not path.exists()


async def test_port_taken(nothing_is_left: None) -> None:
    """B6: `ListenError` with advice, and nothing stays open."""
    async with open_server(hello, "127.0.0.1") as server:
        with pytest.raises(aserve.ListenError, match=str(server.port)) as caught:
            async with open_server(hello, "127.0.0.1", server.port):
                raise AssertionError("the port is taken")
        assert "port" in caught.value.advice


async def test_large_bodies_both_ways(nothing_is_left: None) -> None:
    """Back-pressure on either loop."""

    def echo(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return iter(lambda: environ["wsgi.input"].read(100_000), b"")

    content = os.urandom(1_000_000) * 5
    async with open_server(echo) as server, httpx.AsyncClient(timeout=DEADLINE) as client:
        answer = await client.post(server.url, content=content)
        assert answer.content == content


async def test_file(nothing_is_left: None, tmp_path: Path) -> None:
    """The kernel's way on either loop."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3_000_000))

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        answer: Iterable[bytes] = environ["wsgi.file_wrapper"](path.open("rb"))
        return answer

    async with open_server(app) as server, httpx.AsyncClient(timeout=DEADLINE) as client:
        for _ in range(3):
            assert (await client.get(server.url)).content == path.read_bytes()


async def test_client_that_leaves(nothing_is_left: None) -> None:
    """B58, B59."""
    closed = threading.Event()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed.set()

    async with open_server(app) as server, httpx.AsyncClient(timeout=DEADLINE) as client:
        async with client.stream("GET", server.url) as answer:
            async for _ in answer.aiter_raw():
                break
        assert await anyio.to_thread.run_sync(closed.wait, DEADLINE)


def test_run_blocks_on_a_loop_of_its_own() -> None:
    """Which may wait for its workers; one that is somebody else's never does."""
    met: list[bool] = []

    def on_ready(server: Server) -> None:
        met.append(server.meeting is not None)
        server.shutdown()

    aserve.run(hello, port=0, hooks=Hooks(on_ready=on_ready))
    assert met == [True]


async def test_a_loop_of_somebody_else_is_not_held_up() -> None:
    async with open_server(hello) as server:
        assert server.meeting is None
