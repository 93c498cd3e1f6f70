"""Servers come and go: many in one process, on every loop, stopped at odd moments."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import anyio
import pytest
import trio
import uvloop

import aserve
from aserve.types import Environ, StartResponse

from .helpers import raw_exchange, read_to_end
from .leaks import collect, nothing_is_left

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
DEADLINE = 30


def hello(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def get(server: Any) -> bytes:
    return raw_exchange(server.port, GET).data[-5:]


@pytest.fixture(scope="module", autouse=True)
def first_loop() -> None:
    """The first loop of libuv opens a pair of descriptors for the whole process."""
    uvloop.new_event_loop().close()


@pytest.fixture(autouse=True)
def forgotten_things_are_told() -> Iterator[None]:
    yield
    collect()


# -- many ----------------------------------------------------------------------------------


async def _in_a_block() -> None:
    async with aserve.open_server(hello) as server:
        assert await anyio.to_thread.run_sync(get, server) == b"hello"


async def _in_a_group() -> None:
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(partial(aserve.serve, hello, port=0))
        assert await anyio.to_thread.run_sync(get, server) == b"hello"
        tasks.cancel_scope.cancel()


def in_a_thread(**options: Any) -> None:
    with aserve.ServerThread(hello, **options) as server:
        if not options:
            assert get(server) == b"hello"


def on_asyncio() -> None:
    asyncio.run(_in_a_block())


def run_on_uvloop(program: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(program)


def on_uvloop() -> None:
    run_on_uvloop(_in_a_group())


def on_trio() -> None:
    trio.run(_in_a_group)


def by_make_server() -> None:
    server = aserve.make_server("localhost", 0, hello)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert get(server) == b"hello"
    server.shutdown()
    thread.join()


WAYS: list[Callable[[], None]] = [
    in_a_thread,
    partial(in_a_thread, ssl="adhoc"),
    on_asyncio,
    on_uvloop,
    on_trio,
    by_make_server,
]


def test_two_hundred_servers_leave_nothing() -> None:
    for way in WAYS:
        way()  # what the first one loads and keeps is no leak
    with nothing_is_left():
        for number in range(200):
            WAYS[number % len(WAYS)]()


async def test_many_servers_at_once_in_one_loop() -> None:
    tasks_before = asyncio.all_tasks()
    with nothing_is_left():
        async with anyio.create_task_group() as tasks:
            servers = [await tasks.start(partial(aserve.serve, hello, port=0)) for _ in range(40)]
            assert len({server.port for server in servers}) == 40
            tasks.cancel_scope.cancel()
    assert asyncio.all_tasks() == tasks_before


# -- a start that fails ----------------------------------------------------------------------


def _busy(way: Callable[[int], Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, nothing_is_left():
        with pytest.raises(aserve.ListenError, match="in use") as caught:
            way(taken.getsockname()[1])
        assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, OSError)


async def _open(port: int) -> None:
    async with aserve.open_server(hello, "127.0.0.1", port):
        pytest.fail("it must not be entered")


@pytest.mark.parametrize(
    "way",
    [
        lambda port: aserve.ServerThread(hello, "127.0.0.1", port).start(),
        lambda port: aserve.make_server("127.0.0.1", port, hello),
        lambda port: asyncio.run(_open(port)),
        lambda port: run_on_uvloop(_open(port)),
        lambda port: trio.run(_open, port),
    ],
    ids=["thread", "make_server", "asyncio", "uvloop", "trio"],
)
def test_a_start_that_fails_is_told_once_and_undone(way: Callable[[int], Any]) -> None:
    """Never a `SystemExit`, which would end a whole run of tests."""
    _busy(way)


async def test_in_a_task_group_it_is_the_one_who_starts_that_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with anyio.create_task_group() as tasks:
            with pytest.raises(aserve.ListenError):
                await tasks.start(partial(aserve.serve, hello, "127.0.0.1", port))
            # The group goes on as if nothing had been started.
            server = await tasks.start(partial(aserve.serve, hello, "127.0.0.1", 0))
            server.shutdown()


# -- ServerThread, from several threads and by Ctrl-C ------------------------------------------


def test_ctrl_c_while_it_starts_leaves_nothing() -> None:
    main = threading.main_thread().ident
    assert main is not None
    hooks = aserve.Hooks(on_ready=lambda server: signal.pthread_kill(main, signal.SIGINT))
    with nothing_is_left():
        with pytest.raises(KeyboardInterrupt):
            aserve.ServerThread(hello, hooks=hooks).start()


def test_shutdown_while_another_thread_starts_it() -> None:
    """Whichever comes first: at the end of both it has stopped."""
    stopping: list[threading.Thread] = []

    def on_ready(server: aserve.Server) -> None:
        stopping.append(threading.Thread(target=thread.shutdown))
        stopping[0].start()

    with nothing_is_left():
        for _ in range(20):
            stopping.clear()
            thread = aserve.ServerThread(hello, hooks=aserve.Hooks(on_ready=on_ready))
            thread.start()
            stopping[0].join(DEADLINE)
            assert not stopping[0].is_alive()
            thread.join(DEADLINE)
            assert thread.server.state is aserve.ServerState.CLOSED


def test_a_second_start_is_refused_while_it_runs() -> None:
    with aserve.ServerThread(hello) as server:
        with pytest.raises(aserve.AserveError, match="runs already"):
            server.start()
        assert get(server) == b"hello"


def test_shutdown_of_what_never_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, nothing_is_left():
        thread = aserve.ServerThread(hello, "127.0.0.1", taken.getsockname()[1])
        thread.shutdown()
        for _ in range(2):
            with pytest.raises(aserve.ListenError):
                thread.start()
            thread.shutdown()
            thread.join()


# -- ready means accepting -------------------------------------------------------------------


def test_it_accepts_before_anything_else_is_done() -> None:
    """A connection of the very first moment is answered: in `on_ready`, on the loop itself."""
    clients: list[socket.socket] = []

    def connect(server: aserve.Server) -> None:
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", server.port))
        clients.append(client)

    with aserve.ServerThread(hello, hooks=aserve.Hooks(on_ready=connect)):
        with clients[0] as client:
            client.settimeout(DEADLINE)
            client.sendall(GET)
            client.shutdown(socket.SHUT_WR)
            assert read_to_end(client).data.endswith(b"hello")
