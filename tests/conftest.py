"""What every test gets: one event loop backend, and a guard over the loop thread.

The guard turns the first promise of the design into a failing test: code of aserve that runs on
an event loop, in whatever thread, must not block. Patched functions look for a running loop in
their own thread, so synchronous tests and worker threads are free to block.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Iterator

import blockbuster
import coverage
import pytest
from blockbuster import blockbuster as blockbuster_module

import aserve

# A shell that runs the tests in the background has them ignore Ctrl-C, and `nohup` the end of the
# terminal; and all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class BlockingCalls:
    """The blocking calls that were seen on a loop thread since the test began."""

    def __init__(self) -> None:
        self._seen: list[str] = []

    def add(self, function: str, stack: str) -> None:
        """Note one call. Called on the loop thread that blocked."""
        self._seen.append(f"{function} was called on the event loop:\n{stack}")

    def take(self) -> list[str]:
        """Return what was seen and forget it: for a test that blocks on purpose."""
        seen, self._seen = self._seen, []
        return seen


_calls = BlockingCalls()


class RecordedBlockingError(blockbuster.BlockingError):
    """Raised at the blocking call, and remembered.

    An exception in a callback of the loop is logged and gone, and the test that caused it may
    well pass; so the guard asks at the end of each test.
    """

    def __init__(self, func: str) -> None:
        super().__init__(func)
        _calls.add(func, "".join(traceback.format_stack(limit=14)[:-2]))


@pytest.fixture(scope="session")
def loop_guard() -> Iterator[blockbuster.BlockBuster]:
    """Patch the blocking functions of the standard library once for all tests.

    Only calls with a frame of aserve in their stack count: a test may read a file where it likes.
    """
    original = blockbuster_module.BlockingError
    with blockbuster.blockbuster_ctx(aserve) as guard:
        for function in guard.functions.values():
            # A module is loaded once, where it is first needed; that is no habit of blocking.
            function.can_block_in("<frozen importlib._bootstrap>", {"_find_and_load"})
            # It joins a thread that has made its last call: microseconds.
            function.can_block_in("aserve/native.py", {"in_thread"})
            # Bounded, on a loop that nobody shares.
            function.can_block_in("server/meeting.py", {"_wait"})
            # Where a log goes, and whether it can stall there, is the program's choice.
            function.can_block_in("logging/__init__.py", {"callHandlers"})
        if coverage.Coverage.current() is not None:
            # The measuring takes a lock of its own wherever a function begins, from C: no frame of
            # the stack tells it from a lock of ours. The sessions that do not measure do look.
            for name in ("threading.Lock.acquire", "threading.Lock.acquire_lock"):
                guard.functions[name].deactivate()
        # The module looks the class up when it raises.
        blockbuster_module.BlockingError = RecordedBlockingError  # type: ignore[misc]
        yield guard
        blockbuster_module.BlockingError = original  # type: ignore[misc]


@pytest.fixture(autouse=True)
def blocking_calls(loop_guard: blockbuster.BlockBuster) -> Iterator[BlockingCalls]:
    """Fail the test when aserve blocked an event loop while it ran."""
    _calls.take()
    yield _calls
    if seen := _calls.take():
        pytest.fail("\n".join(seen), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """PINs of the debugger that belong to the tests, also in the processes that they start."""
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    yield
    if before is None:
        del os.environ["XDG_STATE_HOME"]
    else:
        os.environ["XDG_STATE_HOME"] = before


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio; tests of trio ask for it by parametrizing this name."""
    return "asyncio"
