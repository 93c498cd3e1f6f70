"""Carries out what `machine` decides: processes, sockets, the error page, signals.

Everything runs on one loop, in the main thread. The listening sockets belong to the caller and stay
open from the first generation to the last: a connection that comes while no process accepts waits
in the kernel's queue.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from .channel import Message
from .child import Child, spawn
from .machine import Act, Action, Event, Model, State, What, begin, step
from .page import ErrorPage
from .snapshot import Change, Interest
from .watch import Watcher

if TYPE_CHECKING:
    import ssl  # a Python may have been built without it

__all__ = ["Launch", "Supervisor"]

# A second change this soon after a load began is part of something larger, such as a checkout: it
# is waited for a moment of quiet, but not for ever.
_BURST_SECONDS: Final = 0.1
_QUIET_SECONDS: Final = 0.025
_LONGEST_BURST: Final = 1.0

# Behind the grace of a process, until it is ended by force.
_KILL_SECONDS: Final = 2.0

# The next process is made ready while nobody waits, not while the first page is made.
_STANDBY_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to supervise.

    Args:
        sockets: Listening sockets; they stay the caller's.
        job: What a child needs to know: "app", "directory", "config", "adhoc_pem".
        variables: Returns what a child is to add to its environment.
        command: The words that start a child.
        typed: What the person typed, for the error page.
        interest: Which files matter beside the loaded ones.
        grace: Seconds that running requests may take.
        on_ready: Called when a generation serves, with what it says of its app.
        on_failed: Called when one cannot be loaded, with its report; True ends the supervisor.
        tell: Prints a line.
        polling: Seconds between two looks at the files; None for events of the system.
        portable: Have watchfiles watch, on Linux, too.
        context: For the error page.
        first: A process that was started ahead, for the first generation.
    """

    sockets: Sequence[socket.socket]
    job: Message
    variables: Callable[[], dict[str, str]]
    command: Sequence[str]
    typed: str
    interest: Interest
    grace: float
    on_ready: Callable[[Message], object]
    on_failed: Callable[[Message], bool]
    tell: Callable[[str], object]
    polling: float | None = None
    portable: bool = False
    context: ssl.SSLContext | None = None
    first: Child | None = None


