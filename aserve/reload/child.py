"""A process of the reloader, and the channel to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from .. import native
from .channel import CHANNEL_VARIABLE, Channel, Message

__all__ = ["Child", "Fork", "command", "program_index", "settle", "spawn"]


class Child:
    """A process and its channel.

    Args:
        process: The process.
        channel: To it; owned.

    Attributes:
        generation: Which one it serves; 0 for one that waits.
        about: What it has said of its app.
        is_loaded: Whether it has said that the app is imported.
        is_ready: Whether it has said that it accepts connections.
        failed: Whether it has said that the app cannot be loaded.
        is_warm: Whether it has imported anything ahead.
        prompts: How many prompts of debuggers are open in it.
        timer: Ends it by force.
    """

    def __init__(self, process: subprocess.Popen[bytes] | None, channel: Channel) -> None:
        self._process = process
        self.channel = channel
        self.generation = 0
        self.about: Message = {}
        self.is_loaded = False
        self.is_ready = False
        self.failed = False
        self.is_warm = False
        self.prompts = 0
        self.timer: asyncio.TimerHandle | None = None

    async def wait(self) -> int:
        """Its exit status, negative for a signal. On the loop."""
        assert self._process is not None
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(self._process.pid)
            loop.add_reader(descriptor, settle, ended)
            try:
                await ended
            finally:
                loop.remove_reader(descriptor)
                native.os.close(descriptor)
        else:  # pragma: no cover - macOS

            def wait() -> None:
                assert self._process is not None
                self._process.wait()
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(settle, ended)

            native.threading.Thread(target=wait, daemon=True).start()
            await ended
        return self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.kill()

    def end(self) -> None:
        """End it at once, and leave nothing of it. Blocks for a moment."""
        self.kill()
        if self._process is not None:
            self._process.wait()
        self.channel.close()

    def release(self) -> None:
        """Close the channel; a process that has not begun to serve then ends by itself."""
        self.channel.close()
        # Nobody is going to wait for it, which is no mistake here.
        assert self._process is not None
        self._process.returncode = 0


class Fork(Child):
    """A process that another one has forked, which tells of its birth and of its end.

    Args:
        channel: To it; owned.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__(None, channel)
        self.pid = 0
        self._is_unwanted = False
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def is_born(self, pid: int) -> None:
        """It has this number."""
        self.pid = pid
        if self._is_unwanted:
            self.kill()

    def has_ended(self, status: int) -> None:
        """It is gone."""
        if not self._ended.done():
            self._ended.set_result(status)

    async def wait(self) -> int:
        """See `Child`."""
        return await self._ended

    def kill(self) -> None:
        """See `Child`."""
        self._is_unwanted = True
        if self.pid and not self._ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def command() -> list[str]:
    """The words that start a process like this one: the same Python, with the same options."""
    return [sys.executable, *_interpreter_options(), "-P", "-m", "aserve.worker"]


def _interpreter_options() -> list[str]:
    """What stood between `python` and the program: `-X dev`, `-W error` and their like (B77)."""
    words = sys.orig_argv[1 : program_index(sys.orig_argv)]
    return [word for word in words if word != "-P"]  # that is given in any case


def program_index(words: Sequence[str]) -> int:
    """Where in a command of Python the program begins: `-m`, `-c` or a file."""
    index = 1
    while index < len(words):
        word = words[index]
        if not word.startswith("-") or word.startswith(("-m", "-c")) or word == "-":
            break
        index += 2 if word in ("-X", "-W") else 1
    return min(index, len(words))


def spawn(
    words: Sequence[str],
    variables: Mapping[str, str] | None = None,
    directory: str | None = None,
) -> Child:
    """Start a process; takes a few milliseconds. Main thread.

    Args:
        words: Its command.
        variables: Its environment; None for that of this process.
        directory: Where it starts; None for here.
    """
    ours, theirs = native.socket.socketpair()
    with theirs:
        environment = {
            **(os.environ if variables is None else variables),
            CHANNEL_VARIABLE: str(theirs.fileno()),
            # What apps look at to do expensive things in one process only (B81).
            "WERKZEUG_RUN_MAIN": "true",
            "RUN_MAIN": "true",
        }
        # A child begins with Ctrl-C blocked, until it can ignore it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process = native.subprocess.Popen(
                words, pass_fds=[theirs.fileno()], env=environment, cwd=directory
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return Child(process, Channel(ours))


def settle(future: asyncio.Future[None]) -> None:
    """What is waited for has happened; perhaps nobody waits any more."""
    if not future.done():
        future.set_result(None)
