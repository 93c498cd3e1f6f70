"""The guard of `conftest.py` itself: it catches what it must and nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blockbuster
import pytest

import aserve

from .conftest import BlockingCalls

# Code whose file name lies inside the package, as the guard sees it.
_SOURCE = "def run(function): return function()"


@pytest.fixture
def run_in_aserve() -> Callable[[Callable[[], Any]], Any]:
    namespace: dict[str, Any] = {}
    filename = str(Path(aserve.__file__).with_name("_blocking_probe.py"))
    exec(compile(_SOURCE, filename, "exec"), namespace)
    run: Callable[[Callable[[], Any]], Any] = namespace["run"]
    return run


def _sleep() -> None:
    time.sleep(0)


async def test_blocking_call_of_aserve_on_the_loop_is_caught(
    run_in_aserve: Callable[[Callable[[], Any]], Any], blocking_calls: BlockingCalls
) -> None:
    with pytest.raises(blockbuster.BlockingError, match=r"time\.sleep"):
        run_in_aserve(_sleep)
    (seen,) = blocking_calls.take()
    assert "time.sleep was called on the event loop" in seen
    assert "_blocking_probe.py" in seen


def test_loop_in_another_thread_is_guarded_even_when_the_error_is_swallowed(
    run_in_aserve: Callable[[Callable[[], Any]], Any], blocking_calls: BlockingCalls
) -> None:
    swallowed: list[BaseException] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: swallowed.append(context["exception"]))
        loop.call_soon(run_in_aserve, _sleep)
        await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join()
    assert [type(error).__mro__[1] for error in swallowed] == [blockbuster.BlockingError]
    assert len(blocking_calls.take()) == 1


async def test_worker_threads_may_block(
    run_in_aserve: Callable[[Callable[[], Any]], Any], blocking_calls: BlockingCalls
) -> None:
    await asyncio.to_thread(run_in_aserve, _sleep)
    assert blocking_calls.take() == []


def test_synchronous_code_may_block(
    run_in_aserve: Callable[[Callable[[], Any]], Any], blocking_calls: BlockingCalls
) -> None:
    run_in_aserve(_sleep)
    assert blocking_calls.take() == []


async def test_the_test_itself_may_block(blocking_calls: BlockingCalls) -> None:
    _sleep()
    assert blocking_calls.take() == []
