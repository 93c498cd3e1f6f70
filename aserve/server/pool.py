"""The worker threads that run the application.

Guarantees:
- At most `max_threads` jobs run at the same time; the others wait in the order of arrival.
- A thread is made when work waits and none is free, and leaves after `IDLE_SECONDS` without
  work, so a server at rest holds no thread.
- Idle threads are woken in LIFO order: the one whose stack is still in the cache.
- All threads are daemons: a view that never returns cannot keep the process alive (B26).

Waking is lazy. Two threads that run Python at once only fight over the interpreter lock, so
while a worker is getting through the queue quickly, no second one is woken. It counts as
stuck once it has not taken a job for `STALL_SECONDS`; then the next one is woken, and so on.
An application whose jobs typically take longer than that gets a thread per job at once.

Threads: `submit` and `close` are called on the loop thread; `_lock` guards `_idle` and
`_count`; the queue is a deque, whose append and popleft are atomic.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final, NamedTuple, Protocol

__all__ = ["IDLE_SECONDS", "STALL_SECONDS", "Job", "Running", "WorkerPool"]

# trio's figure: long enough for the next click, short enough to be gone when it matters.
IDLE_SECONDS: Final = 10.0

# Ten times a quick view, a fifth of what a person could notice. Measured: at 0.2 ms hello world
# loses a tenth to needless wake-ups; at 5 ms a fast view behind a slow one is late.
STALL_SECONDS: Final = 0.001

# Weight of the newest job in the running average of their durations; a guess.
_SMOOTHING: Final = 0.1

_log: Final = logging.getLogger("aserve.error")


class Job(Protocol):
    """Something to run in a worker thread."""

    def run(self) -> None:
        """Do it; must not raise."""
        ...


class Running(NamedTuple):
    """A job that is running now, for reports."""

    job: Job
    thread_id: int
    thread_name: str
    seconds: float


class _Worker:
    __slots__ = ("job", "since", "thread", "wake")

    def __init__(self) -> None:
        # Starts taken; `release` is the wake-up.
        self.wake = threading.Lock()
        self.wake.acquire()
        self.job: Job | None = None
        self.since = 0.0
        self.thread: threading.Thread


class WorkerPool:
    """An elastic pool of daemon threads.

    Args:
        max_threads: Most jobs at a time.
        loop: The loop whose thread calls `submit`.
        on_empty: Called in the last thread to leave after `close`; must not block.
    """

    def __init__(
        self, max_threads: int, loop: asyncio.AbstractEventLoop, on_empty: Callable[[], object]
    ) -> None:
        self._max_threads = max_threads
        self._loop = loop
        self._on_empty = on_empty
        self._jobs: deque[Job] = deque()
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._made = 0
        self._closing = False
        self._last_pickup = 0.0
        self._typical = 0.0  # seconds per job, smoothed
        self._check: asyncio.TimerHandle | None = None

    @property
    def size(self) -> int:
        """Threads that exist now, busy or idle."""
        return len(self._workers)

    def submit(self, job: Job) -> None:
        """Run a job as soon as a thread is free. Loop thread only; never blocks."""
        self._jobs.append(job)
        with self._lock:
            nobody_works = len(self._idle) == len(self._workers)
        stuck = perf_counter() - self._last_pickup > STALL_SECONDS
        can_wake = True
        if nobody_works or stuck or self._typical > STALL_SECONDS:
            can_wake = self._wake_one()
        if can_wake and self._check is None:
            self._check = self._loop.call_later(STALL_SECONDS, self._check_stall)

    def running(self) -> list[Running]:
        """What is running now, longest first. Any thread."""
        now = perf_counter()
        found = []
        for worker in list(self._workers):
            job, thread = worker.job, worker.thread
            if job is not None and thread.ident is not None:
                found.append(Running(job, thread.ident, thread.name, now - worker.since))
        return sorted(found, key=lambda item: -item.seconds)

    def close(self) -> None:
        """Let every thread leave once it is idle. Jobs that still wait are dropped."""
        if self._check is not None:
            self._check.cancel()
            self._check = None
        self._jobs.clear()
        with self._lock:
            self._closing = True
            for worker in self._idle:
                worker.wake.release()
            self._idle.clear()
            empty = not self._workers
        if empty:
            self._on_empty()

    def _check_stall(self) -> None:
        self._check = None
        if not self._jobs:
            return
        stuck = perf_counter() - self._last_pickup > STALL_SECONDS
        if not stuck or self._wake_one():
            self._check = self._loop.call_later(STALL_SECONDS, self._check_stall)

    def _wake_one(self) -> bool:
        """Put one more thread to work; False when there is none to be had."""
        with self._lock:
            if self._closing:
                return False
            if self._idle:
                self._idle.pop().wake.release()
                return True
            if len(self._workers) >= self._max_threads:
                return False
            worker = _Worker()
            self._workers.add(worker)
            self._made += 1
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name=f"aserve-worker-{self._made}", daemon=True
        )
        try:
            worker.thread.start()
        except RuntimeError:
            # The system has no thread left: the ones that exist go on with the queue.
            with self._lock:
                self._workers.discard(worker)
            _log.warning("No more threads can be started; %d are at work", self.size)
            return False
        return True

    # -- worker thread -------------------------------------------------------------------

    def _work(self, me: _Worker) -> None:
        jobs = self._jobs
        while True:
            try:
                job = jobs.popleft()
            except IndexError:
                if self._rest(me):
                    continue
                break
            self._last_pickup = me.since = perf_counter()
            me.job = job
            try:
                job.run()
            except BaseException:
                _log.exception("A worker's job failed outside of the application")
            me.job = None
            self._typical += (perf_counter() - me.since - self._typical) * _SMOOTHING
            # A cleared name, or the last request stays alive while this thread is idle.
            del job
        self._leave(me)

    def _rest(self, me: _Worker) -> bool:
        """Wait for work; False when it is time to leave."""
        with self._lock:
            if self._closing:
                return False
            if self._jobs:
                return True
            self._idle.append(me)
        if me.wake.acquire(timeout=IDLE_SECONDS):
            return True
        with self._lock:
            if me in self._idle:
                self._idle.remove(me)
                return False
        # Woken at the last moment: the token is on its way.
        me.wake.acquire()
        return True

    def _leave(self, me: _Worker) -> None:
        with self._lock:
            self._workers.discard(me)
            last = self._closing and not self._workers
        if last:
            with contextlib.suppress(RuntimeError):
                self._on_empty()
