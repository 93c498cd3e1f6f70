"""Threads, locks and sockets of the system, whatever the app has put in their place.

`gevent.monkey.patch_all()` and `eventlet.monkey_patch()` exchange what is in these modules of the
standard library, in place, so that the app's blocking calls switch greenlets. An engine that waited
with those would wait in the wrong world. Whoever needs a real one takes it from here at the moment
of use: `native.threading.Lock()`. As long as nothing is patched, these are the modules themselves.
"""

from __future__ import annotations

import _thread
import importlib.machinery
import importlib.util
import logging
import os
import select
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, ModuleType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "Latch",
    "in_thread",
    "is_main_thread",
    "is_patched",
    "loop_factory",
    "os",
    "own",
    "restore",
    "select",
    "selectors",
    "socket",
    "subprocess",
    "threading",
]

_T = TypeVar("_T")


def is_patched() -> bool:
    """Whether threads are greenlets in this process. Any thread.

    By the locks: debuggers replace the function that starts a thread, and their threads are real.
    """
    return not isinstance(_thread.allocate_lock, BuiltinFunctionType)


def restore() -> None:
    """If the app has patched them, the names of this module are copies from here on. Idempotent.

    What was made before stays as it is: a lock made before the patch is a real one. Called where an
    app has been imported; the copies are made of the standard library's files, and a copy of
    an extension module has the functions that it was built with. Main thread.
    """
    if threading is not sys.modules["threading"] or not is_patched():
        return
    thread, ready = _copy("_thread"), _copy("select")
    ready_selectors = _copy("selectors", select=ready)
    names = {
        "os": _real_os(),
        "threading": _copy("threading", _thread=thread),
        "select": ready,
        "selectors": ready_selectors,
    }
    used = {"socket": _copy("socket", **names), "subprocess": _copy("subprocess", **names)}
    globals().update(names | used)
    _restore_logging()


def is_main_thread() -> bool:
    """Whether the caller runs in the thread that Python delivers signals to."""
    return bool(threading.get_ident() == threading.main_thread().ident)


def own(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """The same sockets as objects of the real class; those that were given are detached.

    Of a patched module even `accept` of a real socket returns one that switches greenlets.
    """
    return [socket.socket(one.family, one.type, one.proto, one.detach()) for one in sockets]


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes a loop of asyncio that waits as the system does; None for the usual one."""
    if not is_patched():
        return None
    import asyncio

    return lambda: asyncio.SelectorEventLoop(selectors.DefaultSelector())


async def in_thread(function: Callable[[], _T]) -> _T:
    """Call what blocks in a thread of its own, which is gone afterwards. On a loop of asyncio.

    The executors of asyncio and anyio keep their threads, and whoever embeds a server expects
    that nothing of it is left. Who cancels it waits until `function` has returned.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(value: _T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(value)  # type: ignore[arg-type]

    def work() -> None:
        value, failure = None, None
        try:
            value = function()
        except BaseException as error:
            failure = error
        loop.call_soon_threadsafe(settle, value, failure)

    thread = threading.Thread(target=work, name="aserve-blocking-call", daemon=True)
    thread.start()
    try:
        return await done
    finally:
        thread.join()  # it has made its last call


class Latch:
    """Something that happens once, e.g. while the app is imported: whenever it may be patched.

    The `Event` of `threading` makes a lock for each `wait`, and then it is one of a patched kind.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self.is_set = False

    def set(self) -> None:
        """It has happened. Idempotent; one thread."""
        if not self.is_set:
            self.is_set = True
            self._lock.release()

    def wait(self) -> None:
        """Block until it has. Any thread."""
        with self._lock:
            pass


def _restore_logging() -> None:
    """Have loggers wait for real locks: both the app's greenlets and the engine's threads log.

    The locks of `logging` were patched with everything else, and one of a greenlet's that another
    thread waits for may never come free. Nothing switches greenlets while it holds them.
    """
    logging._lock = threading.RLock()  # type: ignore[attr-defined]
    usual = logging.Handler.createLock

    def create_lock(self: logging.Handler) -> None:
        usual(self)
        self.lock = threading.RLock()

    logging.Handler.createLock = create_lock  # type: ignore[method-assign]
    for reference in list(logging._handlerList):  # type: ignore[attr-defined]
        if (handler := reference()) is not None and handler.lock is not None:
            handler.lock = threading.RLock()


def _real_os() -> ModuleType:
    """`os` as it is, `environ` and all, with the system's own functions in it."""
    module = ModuleType("os")
    module.__dict__.update(vars(os))
    for name, function in vars(importlib.import_module(os.name)).items():
        if isinstance(function, BuiltinFunctionType):
            module.__dict__[name] = function
    return module


def _copy(name: str, **uses: ModuleType) -> ModuleType:
    """One more copy of a module, which has found `uses` in the place of the modules so called."""
    # Not by `sys.meta_path`, where what the app has put has a say.
    spec = importlib.machinery.BuiltinImporter.find_spec(name)
    spec = spec or importlib.machinery.FrozenImporter.find_spec(name)
    spec = spec or importlib.machinery.PathFinder.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Under its name for so long: `socket` looks itself up there to make its enumerations.
    uses[name] = module
    before = {used: sys.modules[used] for used in uses}
    sys.modules.update(uses)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.modules.update(before)
    return module


if is_patched():  # the program has done it before it imported this package
    restore()
