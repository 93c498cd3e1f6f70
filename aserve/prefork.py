"""Several processes on the same sockets, as forks of a program that goes on: for `make_server`.

The parent serves nothing. It starts the workers, waits for them, and replaces those that die. Each
is on a socket pair with it: a byte asks for the end, in either direction.

```text
forked --> serving --"q"--> drained, ended
              |                  ^
              |--app: shutdown---'--"s"--> the parent asks all the others
              '--dies--> another one, at once or after a while
```

The thread that calls `run` has forked them all, and has to live as long as they do: when it ends,
the kernel ends them (see `forks.die_with_parent`).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from . import lifecycle
from .forks import die_with_parent, forget_exits, leave, reseed
from .reload.telling import fate
from .safe_log import get_logger

if TYPE_CHECKING:
    from .server import Server

__all__ = ["AVAILABLE", "Serve", "Workers"]

_log = get_logger("aserve")

AVAILABLE: Final = hasattr(os, "fork")

_QUIT: Final = b"q"
_KILL: Final = b"k"
_STOPPED: Final = b"s"

# Behind the grace of a worker, until it is ended by force.
_KILL_SECONDS: Final = 2.0
# Between the deaths of a worker and its successor: doubled each time, and forgotten when one has
# lived for long.
_BACK_OFF_SECONDS: Final = 0.5
_LONGEST_BACK_OFF: Final = 30.0
_LONG_SECONDS: Final = 60.0
# How often is looked for ends, where the kernel does not tell of them.
_LOOK_SECONDS: Final = 0.1

# Serves in a worker, in its main thread, until the end, and calls back when it is ready.
Serve: TypeAlias = "Callable[[Callable[[Server], object]], object]"


@dataclass(slots=True)
class _Child:
    """What the parent knows of a worker."""

    pid: int
    channel: socket.socket
    pidfd: int  # -1 where there is no such thing
    started_at: float

    def close(self) -> None:
        self.channel.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)


class Workers:
    """The workers of one server.

    Args:
        count: How many serve.
        serve: What each of them does.
        grace: Seconds that running requests may take at the end.
    """

    def __init__(self, count: int, serve: Serve, grace: float) -> None:
        self._count = count
        self._serve = serve
        self._grace = grace
        self._children: list[_Child] = []
        self._due: list[float] = []  # when successors are to be started
        self._deaths = 0  # in a row
        self._is_asked = False  # for the end
        self._is_interrupted = False
        self._kill_at: float | None = None
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)

    def run(self) -> None:
        """Until all have ended. Once, in any thread.

        In the main thread Ctrl-C asks for the end, unless the program has a handler of its own.

        Raises:
            OSError: The system has no room for so many processes.
        """
        # What a fork needs is imported here: a thread that it lacks may be in the middle of that.
        with contextlib.suppress(ImportError):
            import ctypes  # noqa: F401
        before = None
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            for _ in range(self._count):
                self._start()
            while self._children or self._due:
                self._wait()
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)
            self._end()

    def stop(self) -> None:
        """Have them finish what runs and end; returns at once. Any thread. Idempotent."""
        self._post(_QUIT)

    # -- the parent ------------------------------------------------------------------------

    def _interrupt(self, *_: object) -> None:
        # Ctrl-C: the second time without waiting for what runs.
        self._post(_KILL if self._is_interrupted else _QUIT)
        self._is_interrupted = True

    def _post(self, order: bytes) -> None:
        with contextlib.suppress(OSError):  # enough was asked, or all have ended
            self._waker.send(order)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        for stream in (sys.stdout, sys.stderr):
            # What waits there would be written by each fork.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        parent = os.getpid()
        signals = {signal.SIGINT, signal.SIGTERM}
        # They find handlers in the new process, or do not find it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            pid = os.fork()
            if not pid:
                self._live(theirs, ours, parent)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        ours.setblocking(False)
        pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        self._children.append(_Child(pid, ours, pidfd, monotonic()))

    def _wait(self) -> None:
        """For the next thing that happens, and do what there is to do."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        for child in self._children:
            # Without a pidfd its end is that of the channel; or later, if it has children.
            poll.register(child.channel if child.pidfd < 0 else child.pidfd, select.POLLIN)
            if child.pidfd >= 0:
                poll.register(child.channel, select.POLLIN)
        poll.poll(self._patience())
        with contextlib.suppress(BlockingIOError):
            orders = self._wake.recv(100)
            self._ask()
            if _KILL in orders:
                self._kill()
        for child in list(self._children):
            self._look_at(child)
        now = monotonic()
        for when in [when for when in self._due if when <= now]:
            self._due.remove(when)
            self._start_again()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._kill()

    def _patience(self) -> float | None:
        """How long to wait, in milliseconds."""
        times = [*self._due] if self._kill_at is None else [*self._due, self._kill_at]
        limits = [max(0.0, when - monotonic()) for when in times]
        if any(child.pidfd < 0 for child in self._children):
            limits.append(_LOOK_SECONDS)
        # Rounded up: a wait of 0 ms would be repeated until the time has come.
        return min(limits) * 1000 + 1 if limits else None

    def _ask(self) -> None:
        if self._is_asked:
            return
        self._is_asked = True
        self._due.clear()
        self._kill_at = monotonic() + self._grace + lifecycle.longest() + _KILL_SECONDS
        for child in self._children:
            with contextlib.suppress(OSError):  # it has ended a moment ago
                child.channel.send(_QUIT)

    def _kill(self) -> None:
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)

    def _look_at(self, child: _Child) -> None:
        with contextlib.suppress(OSError):
            if child.channel.recv(10) == _STOPPED:
                self._ask()
        try:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
        except ChildProcessError:
            pid, status = child.pid, 0  # the program waits for all processes by itself
        if pid:
            self._children.remove(child)
            child.close()
            if not self._is_asked:
                self._replace(child, os.waitstatus_to_exitcode(status))

    def _replace(self, child: _Child, status: int) -> None:
        now = monotonic()
        if now - child.started_at > _LONG_SECONDS:
            self._deaths = 0
        delay = _BACK_OFF_SECONDS * 2**self._deaths if self._deaths else 0.0
        delay = min(_LONGEST_BACK_OFF, delay)
        self._deaths = min(self._deaths + 1, 10)
        when = f"in {delay:g} s" if delay else "now"
        _log.warning("Worker %d %s; another one is started %s", child.pid, fate(status), when)
        self._due.append(now + delay)

    def _start_again(self) -> None:
        try:
            self._start()
        except OSError as error:
            _log.error("No worker can be started (%s); the next attempt is in 30 s", error)
            self._due.append(monotonic() + _LONGEST_BACK_OFF)

    def _end(self) -> None:
        """Leave nothing behind, also when the program's own handler of a signal has raised."""
        self._kill()
        for child in self._children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, 0)
            child.close()
        self._children.clear()
        self._wake.close()
        self._waker.close()

    # -- a worker --------------------------------------------------------------------------

    def _live(self, channel: socket.socket, parents: socket.socket, parent: int) -> NoReturn:
        """The whole life of the fork: whoever has called the parent must not be returned to."""
        status = 1
        try:
            die_with_parent(parent)
            parents.close()
            for child in self._children:
                child.close()
            self._wake.close()
            self._waker.close()
            reseed()
            forget_exits()
            _Worker(channel).serve(self._serve)
            status = 0
        except BaseException:
            _log.exception("A worker has failed")
        finally:
            leave(status)


class _Worker:
    """What a worker knows.

    Args:
        channel: To its parent.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._is_told = False
        signal.set_wakeup_fd(-1)
        # Ctrl-C is for the parent, which then says what to do. A function, because what is ignored
        # would be ignored by the app's own child processes, too.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})

    def serve(self, serve: Serve) -> None:
        """Until its parent, a signal or the app has it end."""
        serve(self._on_ready)
        if not self._is_told:
            with contextlib.suppress(OSError):  # nobody is left to know
                self._channel.send(_STOPPED)
        lifecycle.run_callbacks()

    def _on_ready(self, server: Server) -> None:
        def terminate() -> None:
            self._is_told = True  # and no other than this one
            server.shutdown()

        # By the loop: a handler of Python's would wait until the loop wakes up by itself, when the
        # kernel gives the signal to another thread.
        server.loop.add_signal_handler(signal.SIGTERM, terminate)
        listener = threading.Thread(
            target=self._listen, args=(server,), name="aserve-channel", daemon=True
        )
        listener.start()

    def _listen(self, server: Server) -> None:
        order = b""
        with contextlib.suppress(OSError):
            order = self._channel.recv(1)
        if not order:
            os._exit(1)  # the parent is gone
        self._is_told = True
        server.shutdown()
