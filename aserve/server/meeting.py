"""A loop that nobody shares waits for its workers instead of running beside them.

Loop and workers are threads of one interpreter, of which one runs at a time. While requests come in
one by one that costs little: the worker sends its answer itself. When many come in one turn of the
loop, the two fight over the interpreter lock. So before such a loop sleeps, it has one worker get
through all that waits, and writes all the answers in one go.

It waits while they get on, and for a bounded time: a view may take as long as it likes, and
connections go on meanwhile. What was waited for in vain makes the loop try again less often.

A loop that runs anything else than the server is never held up like this: `OwnLoop` is made by
`aserve.run` and the command, for themselves.
"""

from __future__ import annotations

from time import perf_counter, process_time
from typing import Final

from .. import native
from .mailbox import Mailbox
from .pool import BUSY, WorkerPool

__all__ = ["Meeting"]

# How long the loop may wait in all: never more than a client that knocks meanwhile would notice.
_MOST_SECONDS: Final = 0.008
# How long nothing may be taken up: then what the workers have is not quick. A worker needs some of
# it to be there, and the rest is for jobs that take longer than those before them.
_LEAST_PAUSE: Final = 0.0005
_PAUSE_OF_JOBS: Final = 4
_MOST_PAUSE: Final = 0.002
# A quick view of Flask, until it is known better.
_PER_JOB_SECONDS: Final = 0.0001

# Batches that are not waited for, at most, after many that were waited for in vain.
_MOST_SKIPPED: Final = 256


class Meeting:
    """See the module's docstring. Loop thread, but for `_rested`.

    Args:
        pool: Wakes nobody by itself from here on.
        mailbox: Where the workers leave their answers.

    Attributes:
        is_open: Whether the loop waits. A worker that sees it leaves its answer to the loop; any
            thread may look, and one that looks too late has only done more than it had to.
    """

    def __init__(self, pool: WorkerPool, mailbox: Mailbox) -> None:
        self._pool = pool
        self._mailbox = mailbox
        self._over = native.threading.Lock()
        self._over.acquire()
        self.is_open = False
        self._per_job = _PER_JOB_SECONDS
        self._skips = 0  # batches to let pass
        self._misses = 0  # how many after the next one in vain
        pool.is_met = True
        pool.on_rest = self._rested

    def meet(self) -> bool:
        """Get through what waits; True when something was done for which the loop is needed."""
        size = self._pool.waiting
        if not size:
            return False
        if size == 1 or self._skips:
            self._skips -= size > 1
            self._pool.wake()
            return False
        began = perf_counter()
        self._mailbox.hold()
        try:
            is_over = self._wait(began)
        finally:
            self._mailbox.deliver()
        if is_over:
            # What was waited for in vain says nothing of the quick ones.
            took = (perf_counter() - began) / size
            self._per_job += (took - self._per_job) / 8
            self._misses //= 2
        else:
            self._misses = min(2 * self._misses + 2, _MOST_SKIPPED)
            self._skips = self._misses
        return True

    def _wait(self, began: float) -> bool:
        """Until a worker has found the queue empty; False when they do not get on."""
        self._over.acquire(blocking=False)  # what a Ctrl-C has left behind
        self.is_open = True
        self._pool.wake()
        pause = min(_MOST_PAUSE, _LEAST_PAUSE + _PAUSE_OF_JOBS * self._per_job)
        waiting, used, since = self._pool.waiting, process_time(), began
        try:
            while not self._over.acquire(timeout=pause):
                before, waiting = waiting, self._pool.waiting
                used_before, used = used, process_time()
                since_before, since = since, perf_counter()
                if waiting == before:
                    is_busy = used - used_before > BUSY * (since - since_before)
                    self._pool.wake_more(is_busy=is_busy)
                    break
                if since - began > _MOST_SECONDS:
                    break
            else:
                return True
        finally:
            with self._pool.lock:
                is_late, self.is_open = not self.is_open, False
        if is_late:  # in the moment between
            self._over.acquire()
        return is_late

    def _rested(self) -> None:
        # Under the pool's lock.
        if self.is_open:
            self.is_open = False
            self._over.release()
