"""From trio to asyncio: a server's loop in a thread of its own.

The engine is asyncio's. A program that runs on trio gets a loop in a background thread and
talks to it through anyio's portal; entering, leaving, errors and cancellation look the same
from both.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

__all__ = ["in_background_loop", "is_trio"]

_T = TypeVar("_T")


def is_trio() -> bool:
    """Whether the caller is a task of trio."""
    trio = sys.modules.get("trio")  # nobody runs it without having imported it
    return trio is not None and bool(trio.lowlevel.in_trio_run())


@contextlib.asynccontextmanager
async def in_background_loop(
    make: Callable[[], contextlib.AbstractAsyncContextManager[_T]],
) -> AsyncIterator[_T]:
    """Run an asyncio context manager in a thread, from trio.

    Cancellation waits for the entry and for the exit, as these leave nothing behind only when
    they come to their end.

    Args:
        make: Makes the context manager; called on the background loop's behalf.

    Yields:
        What the context manager yields; it belongs to the other thread.
    """
    import anyio.to_thread
    from anyio.from_thread import start_blocking_portal

    stack = contextlib.ExitStack()

    def enter() -> _T:
        with contextlib.ExitStack() as opening:
            portal = opening.enter_context(start_blocking_portal("asyncio"))
            value = opening.enter_context(portal.wrap_async_context_manager(make()))
            stack.push(opening.pop_all())
        return value

    try:
        with anyio.CancelScope(shield=True):
            value = await anyio.to_thread.run_sync(enter)
        yield value
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(stack.close)
