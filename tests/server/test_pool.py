"""The worker pool: bounded, elastic, lazy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from aserve.server import pool as pool_module
from aserve.server.pool import WorkerPool


class _Job:
    def is_over(self) -> bool:
        return False

    def drop(self) -> None:
        pass


class _Call(_Job):
    def __init__(self, function: Callable[[], object]) -> None:
        self.run: Callable[[], Any] = function


class _Gate(_Job):
    """A job that says when it has begun and waits to be let go."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.began = asyncio.Event()
        self.go = threading.Event()
        self._loop = loop

    def run(self) -> None:
        self._loop.call_soon_threadsafe(self.began.set)
        self.go.wait()


class _Pool:
    """A pool and what a test asks of it."""

    def __init__(self, threads: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.empty = asyncio.Event()
        self.pool = WorkerPool(
            threads, self.loop, lambda: self.loop.call_soon_threadsafe(self.empty.set)
        )

    def gate(self) -> _Gate:
        gate = _Gate(self.loop)
        self.pool.submit(gate)
        return gate

    async def run(self, function: Callable[[], object] = lambda: None) -> None:
        done = asyncio.Event()

        def job() -> None:
            try:
                function()
            finally:
                self.loop.call_soon_threadsafe(done.set)

        self.pool.submit(_Call(job))
        await done.wait()

    async def close(self) -> None:
        self.pool.close()
        await self.empty.wait()


async def test_a_job_runs_in_a_daemon_thread_with_a_telling_name() -> None:
    """B26: a stuck view must not keep the process alive."""
    pool = _Pool(2)
    seen: list[threading.Thread] = []
    await pool.run(lambda: seen.append(threading.current_thread()))
    assert seen[0].daemon
    assert seen[0].name == "aserve-worker-1"
    assert seen[0] is not threading.current_thread()
    await pool.close()


async def test_jobs_one_after_the_other_share_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # Or else a machine may be so slow that the thread looks stuck.
    monkeypatch.setattr(pool_module, "STALL_SECONDS", 60.0)
    monkeypatch.setattr(pool_module, "BUSY_STALL_SECONDS", 60.0)
    pool = _Pool(8)
    for _ in range(50):
        await pool.run()
    assert pool.pool.size == 1
    await pool.close()


async def test_waiting_jobs_get_threads_of_their_own_up_to_the_maximum() -> None:
    pool = _Pool(3)
    gates = [pool.gate() for _ in range(5)]
    for gate in gates[:3]:
        await gate.began.wait()
    assert pool.pool.size == 3
    assert not gates[3].began.is_set()
    gates[0].go.set()
    await gates[3].began.wait()  # in the order of arrival
    assert not gates[4].began.is_set()
    for gate in gates:
        gate.go.set()
    await gates[4].began.wait()
    await pool.close()


async def test_waiting_jobs_of_an_idle_process_get_their_threads_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One look at the stall is enough for all of them."""
    monkeypatch.setattr(pool_module, "BUSY", float("inf"))
    pool = _Pool(4)
    ticks = 0
    tick = pool.pool._tick

    def counted() -> None:
        nonlocal ticks
        ticks += pool.pool.size < 4
        tick()

    monkeypatch.setattr(pool.pool, "_tick", counted)
    first = pool.gate()
    await first.began.wait()
    pool.pool._last_pickup = float("inf")  # no stall before all of them wait
    gates = [pool.gate() for _ in range(3)]
    pool.pool._last_pickup = ticks = 0
    for gate in gates:
        await gate.began.wait()
    assert ticks == 1
    for gate in (first, *gates):
        gate.go.set()
    await pool.close()


async def test_running_tells_what_is_going_on_longest_first() -> None:
    pool = _Pool(2)
    first = pool.gate()
    await first.began.wait()
    second = pool.gate()
    await second.began.wait()
    running = pool.pool.running()
    assert [item.job for item in running] == [first, second]
    assert running[0].seconds >= running[1].seconds >= 0
    assert running[0].thread_id != running[1].thread_id
    first.go.set()
    second.go.set()
    await pool.close()
    assert pool.pool.running() == []


async def test_idle_threads_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server at rest holds no thread."""
    monkeypatch.setattr(pool_module, "IDLE_SECONDS", 0.01)
    pool = _Pool(4)
    seen: list[threading.Thread] = []
    await pool.run(lambda: seen.append(threading.current_thread()))
    await asyncio.to_thread(seen[0].join)
    assert pool.pool.size == 0
    await pool.run()  # and come back
    await pool.close()


async def test_a_job_that_raises_is_logged_and_the_thread_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = _Pool(1)

    def fail() -> None:
        raise SystemExit(3)

    await pool.run(fail)
    await pool.run()
    assert pool.pool.size > 0
    assert "outside of the application" in caplog.text
    await pool.close()


async def test_close_lets_running_jobs_finish_and_drops_waiting_ones() -> None:
    pool = _Pool(1)
    gate = pool.gate()
    await gate.began.wait()
    waiting = pool.gate()
    pool.pool.close()
    assert not pool.empty.is_set()
    gate.go.set()
    await pool.empty.wait()
    assert not waiting.began.is_set()
    pool.gate()  # too late: nobody takes it
    assert pool.pool.size == 0


async def test_a_pool_without_threads_is_empty_at_once() -> None:
    pool = _Pool(1)
    await pool.close()


async def test_a_system_without_threads_is_survived(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool = _Pool(2)
    gate = pool.gate()
    await gate.began.wait()

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    second = pool.gate()
    while "No more threads can be started; 1 are at work" not in caplog.text:
        await asyncio.sleep(0)
    gate.go.set()
    second.go.set()
    await second.began.wait()
    await pool.close()


@pytest.mark.parametrize("busy", [-1.0, 0.7, float("inf")])
async def test_many_jobs_from_many_turns_are_all_run_once(
    busy: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random interleavings of submitting, stalling, idling: nothing is lost or doubled.

    Also in a process that counts as busy all the time, and in one that never does.
    """
    monkeypatch.setattr(pool_module, "BUSY", busy)
    pool = _Pool(5)
    lock = threading.Lock()
    counts: dict[int, int] = {}
    total = 3000
    done = asyncio.Event()

    def job(number: int) -> None:
        if number % 97 == 0:
            threading.Event().wait(0.002)  # a stall, so that others are woken
        with lock:
            counts[number] = counts.get(number, 0) + 1
            finished = len(counts) == total
        if finished:
            pool.loop.call_soon_threadsafe(done.set)

    for number in range(total):
        pool.pool.submit(_Call(lambda number=number: job(number)))  # type: ignore[misc]
        if number % 7 == 0:
            await asyncio.sleep(0)
    await done.wait()
    assert set(counts.values()) == {1}
    await pool.close()


@pytest.mark.parametrize("other", ["busy", "idle"])
async def test_a_thread_that_is_back_makes_no_room_for_more_jobs(other: str) -> None:
    """It was lent: one more than before ran, and behind its return it is as before."""
    pool = _Pool(1)
    away = pool.gate()
    await away.began.wait()
    pool.pool.grow()
    in_its_place = pool.gate()
    await in_its_place.began.wait()
    assert pool.pool.size == 2
    if other == "idle":
        in_its_place.go.set()
        while not pool.pool._idle:
            await asyncio.sleep(0)
    pool.pool.shrink()
    away.go.set()
    in_its_place.go.set()
    running = threading.Semaphore(1)
    were_alone: list[bool] = []

    def alone() -> None:
        were_alone.append(running.acquire(blocking=False))
        threading.Event().wait(0.001)
        running.release()

    await asyncio.gather(*(pool.run(alone) for _ in range(20)))
    assert were_alone == [True] * 20
    assert pool.pool.size == 1
    await pool.close()
