"""A process of the reloader, and the channel to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

from .channel import CHANNEL_VARIABLE, Channel, Message

__all__ = ["Child", "command", "settle", "spawn"]


class Child:
    """A process and its channel.

    Args:
        process: The process.
        channel: To it; owned.

    Attributes:
        generation: Which one it serves; 0 for one that waits.
        about: What it has said of its app.
        failed: Whether it has said that the app cannot be loaded.
        timer: Ends it by force.
    """

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel) -> None:
        self.process = process
        self.channel = channel
        self.generation = 0
        self.about: Message = {}
        self.failed = False
        self.timer: asyncio.TimerHandle | None = None

    async def wait(self) -> int:
        """Its exit status, negative for a signal. On the loop."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(self.process.pid)
            loop.add_reader(descriptor, settle, ended)
            try:
                await ended
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)
        else:  # pragma: no cover - macOS

            def wait() -> None:
                self.process.wait()
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(settle, ended)

            threading.Thread(target=wait, daemon=True).start()
            await ended
        return self.process.wait()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    def end(self) -> None:
        """End it at once, and leave nothing of it. Blocks for a moment."""
        self.process.kill()
        self.process.wait()
        self.channel.close()

    def release(self) -> None:
        """Close the channel; a process that has not begun to serve then ends by itself."""
        self.channel.close()
        # Nobody is going to wait for it, which is no mistake here.
        self.process.returncode = 0


def command() -> list[str]:
    """The words that start a process like this one: the same Python, with the same options."""
    return [sys.executable, *_interpreter_options(), "-P", "-m", "aserve.worker"]


def _interpreter_options() -> list[str]:
    """What stood between `python` and the program: `-X dev`, `-W error` and their like (B77)."""
    options: list[str] = []
    words = iter(sys.orig_argv[1:])
    for word in words:
        if not word.startswith("-") or word.startswith(("-m", "-c")) or word == "-":
            break
        if word != "-P":  # it is given in any case
            options.append(word)
        if word in ("-X", "-W"):
            options.append(next(words, ""))
    return options


def spawn(words: Sequence[str]) -> Child:
    """Start a process; takes a few milliseconds. Main thread.

    Args:
        words: Its command.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        environment = {
            **os.environ,
            CHANNEL_VARIABLE: str(theirs.fileno()),
            # What apps look at to do expensive things in one process only (B81).
            "WERKZEUG_RUN_MAIN": "true",
            "RUN_MAIN": "true",
        }
        # A child begins with Ctrl-C blocked, until it can ignore it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process = subprocess.Popen(words, pass_fds=[theirs.fileno()], env=environment)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return Child(process, Channel(ours))


def settle(future: asyncio.Future[None]) -> None:
    """What is waited for has happened; perhaps nobody waits any more."""
    if not future.done():
        future.set_result(None)
