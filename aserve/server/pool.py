"""The worker threads that run the application.

Guarantees:
- At most `max_threads` jobs run at the same time; the others wait in the order of arrival.
- A thread is made when work waits and none is free, and leaves after `IDLE_SECONDS` without
  work, so a server at rest holds no thread.
- Idle threads are woken in LIFO order: the one whose stack is still in the cache.
- All threads are daemons: a view that never returns cannot keep the process alive (B26).

Where jobs come from. The loop submits some. The others are connections at rest: one worker
that has nothing else to do waits for them in the `Source`, takes what is ready, and runs it
itself, without a switch of threads. That is a worker's *watch*; when it is over, or takes too
long to come back, the next one takes it. While no thread exists, the loop watches. It also does
when all threads are busy; then it takes what is ready back to itself, and what was ready before
that, so that requests wait in the order of arrival, and a client that leaves meanwhile is seen.

Waking is lazy. Two threads that run Python at once only fight over the interpreter lock, so
while a worker is getting through the queue quickly, no second one is woken. The workers are
stuck once none has taken a job for a while. When the process has hardly used the processor
meanwhile, they wait for something, and there is a thread for each waiting job soon. When it
has, more threads would only be slower together: one is woken after a longer while, so that a
long computation does not hold up all the others, and a worker that sees another one at the
queue leaves it to that one.

The loop looks for stalls with a timer, which ticks only while something was picked up lately.

Threads: `submit` and `close` are called on the loop thread; `_lock` guards `_idle` and
`_workers`; the queue is a deque, whose append and popleft are atomic. Two flags are written by
one thread and read by another: `_watching` (a worker sets it, then looks at the queue; the
loop appends to the queue, then looks at the flag) and `_ticking` (the loop clears it, then
looks at the pickups; a worker notes its pickup, then looks at the flag). In both, one of the
two sees what the other has done.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter, process_time
from typing import Final, Protocol

from .. import native
from ..safe_log import get_logger
from .job import Job, Running

__all__ = ["BUSY_STALL_SECONDS", "IDLE_SECONDS", "STALL_SECONDS", "Source", "WorkerPool"]

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
_BUSY: Final = 0.7

# Threads in the place of those that wait for a client; beyond it those count again.
_MOST_LENT: Final = 512

_log: Final = get_logger("aserve.error")


class Source(Protocol):
    """Where jobs come from by themselves."""

    def wait(self, timeout: float) -> Sequence[Job] | None:
        """Wait up to `timeout` seconds for jobs; None in vain, none when interrupted.

        One thread at a time.
        """
        ...

    def interrupt(self) -> None:
        """Make the `wait` that is under way return, or else the next one. Any thread."""
        ...

    def fileno(self) -> int:
        """Readable for the loop when `wait` has something."""
        ...


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
        on_tick: Called on the loop thread about every millisecond while there is work.
    """

    def __init__(
        self,
        max_threads: int,
        loop: asyncio.AbstractEventLoop,
        on_empty: Callable[[], object],
        on_tick: Callable[[], object] = lambda: None,
    ) -> None:
        self._max_threads = max_threads
        self._lent = 0
        self._loop = loop
        self._on_empty = on_empty
        self._source: Source | None = None
        self._on_tick = on_tick
        self._jobs: deque[Job] = deque()
        self._lock = native.threading.Lock()
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._made = 0
        self._closing = False
        self._last_pickup = 0.0
        self._stall = STALL_SECONDS  # or BUSY_STALL_SECONDS
        # The watch: held by the worker that waits in the source.
        self._watch = native.threading.Lock()
        self._watching = False  # it is waiting there right now
        self._loop_watches = False
        # The timer.
        self._ticking = False
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
    def is_full(self) -> bool:
        """Whether every thread that may be is busy."""
        return len(self._workers) - len(self._idle) - self._watching >= self._max_threads

    @property
    def spare(self) -> int:
        """How many more jobs could run now, beside those that run and wait. Any thread."""
        busy = len(self._workers) - len(self._idle) - self._watching + len(self._jobs)
        return max(0, self._max_threads - busy)

    def start(self, source: Source) -> None:
        """Begin to take jobs from a source; it is the caller's to close. Loop thread."""
        self._source = source
        self._watch_on_loop()

    def submit(self, job: Job) -> None:
        """Run a job as soon as a thread is free. Loop thread only; never blocks."""
        self._jobs.append(job)
        watching = self._watching
        if watching and self._source is not None:
            self._source.interrupt()
        with self._lock:
            nobody_works = len(self._idle) == len(self._workers)
        stuck = perf_counter() - self._last_pickup > self._stall
        if not watching and (nobody_works or stuck):
            self._wake_one()
        if not self._ticking:
            self._ticking = True
            self._start_ticking()

    def grow(self) -> bool:
        """One more thread than before, in the place of one that waits for a client. Any thread.

        Returns:
            Whether that was possible; then `shrink` is owed.
        """
        with self._lock:
            if self._lent >= _MOST_LENT:
                return False
            self._lent += 1
            self._max_threads += 1
        if self._jobs:
            self._wake_one()
        return True

    def shrink(self) -> None:
        """And one less again: it is back. Any thread. Whoever is free first leaves."""
        with self._lock:
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
        with self._lock:
            self._closing = True
            for worker in self._idle:
                worker.wake.release()
            self._idle.clear()
            empty = not self._workers
            # Under the lock: the last worker to leave needs it, and then the source is closed.
            if self._source is not None:
                self._stop_watching_on_loop(self._source)
                self._source.interrupt()
        self._drop_jobs()
        if empty:
            self._on_empty()

    def _drop_jobs(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._jobs.popleft().drop()

    # -- the loop's part -----------------------------------------------------------------

    def _watch_on_loop(self) -> None:
        """No worker watches: the loop looks after the source."""
        source = self._source
        if source is None or self._closing or self._loop_watches or self._watch.locked():
            return
        self._loop_watches = True
        self._loop.add_reader(source.fileno(), self._on_source_ready, source)

    def _stop_watching_on_loop(self, source: Source) -> None:
        if self._loop_watches:
            self._loop_watches = False
            self._loop.remove_reader(source.fileno())

    def _on_source_ready(self, source: Source) -> None:
        if self._watch.locked() or self._wake_one():
            self._stop_watching_on_loop(source)
        else:
            for job in source.wait(0) or ():
                job.drop()
        if not self._ticking:
            self._ticking = True
            self._start_ticking()

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
        if now - pickup > stall and self._wants_a_hand():
            # One for each waiting job and one for the watch, or the fewest that can be.
            wakes = min(len(self._jobs) + 1, _WAKES) if stall == STALL_SECONDS else 1
            for _ in range(wakes):
                if not self._wake_one():
                    self._watch_on_loop()
                    self._take_back()
                    break
        for worker in list(self._workers):
            job = worker.job
            if job is not None and now - worker.since > stall:
                job.overdue()
        self._quiet_ticks = self._quiet_ticks + 1 if pickup == self._seen_pickup else 0
        self._seen_pickup = pickup
        if self._quiet_ticks >= _QUIET_TICKS:
            self._ticking = False
            if self._last_pickup == pickup:  # looked at after the flag, see above
                self._timer = None
                return
            self._ticking = True
        self._timer = self._loop.call_later(stall, self._tick)

    def _take_back(self) -> None:
        """All threads are busy: leave only those jobs that can wait."""
        for job in list(self._jobs):
            if job.can_wait:
                continue
            try:
                self._jobs.remove(job)
            except ValueError:  # a worker was faster
                continue
            job.drop()

    def _measure(self, now: float) -> float:
        """How long is too long now, by the use of the processor since the last tick."""
        cpu = process_time()
        is_busy = cpu - self._used_cpu > _BUSY * (now - self._ticked_at)
        self._used_cpu, self._ticked_at = cpu, now
        return BUSY_STALL_SECONDS if is_busy else STALL_SECONDS

    def _wants_a_hand(self) -> bool:
        """Whether jobs wait, or might wait in the source with nobody to see them."""
        if self._jobs:
            return True
        return self._source is not None and not self._watch.locked() and not self._loop_watches

    # -- any thread ----------------------------------------------------------------------

    def cede(self) -> None:
        """The job that calls this will take long: another worker shall go on with the queue."""
        if self._wants_a_hand():
            self._wake_one()

    def add(self, jobs: Iterable[Job]) -> None:
        """Queue jobs that a job has found; its worker goes on with them. Worker thread."""
        self._jobs.extend(jobs)
        if self._closing:
            self._call_on_loop(self._drop_jobs)

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
            self._made += 1
            worker.thread = native.threading.Thread(
                target=self._work, args=(worker,), name=f"aserve-worker-{self._made}", daemon=True
            )
            self._workers.add(worker)
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
            if len(self._workers) > self._max_threads and self._makes_room(me):
                break
            try:
                job = jobs.popleft()
            except IndexError:
                if self._look_for_work(me):
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
        with self._lock:
            if len(self._workers) <= self._max_threads:
                return False
            self._workers.discard(me)
        # What it would have done next is for the others.
        if self._wants_a_hand() and not self._wake_one():
            self._call_on_loop(self._watch_on_loop)
        return True

    def _look_for_work(self, me: _Worker) -> bool:
        """The queue is empty: watch, or rest while another one does. False: time to leave."""
        source = self._source
        if source is None or not self._watch.acquire(blocking=False):
            return self._rest(me)
        self._watching = True
        try:
            if self._jobs:  # looked at after the flag, see above
                return True
            if self._closing:
                return False
            found = source.wait(IDLE_SECONDS)
        finally:
            self._watching = False
            self._watch.release()
        if found is None:
            self._call_on_loop(self._watch_on_loop)
            return False
        self._jobs.extend(found)
        self._last_pickup = perf_counter()
        if not self._ticking:
            self._ticking = True
            self._call_on_loop(self._start_ticking)
        return True

    def _call_on_loop(self, callback: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the server with it
            self._loop.call_soon_threadsafe(callback)

    def _rest(self, me: _Worker, *, leave_jobs: bool = False) -> bool:
        """Wait for work; False when it is time to leave."""
        with self._lock:
            if self._closing:
                # Who finds a job after the others have been dropped sees it through.
                return bool(self._jobs)
            if self._jobs and not leave_jobs:
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
            is_counted = me in self._workers  # else it has made room
            self._workers.discard(me)
            last = is_counted and self._closing and not self._workers
        if last:
            with contextlib.suppress(RuntimeError):
                self._on_empty()
