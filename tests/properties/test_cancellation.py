"""Cancellation at any moment of a server's life leaves nothing behind.

A moment is a number of steps and no time: the loop counts what is scheduled on it, trio counts
the steps of its tasks, and at the drawn number the program is cancelled. The same number is the
same moment in the next run.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

import aserve
from aserve.types import Environ, StartResponse

from ..helpers import raw_exchange
from ..leaks import collect, nothing_is_left, other_tasks

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

# More steps than any of the programs takes; `test_programs_end_before` proves it.
MOST_STEPS = 50

moments = st.integers(0, MOST_STEPS)
# How many steps later it is cancelled again, if at all.
repeats = st.lists(st.integers(1, 5), max_size=3)


def hello(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


@pytest.fixture(autouse=True)
def forgotten_things_are_told() -> Iterator[None]:
    yield
    collect()


@pytest.fixture(scope="module", autouse=True)
def first_loops() -> None:
    """The first loop of libuv opens a pair of descriptors for the whole process."""
    uvloop.new_event_loop().close()


# -- programs ------------------------------------------------------------------------------


async def ask(server: aserve.Server) -> None:
    answer = await anyio.to_thread.run_sync(_request, server.port)
    await anyio.lowlevel.checkpoint()  # who is cancelled may get no answer
    assert answer.endswith(b"hello")


def _request(port: int) -> bytes:
    try:
        return raw_exchange(port, GET).data
    except ConnectionError as error:
        return str(error).encode()


async def in_a_block(port: int) -> None:
    async with aserve.open_server(hello, "127.0.0.1", port) as server:
        await ask(server)


async def in_a_group(port: int) -> None:
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(partial(aserve.serve, hello, "127.0.0.1", port))
        await ask(server)
        tasks.cancel_scope.cancel()


async def stopped_by_itself(port: int) -> None:
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(partial(aserve.serve, hello, "127.0.0.1", port))
        await ask(server)
        server.shutdown()


PROGRAMS = [in_a_block, in_a_group, stopped_by_itself]
Program = Callable[[int], Any]


# -- asyncio and uvloop --------------------------------------------------------------------


class Counter:
    """Calls a function at some numbers of a count."""

    def __init__(self, moment: int, repeats: list[int]) -> None:
        self.count = 0
        self.action: Callable[[], object] = lambda: None
        self._due = {moment}
        for distance in repeats:
            moment += distance
            self._due.add(moment)

    def step(self) -> None:
        self.count += 1
        if self.count in self._due:
            self.action()


def counting_loop(base: type[Any], counter: Counter) -> asyncio.AbstractEventLoop:
    """A loop that counts what is scheduled on it from its own thread."""

    class CountingLoop(base):  # type: ignore[misc]
        def call_soon(self, *arguments: Any, **options: Any) -> Any:
            handle = super().call_soon(*arguments, **options)
            counter.step()
            return handle

    loop: asyncio.AbstractEventLoop = CountingLoop()
    return loop


async def _supervise(program: Program, port: int, counter: Counter) -> bool:
    """Run it in a task that is cancelled; True when it was cancelled."""
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    task = asyncio.create_task(program(port))
    was_cancelled = False

    def cancel() -> None:
        nonlocal was_cancelled
        was_cancelled |= task.cancel()

    counter.count, counter.action = 0, cancel
    await asyncio.wait([task])
    counter.action = lambda: None
    assert not failures
    assert not other_tasks()
    if not task.cancelled():
        task.result()
    # It is neither lost on the way nor made up.
    assert task.cancelled() == was_cancelled
    return was_cancelled


def run_asyncio(base: type[Any], program: Program, port: int, counter: Counter) -> bool:
    with asyncio.Runner(loop_factory=partial(counting_loop, base, counter)) as runner:
        return runner.run(_supervise(program, port, counter))


LOOPS = [asyncio.SelectorEventLoop, uvloop.Loop]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("base", LOOPS)
@given(moment=moments, repeats=repeats)
@example(moment=1, repeats=[1, 1, 1])
def test_cancelled_on_asyncio(
    base: type[Any], program: Program, moment: int, repeats: list[int]
) -> None:
    with nothing_is_left():
        run_asyncio(base, program, 0, Counter(moment, repeats))


@pytest.mark.parametrize("base", LOOPS)
@settings(max_examples=50)  # it looks for the holder of the port, in all of /proc
@given(moment=moments)
def test_a_start_that_fails_and_is_cancelled(base: type[Any], moment: int) -> None:
    """The caller gets one of the two, and everything is undone."""
    with socket.create_server(("127.0.0.1", 0)) as taken, nothing_is_left():
        with contextlib.suppress(aserve.ListenError):
            was_cancelled = run_asyncio(
                base, in_a_block, taken.getsockname()[1], Counter(moment, [])
            )
            assert was_cancelled


# -- trio ----------------------------------------------------------------------------------


class StepCounter(trio.abc.Instrument):
    """Counts the steps of all tasks of trio."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._counter.step()


def run_trio(program: Program, port: int, counter: Counter) -> bool:
    async def main() -> bool:
        with trio.CancelScope() as scope:
            counter.count, counter.action = 0, scope.cancel
            await program(port)
        return bool(scope.cancelled_caught)

    return trio.run(main, instruments=[StepCounter(counter)])


@pytest.mark.parametrize("program", PROGRAMS)
@given(moment=moments)
def test_cancelled_on_trio(program: Program, moment: int) -> None:
    with nothing_is_left():
        run_trio(program, 0, Counter(moment, []))


@settings(max_examples=50)
@given(moment=moments)
def test_a_start_that_fails_and_is_cancelled_on_trio(moment: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, nothing_is_left():
        with contextlib.suppress(aserve.ListenError):
            was_cancelled = run_trio(in_a_block, taken.getsockname()[1], Counter(moment, []))
            assert was_cancelled


# -- the range of the moments --------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("base", LOOPS)
def test_programs_end_before_the_last_moment(base: type[Any], program: Program) -> None:
    counter = Counter(10**9, [])
    with nothing_is_left():
        assert not run_asyncio(base, program, 0, counter)
    assert 10 < counter.count < MOST_STEPS


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_end_before_the_last_moment_on_trio(program: Program) -> None:
    counter = Counter(10**9, [])
    with nothing_is_left():
        assert not run_trio(program, 0, counter)
    assert 10 < counter.count < MOST_STEPS