class Supervisor:
    """Serves the app, generation after generation, until a person ends it.

    Args:
        launch: What to supervise.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._model = Model()
        self._children: dict[int, Child] = {}  # by generation, also those that retire
        self._standby: Child | None = None
        self._alive: set[Child] = set()
        self._modules: list[str] = []
        self._page: ErrorPage | None = None
        self._report: Message = {}
        self._changes: dict[str, Change] = {}
        self._started = 0.0
        self._burst_began = 0.0
        self._burst: asyncio.TimerHandle | None = None
        self._has_served = False
        # Connections between two processes, and the process that takes them.
        self._waiting: list[tuple[Message, int]] = []
        self._receiver: Child | None = None
        self._finished = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    async def run(self) -> None:
        """Until the end. Once, in the main thread."""
        self._loop = asyncio.get_running_loop()
        watcher = Watcher(
            self._launch.interest,
            lambda changes: self._loop.call_soon_threadsafe(self._on_changes, changes),
            polling=self._launch.polling,
            portable=self._launch.portable,
        )
        self._watcher = watcher
        for ending in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(ending, self.stop)
        self._loop.add_signal_handler(signal.SIGHUP, self.reload)
        if self._launch.first is not None:
            self._standby = self._know(self._launch.first)
        try:
            self._apply(*begin())
            watcher.start()
            while not self._finished.is_set():
                event = await self._events.get()
                self._apply(*step(self._model, event))
        finally:
            await asyncio.to_thread(watcher.close)
            for task in self._tasks:
                task.cancel()
            for child in self._alive:
                self._loop.remove_reader(child.channel.fileno())
                child.end()
            for _, number in self._waiting:
                os.close(number)

    def stop(self) -> None:
        """End; the second time at once."""
        self._events.put_nowait(Event(What.STOP))

    def stop_softly(self) -> None:
        """End, unless that is under way already: the app has shut its server down."""
        if self._model.state is not State.STOPPING:
            self.stop()

    def reload(self) -> None:
        """Load everything anew, whether or not a file has changed."""
        self._drop_standby()
        self._events.put_nowait(Event(What.CHANGED))

    # -- changes -------------------------------------------------------------------------

    def _on_changes(self, changes: list[Change]) -> None:
        for change in changes:
            self._changes[change.path] = change
        now = perf_counter()
        if now - self._started > _BURST_SECONDS and self._burst is None:
            self._load_now()
            return
        if self._burst is None:
            self._burst_began = now
        else:
            self._burst.cancel()
        delay = min(_QUIET_SECONDS, max(0.0, self._burst_began + _LONGEST_BURST - now))
        self._burst = self._loop.call_later(delay, self._load_now)

    def _load_now(self) -> None:
        self._burst = None
        self._started = perf_counter()
        if any(change.path.endswith((".env", ".flaskenv")) for change in self._changes.values()):
            self._drop_standby()
        self._events.put_nowait(Event(What.CHANGED))

    # -- actions -------------------------------------------------------------------------

    def _apply(self, model: Model, actions: list[Action]) -> None:
        self._model = model
        for act, generation in actions:
            child = self._children.get(generation)
            if act is Act.START:
                self._start(generation)
            elif act is Act.ADMIT and child is not None:
                child.channel.send({"type": "serve"})
            elif act is Act.RETIRE and child is not None:
                self._retire(child)
            elif act is Act.KILL and child is not None:
                child.kill()
            elif act is Act.SHOW_ERROR:
                self._show_error()
            elif act is Act.HIDE_ERROR and self._page is not None:
                page, self._page = self._page, None
                for number, data in page.close():
                    message = {"type": "connection", "data": data.decode("latin-1")}
                    self._waiting.append((message, number))
            elif act is Act.KILL_ALL:
                for child in self._children.values():
                    child.kill()
            elif act is Act.FINISH:
                self._finished.set()
        if model.state is State.STOPPING:
            self._drop_standby()
            self._see_whether_empty()

    def _keep(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _start(self, generation: int) -> None:
        self._started = self._started or perf_counter()
        child, self._standby = self._standby, None
        if child is None:
            child = self._spawn()
        child.generation = generation
        self._children[generation] = child
        numbers = [sock.fileno() for sock in self._launch.sockets]
        variables = self._launch.variables()
        child.channel.send({"type": "go", "job": self._launch.job, "variables": variables}, numbers)

    def _spawn(self) -> Child:
        return self._know(spawn(self._launch.command))

    def _know(self, child: Child) -> Child:
        self._alive.add(child)
        self._loop.add_reader(child.channel.fileno(), self._read, child)
        self._keep(self._wait(child))
        return child

    def _retire(self, child: Child) -> None:
        if self._receiver is child:
            self._receiver = None
        child.channel.send({"type": "quit", "grace": self._launch.grace})
        delay = self._launch.grace + _KILL_SECONDS
        child.timer = self._loop.call_later(delay, child.kill)

    def _drop_standby(self) -> None:
        child, self._standby = self._standby, None
        if child is not None:
            child.kill()

    async def _make_standby(self, generation: int) -> None:
        """For the next generation: everything imported that does not belong to the user."""
        await asyncio.sleep(_STANDBY_SECONDS)
        if self._standby is None and self._model.generation == generation:
            self._standby = child = self._spawn()
            variables = self._launch.variables()
            child.channel.send(
                {"type": "preload", "modules": self._modules, "variables": variables}
            )

    def _show_error(self) -> None:
        report = self._report
        if self._launch.on_failed(report):
            self.stop()
            return
        self._page = ErrorPage(report, self._launch.typed, self._launch.context)
        self._page.open(self._launch.sockets)
        self._pass_on()

    # -- children ------------------------------------------------------------------------

    def _read(self, child: Child) -> None:
        if child.channel.is_closed:
            return
        goes_on = child.channel.read(wait=False)
        for message, descriptors in child.channel.decode():
            if message["type"] == "connection":
                self._waiting.append((message, descriptors[0]))
                self._pass_on()
            else:
                self._hear(child, message)
        if not goes_on:
            self._loop.remove_reader(child.channel.fileno())
            child.channel.close()

    def _hear(self, child: Child, message: Message) -> None:
        kind = message["type"]
        if kind == "modules":
            self._modules = message["modules"]
        elif kind in ("loaded", "failed", "files"):
            self._keep(self._adopt(child, message))
        elif kind == "stopped" and child.generation == self._model.generation:
            self.stop_softly()
        elif kind == "ready":
            self._tell_ready(child)
            self._events.put_nowait(Event(What.READY, child.generation))
            if child.generation == self._model.generation:
                self._receiver = child
                self._pass_on()
            self._keep(self._make_standby(child.generation))

    def _pass_on(self) -> None:
        """Connections at rest that an old process has left, to whoever serves now."""
        while self._waiting and (self._receiver is not None or self._page is not None):
            message, number = self._waiting.pop(0)
            if self._receiver is not None and self._receiver.channel.send(message, [number]):
                os.close(number)
            elif self._page is not None:
                self._page.adopt(number, message["data"].encode("latin-1"))
            else:
                self._receiver = None
                self._waiting.insert(0, (message, number))

    async def _adopt(self, child: Child, message: Message) -> None:
        """What was loaded must be what is on the disk; then it may serve, or is to blame."""
        if child.generation != self._model.generation:
            return
        if message["type"] == "failed":
            child.failed = True
            self._report = message
        files, roots = message["files"], tuple(message["roots"])
        changes = await asyncio.to_thread(self._watcher.adopt, files, roots)
        if changes:
            self._on_changes(changes)
        elif message["type"] == "loaded":
            child.about = message
            self._events.put_nowait(Event(What.LOADED, child.generation))
        elif message["type"] == "failed":
            self._events.put_nowait(Event(What.FAILED, child.generation))

    def _tell_ready(self, child: Child) -> None:
        elapsed = (perf_counter() - self._started) * 1000
        if not self._has_served:
            self._has_served = True
            self._launch.on_ready(child.about)
        else:
            self._launch.tell(f"{_describe(self._changes)} took {elapsed:.0f} ms")
        self._changes.clear()

    async def _wait(self, child: Child) -> None:
        status = await child.wait()
        self._alive.discard(child)
        self._read(child)  # what it has said last
        if child.timer is not None:
            child.timer.cancel()
        if child is self._standby:
            self._standby = None
        if child is self._receiver:
            self._receiver = None
        if self._children.get(child.generation) is child:
            del self._children[child.generation]
        if not child.failed and child.generation == self._model.generation:
            self._report = {"summary": f"The app's process {_fate(status)}", "advice": ""}
            self._events.put_nowait(Event(What.ENDED, child.generation))
        self._see_whether_empty()

    def _see_whether_empty(self) -> None:
        if not self._children:
            self._events.put_nowait(Event(What.EMPTY))


def _fate(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"was ended by {name}"


def _describe(changes: dict[str, Change]) -> str:
    """Tools wait for this text, which is Werkzeug's (B99)."""
    if not changes:
        return "Asked to reload: reloading"
    first, *rest = changes.values()
    more = f" and {len(rest)} more" if rest else ""
    return f"Detected change in {first.path!r}, reloading ({first.kind}{more})"
