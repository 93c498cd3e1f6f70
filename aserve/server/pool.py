"""The worker threads that run the application.

Guarantees:
- At most `max_threads` jobs run at the same time; the others wait in the order of arrival.
- A thread is made when work waits and none is free, and leaves after `IDLE_SECONDS` without
  work, so a server at rest holds no thread.
- Idle threads are woken in LIFO order: the one whose stack is still in the cache.
- All threads are daemons: a view that never returns cannot keep the process alive (B26).

Waking is lazy. Two threads that run Python at once only fight over the interpreter lock, so
while a worker is getting through the queue quickly, no second one is woken. The workers are
stuck once none has taken a job for a while. When the process has hardly used the processor
meanwhile, they wait for something, and there is a thread for each waiting job soon. When it
has, more threads would only be slower together: one is woken after a longer while, so that a
long computation does not hold up all the others, and a worker that sees another one at the
queue leaves it to that one.

The loop looks for stalls with a timer, which ticks only while something was picked up lately.

A loop that nobody shares may `meet` the workers before it sleeps: see `aserve.server.meeting`.

Threads: `submit`, `close` and `wake` are called on the loop thread; `lock` guards `_idle` and
`_workers`, and `on_rest` is called under it; the queue is a deque, whose append and popleft are
atomic. The loop clears `is_ticking` and then looks whether anything was left for a tick; who leaves
something does so first, and looks at the flag behind that: one of the two sees what the other did.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Final

from .. import native
from ..safe_log import get_logger
from .job import Job, Running

__all__ = ["BUSY", "BUSY_STALL_SECONDS", "IDLE_SECONDS", "STALL_SECONDS", "WorkerPool"]

# trio's figure: long enough for the next click, short enough to be gone when it matters.
IDLE_SECONDS: Final = 10.0

# Ten times a quick view, a fifth of what a person could notice. Measured: at 0.2 ms hello world
# loses a tenth to needless wake-ups; at 5 ms a fast view behind a slow one is late.
STALL_SECONDS: Final = 0.001

# Ticks without a pickup before the timer stops: starting it costs a wake-up of the loop, which
# a client that asks again within some milliseconds should not have to pay.
_QUIET_TICKS: Final = 20

# The same when the process is busy computing: the interpreter's switch interval, so that what is
# stuck is one long computation and not many that take turns.
BUSY_STALL_SECONDS: Final = 0.005

# Threads woken in one tick: starting one takes up to 0.1 ms, for which the loop waits.
_WAKES: Final = 8

# Processor seconds per second from which the process counts as busy.
BUSY: Final = 0.7

# Threads in the place of those that wait for a client; beyond it those count again.
_MOST_LENT: Final = 512

_log: Final = get_logger("aserve.error")


class _Worker:
    __slots__ = ("job", "since", "thread", "wake")

    def __init__(self) -> None:
        # Starts taken; `release` is the wake-up.
        self.wake = native.threading.Lock()
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
        on_tick: Called on the loop thread about every millisecond while there is work; says
            whether there was anything to do for it.

    Attributes:
        is_met: Whether somebody calls `meet` at the end of each turn of the loop, so that `submit`
            wakes nobody.
        is_ticking: Whether `on_tick` will be called soon.
        on_rest: Called in a worker that has found nothing to do; must not block.
    """

    def __init__(
        self,
        max_threads: int,
        loop: asyncio.AbstractEventLoop,
        on_empty: Callable[[], object],
        on_tick: Callable[[], bool] = lambda: False,
    ) -> None:
        self._max_threads = max_threads
        self._lent = 0
        self._loop = loop
        self._on_empty = on_empty
        self._on_tick = on_tick
        self._jobs: deque[Job] = deque()
        self.lock = native.threading.Lock()
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._made = 0
        self._closing = False
        self._last_pickup = 0.0
        self._stall = STALL_SECONDS  # or BUSY_STALL_SECONDS
        self.is_met = False
        self.on_rest: Callable[[], object] | None = None
        # The timer.
        self.is_ticking = False
        self._timer: asyncio.TimerHandle | None = None
        self._ticked_at = 0.0
        self._used_cpu = 0.0
        self._seen_pickup = 0.0
        self._quiet_ticks = 0

    @property
    def size(self) -> int:
        """Threads that exist now, busy or idle."""
        return len(self._workers)

    @property
    def waiting(self) -> int:
        """Jobs that no worker has yet. Any thread."""
        return len(self._jobs)

    @property
    def spare(self) -> int:
        """How many more jobs could run now, beside those that run and wait. Any thread."""
        busy = len(self._workers) - len(self._idle) + len(self._jobs)
        return max(0, self._max_threads - busy)

    def submit(self, job: Job) -> None:
        """Run a job as soon as a thread is free. Loop thread only; never blocks."""
        self._jobs.append(job)
        if not self.is_met:
            self.wake()
        if not self.is_ticking:
            self.is_ticking = True
            self._start_ticking()

    def wake(self) -> None:
        """Have somebody look at the queue, unless somebody is getting through it. Loop thread."""
        with self.lock:  # a worker that is about to rest has looked at the queue under it
            is_at_rest = len(self._idle) == len(self._workers)
        if is_at_rest or perf_counter() - self._last_pickup > self._stall:
            self._wake_one()

    def wake_more(self, *, is_busy: bool) -> None:
        """Those at work are stuck: have others look at the queue. Loop thread.

        Args:
            is_busy: They compute, so the fewest that can be are woken; else they wait for
                something, and there is one for each waiting job.
        """
        for _ in range(1 if is_busy else min(len(self._jobs), _WAKES)):
            if not self._wake_one():
                break

    def grow(self) -> bool:
        """One more thread than before, in the place of one that waits for a client. Any thread.

        Returns:
            Whether that was possible; then `shrink` is owed.
        """
        with self.lock:
            if self._lent >= _MOST_LENT:
                return False
            self._lent += 1
            self._max_threads += 1
        if self._jobs:
            self._wake_one()
        return True

    def shrink(self) -> None:
        """And one less again: it is back. Any thread. Whoever is free first leaves."""
        with self.lock:
            self._lent -= 1
            self._max_threads -= 1
            if len(self._workers) > self._max_threads and self._idle:
                self._idle.pop().wake.release()

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
        """Let every thread leave once it is idle. Jobs that still wait are dropped. Idempotent."""
        if self._closing:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with self.lock:
            self._closing = True
            for worker in self._idle:
                worker.wake.release()
            self._idle.clear()
            empty = not self._workers
        with contextlib.suppress(IndexError):
            while True:
                self._jobs.popleft().drop()
        if empty:
            self._on_empty()

    # -- the timer -----------------------------------------------------------------------

    def _start_ticking(self) -> None:
        self._quiet_ticks = 0
        self._measure(perf_counter())
        if not self._closing:
            self._timer = self._loop.call_later(STALL_SECONDS, self._tick)

    def _tick(self) -> None:
        self._on_tick()
        pickup = self._last_pickup
        now = perf_counter()
        stall = self._stall = self._measure(now)
        if self._jobs and now - pickup > stall:
            self.wake_more(is_busy=stall == BUSY_STALL_SECONDS)
        self._quiet_ticks = self._quiet_ticks + 1 if pickup == self._seen_pickup else 0
        self._seen_pickup = pickup
        if self._quiet_ticks >= _QUIET_TICKS:
            self.is_ticking = False
            # Looked at behind the flag, see above.
            if not (self._on_tick() or self._jobs or self._last_pickup != pickup):
                self._timer = None
                return
            self.is_ticking = True
        # However long is too long: who has just begun to sleep, in a process that was busy until
        # now, is found out soon.
        self._timer = self._loop.call_later(STALL_SECONDS, self._tick)

    def _measure(self, now: float) -> float:
        """How long is too long now, by the use of the processor since the last tick."""
        cpu = process_time()
        is_busy = cpu - self._used_cpu > BUSY * (now - self._ticked_at)
        self._used_cpu, self._ticked_at = cpu, now
        return BUSY_STALL_SECONDS if is_busy else STALL_SECONDS

    # -- any thread ----------------------------------------------------------------------

    def _wake_one(self) -> bool:
        """Put one more thread to work; False when there is none to be had."""
        with self.lock:
            if self._closing:
                return False
            if self._idle:
                self._idle.pop().wake.release()
                return True
            if len(self._workers) >= self._max_threads:
                return False
            worker = _Worker()
            self._made += 1
            worker.thread = native.threading.Thread(
                target=self._work, args=(worker,), name=f"aserve-worker-{self._made}", daemon=True
            )
            self._workers.add(worker)
        try:
            worker.thread.start()
        except RuntimeError:
            # The system has no thread left: the ones that exist go on with the queue.
            with self.lock:
                self._workers.discard(worker)
            _log.warning("No more threads can be started; %d are at work", self.size)
            return False
        return True

    # -- worker thread -------------------------------------------------------------------

    def _work(self, me: _Worker) -> None:
        jobs = self._jobs
        while True:
            if len(self._workers) > self._max_threads and self._makes_room(me):
                break
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
            # A cleared name, or the last request stays alive while this thread is idle.
            del job
            if (
                self._stall == BUSY_STALL_SECONDS
                and self._last_pickup != me.since
                and not self._rest(me, leave_jobs=True)
            ):
                break
        self._leave(me)

    def _makes_room(self, me: _Worker) -> bool:
        """Whether this thread is the one too many, now that one is back that was away."""
        with self.lock:
            if len(self._workers) <= self._max_threads:
                return False
            self._workers.discard(me)
        if self._jobs:  # what it would have done next is for the others
            self._wake_one()
        return True

    def _rest(self, me: _Worker, *, leave_jobs: bool = False) -> bool:
        """Wait for work; False when it is time to leave."""
        with self.lock:
            if self._closing:
                # Who finds a job after the others have been dropped sees it through.
                return bool(self._jobs)
            if self._jobs and not leave_jobs:
                return True
            self._idle.append(me)
            if self.on_rest is not None:
                self.on_rest()
        if me.wake.acquire(timeout=IDLE_SECONDS):
            return True
        with self.lock:
            if me in self._idle:
                self._idle.remove(me)
                return False
        # Woken at the last moment: the token is on its way.
        me.wake.acquire()
        return True

    def _leave(self, me: _Worker) -> None:
        with self.lock:
            is_counted = me in self._workers  # else it has made room
            self._workers.discard(me)
            last = is_counted and self._closing and not self._workers
        if last:
            with contextlib.suppress(RuntimeError):
                self._on_empty()
