"""A loop that nobody shares waits for its workers instead of running beside them.

Loop and workers are threads of one interpreter, of which one runs at a time. While requests come in
one by one that costs little: the worker sends its answer itself. When many come in one turn of the
loop, the two fight over the interpreter lock. So before such a loop sleeps, it has one worker get
through all that waits, and writes all the answers in one go.

It waits for a bounded time: a view may take as long as it likes, and connections go on meanwhile.
What was waited for in vain makes the loop try again less often.

A loop that runs anything else than the server is never held up like this: `OwnLoop` is made by
`aserve.run` and the command, for themselves.
"""

from __future__ import annotations

from time import perf_counter
from typing import Final

from .. import native
from .mailbox import Mailbox
from .pool import WorkerPool

__all__ = ["Meeting"]

# How long the loop may wait: so much at least, twice of what such a batch took lately, and never
# more than a client that knocks meanwhile would notice.
_LEAST_SECONDS: Final = 0.0005
_MOST_SECONDS: Final = 0.008
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
            is_over = self._wait(min(_MOST_SECONDS, _LEAST_SECONDS + 2 * self._per_job * size))
        finally:
            self._mailbox.deliver()
        done = size - self._pool.waiting
        if done:
            self._per_job += ((perf_counter() - began) / done - self._per_job) / 8
        if is_over:
            self._misses //= 2
        else:
            self._misses = min(2 * self._misses + 2, _MOST_SKIPPED)
            self._skips = self._misses
        return True

    def _wait(self, seconds: float) -> bool:
        """Until a worker has found the queue empty; False when it took too long."""
        self._over.acquire(blocking=False)  # what a Ctrl-C has left behind
        self.is_open = True
        self._pool.wake()
        try:
            if self._over.acquire(timeout=seconds):
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
