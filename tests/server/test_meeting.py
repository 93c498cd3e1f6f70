"""A loop that waits for its workers, and does not wait for those that sleep."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from aserve.server import meeting as meeting_module
from aserve.server.mailbox import Mailbox
from aserve.server.meeting import Meeting
from aserve.server.pool import WorkerPool


class _Job:
    def __init__(self, run: Callable[[], Any]) -> None:
        self.run = run

    def is_stuck(self) -> bool:
        return False

    def is_over(self) -> bool:
        return False

    def drop(self) -> None:
        pass


class _Table:
    """A pool, whose ticks never come, and the meeting of the loop with it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.empty = asyncio.Event()
        self.pool = WorkerPool(8, loop, lambda: loop.call_soon_threadsafe(self.empty.set))
        self.pool.is_ticking = True
        self.meeting = Meeting(self.pool, Mailbox(loop))

    def submit(self, run: Callable[[], Any]) -> None:
        self.pool.submit(_Job(run))


@pytest.fixture
async def table() -> AsyncIterator[_Table]:
    table = _Table()
    yield table
    table.pool.close()
    await table.empty.wait()


async def test_quick_ones_are_done_when_it_is_over(
    table: _Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting_module, "_MOST_PAUSE", 30.0)  # however slow this machine is
    monkeypatch.setattr(meeting_module, "_LEAST_PAUSE", 30.0)
    seen: list[bool] = []
    for _ in range(20):
        table.submit(lambda: seen.append(table.meeting.is_open))
    assert table.meeting.meet()
    assert seen == [True] * 20
    assert not table.meeting.is_open
    assert table.pool.size == 1


async def test_who_sleeps_holds_up_neither_the_loop_nor_those_behind(table: _Table) -> None:
    wake, done = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    table.submit(wake.wait)
    for _ in range(3):
        table.submit(lambda: None)
    table.submit(lambda: loop.call_soon_threadsafe(done.set))
    assert table.meeting.meet()  # it returns, though nobody wakes the first one
    await done.wait()  # and no tick has looked for stalls
    wake.set()


async def test_vain_ones_become_rare_and_teach_nothing(table: _Table) -> None:
    before = table.meeting._per_job
    for vain in (2, 6, 14):
        wake = threading.Event()
        both = threading.Barrier(3)

        def sleep(wake: threading.Event = wake, both: threading.Barrier = both) -> None:
            wake.wait()
            both.wait()

        table.submit(sleep)
        table.submit(sleep)
        assert table.meeting.meet()
        assert table.meeting._skips == vain
        assert table.meeting._per_job == before
        wake.set()
        await asyncio.to_thread(both.wait)
        table.meeting._skips = 0


async def test_no_batch_holds_the_loop_for_long(
    table: _Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them gets on, and together they take too long."""
    monkeypatch.setattr(meeting_module, "_LEAST_PAUSE", 0.01)
    monkeypatch.setattr(meeting_module, "_MOST_PAUSE", 0.01)
    nap, last = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for _ in range(40):
        table.submit(lambda: nap.wait(0.009))
    table.submit(lambda: loop.call_soon_threadsafe(last.set))
    table.meeting.meet()
    assert table.pool.waiting, "it has waited for all of them"
    nap.set()
    table.pool.wake_more(is_busy=True)
    await last.wait()
