"""Carries out what `machine` decides: processes, sockets, pages, keys, signals.

Everything runs on one loop, in the main thread. The listening sockets belong to the caller and stay
open from the first generation to the last: a connection that comes while no process accepts waits
in the kernel's queue.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from time import perf_counter
from typing import Any, Final

from .burst import Burst
from .channel import Message
from .child import Child
from .content import Content, ErrorContent, LoadingContent
from .keys import Keys
from .launch import Launch
from .machine import Act, Action, Event, Model, State, What, begin, step
from .page import NO_ROOM, Page
from .relay import Relay
from .snapshot import Change
from .stock import Stock, stamp_of_places
from .telling import CLEAR_SCREEN, HELP, describe, fate, may_be_a_collision
from .watch import Watcher

__all__ = ["Supervisor"]

# Behind the grace of a process, until it is ended by force.
_KILL_SECONDS: Final = 2.0

# The next process is made ready while nobody waits, not while the first page is made.
_STANDBY_SECONDS: Final = 0.1

# How long a person looks at nothing before a page says that the app is being loaded.
_SLOW_SECONDS: Final = 2.0

# Without a descriptor for a new process, until it is tried again.
_NO_ROOM_SECONDS: Final = 0.1

# How often it is looked whether something was installed, while the app cannot be loaded.
_PLACES_SECONDS: Final = 0.3

# Between the deaths of one of several processes and its successor: doubled each time.
_BACK_OFF_SECONDS: Final = 0.5

# An error is shown when no file has changed for so long: until then somebody may be writing.
_REST_SECONDS: Final = 0.15
_LONGEST_BACK_OFF: Final = 30.0


class Supervisor:
    """Serves the app, generation after generation, until a person ends it.

    Args:
        launch: What to supervise.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._model = Model()
        self._children: set[Child] = set()  # with a generation, also those that retire
        self._alive: set[Child] = set()
        self._stock = Stock(launch.start, launch.variables, self._know)
        self._next_is_cold = False
        self._misfit = (0, "")  # of which generation, and of what
        self._report: Message = {}
        self._last_report: Message = {}
        # A load failed while an old process still held something that there is only one of.
        self._may_have_collided = False
        self._is_beside_others = False  # when the load began
        self._changes: dict[str, Change] = {}
        self._reasons: dict[str, Change] = {}  # those of the load that is under way
        self._changed_at = 0.0  # by `perf_counter`
        self._burst = Burst(self._load_now)
        self._has_served = False
        self._ending = int(signal.SIGTERM)  # the signal that has come
        self._relay = Relay()
        self._finished = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._watcher: Watcher | None = None
        self._keys = Keys(
            {
                "r": self._reload_anew,
                "q": self.stop,
                "o": launch.on_open,
                "p": launch.on_pin,
                "c": lambda: launch.write(CLEAR_SCREEN),
                "h": lambda: launch.tell(HELP),
                "?": lambda: launch.tell(HELP),
            }
        )

    async def run(self) -> None:
        """Until the end. Once, in the main thread."""
        self._loop = asyncio.get_running_loop()
        if self._launch.interest is not None:
            self._watcher = Watcher(
                self._launch.interest,
                self._on_changes,
                polling=self._launch.polling,
                on_fallback=lambda reason: self._launch.tell(
                    f"The system tells of no changes: {reason}. Looking at the files each second"
                ),
            )
        for ending in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(ending, self._on_ending, ending)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` outlives its terminal
            self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        if self._launch.first is not None:
            self._stock.put(self._launch.first)
        try:
            if self._watcher is not None:
                self._keep(self._watcher.begin())
                await asyncio.sleep(0)  # its thread is at work when the first process starts
            self._apply(*begin(self._launch.processes))
            await self._run()
        finally:
            self._close()

    async def _run(self) -> None:
        import anyio  # while the first process is busy

        async with anyio.create_task_group() as tasks:
            if self._watcher is not None:
                tasks.start_soon(self._watcher.run)
            while not self._finished.is_set():
                event = await self._events.get()
                self._apply(*step(self._model, event))
            tasks.cancel_scope.cancel()

    def _close(self) -> None:
        self._keys.close()
        for task in self._tasks:
            task.cancel()
        for child in self._alive:
            if not child.channel.is_closed:  # it may have ended a moment ago
                self._loop.remove_reader(child.channel.fileno())
            child.end()
        self._relay.close()

    def stop(self) -> None:
        """End; the second time at once."""
        self._events.put_nowait(Event(What.STOP))

    def _on_ending(self, number: int) -> None:
        self._ending = number
        self.stop()

    def stop_softly(self) -> None:
        """End, unless that is under way already: the app has shut its server down."""
        if self._model.state is not State.STOPPING:
            self.stop()

    def reload(self) -> None:
        """Load the app anew, whether or not a file has changed."""
        self._last_report = {}
        self._burst.loaded_at = perf_counter()
        self._events.put_nowait(Event(What.FORCED))

    def _reload_anew(self) -> None:
        """The same with nothing that was made ahead: a person asks for it who trusts nothing."""
        self._stock.forget_all()
        self._next_is_cold = True
        self.reload()

    def _on_hangup(self) -> None:
        """A person asks for a reload, or has closed the terminal: then nobody is left to serve."""
        if self._keys.is_terminal_gone():
            self.stop()
        else:
            self._reload_anew()

    # -- changes -------------------------------------------------------------------------

    def _on_changes(self, changes: list[Change]) -> None:
        if self._model.state is State.SERVING and self._watcher is not None:
            told = [change.path for change in changes if self._watcher.is_told(change.path)]
            for child in self._of(self._model.generation) if told else ():
                child.channel.send({"type": "edited", "paths": told})
            changes = [change for change in changes if change.path not in told]
            if not changes:
                return
        self._load_for(changes)

    def _load_for(self, changes: list[Change]) -> None:
        self._changed_at = perf_counter()
        for change in changes:
            before = self._changes.get(change.path) or self._reasons.get(change.path)
            if before is not None and (before.kind, change.kind) == ("created", "edited"):
                change = before  # made, and then filled
            self._changes[change.path] = change
        self._events.put_nowait(Event(What.CHANGED))
        self._burst.change()

    def _load_now(self) -> None:
        self._last_report = {}
        if any(change.path.endswith((".env", ".flaskenv")) for change in self._changes.values()):
            self._stock.drop()
        # A load that is superseded has no line of its own.
        self._reasons.update(self._changes)
        self._changes.clear()
        self._events.put_nowait(Event(What.SETTLED))

    # -- actions -------------------------------------------------------------------------

    def _apply(self, model: Model, actions: list[Action]) -> None:
        self._model = model
        for act, generation in actions:
            if act is Act.START:
                is_cold, self._next_is_cold = self._next_is_cold, False
                for _ in range(self._launch.processes):
                    self._start(generation, is_cold=is_cold)
                self._loop.call_later(_SLOW_SECONDS, self._is_slow, generation)
            elif act is Act.REPLACE:
                self._replace(generation)
            elif act is Act.SHOW_ERROR:
                self._show_error()
            elif act is Act.SHOW_LOADING:
                self._show_loading()
            elif act is Act.HIDE_PAGE:
                self._relay.hide()
            elif act is Act.TELL_HELD:
                changes = {**self._reasons, **self._changes}
                held = describe(changes.values()).partition(", ")[0]
                self._launch.tell(f"{held}: it is loaded when the debugger's prompt is left")
            elif act is Act.KILL_ALL:
                for child in self._children:
                    child.kill()
            elif act is Act.FINISH:
                self._finished.set()
            else:
                for child in self._of(generation):
                    self._command(child, act)
        if model.state is State.STOPPING:
            self._stock.drop()
            self._see_whether_empty()

    def _command(self, child: Child, act: Act) -> None:
        if act is Act.ADMIT:
            child.channel.send({"type": "serve"})
        elif act is Act.RETIRE:
            self._retire(child)
        elif act is Act.KILL:
            child.kill()

    def _of(self, generation: int) -> list[Child]:
        return [child for child in self._children if child.generation == generation]

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _start(self, generation: int, *, is_cold: bool = False) -> None:
        self._burst.loaded_at = self._burst.loaded_at or perf_counter()
        try:
            child = self._stock.take(is_cold=is_cold)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            # Clients hold all descriptors: those of the page are being let go.
            self._loop.call_later(_NO_ROOM_SECONDS, self._start_again, generation, is_cold)
            return
        child.generation = generation
        self._is_beside_others = any(one.generation != generation for one in self._children)
        self._children.add(child)
        numbers = [sock.fileno() for sock in self._launch.sockets]
        variables = self._launch.variables()
        go = {"type": "go", "job": self._launch.job, "variables": variables}
        child.channel.send({**go, "generation": generation}, numbers)

    def _start_again(self, generation: int, is_cold: bool) -> None:
        if generation == self._model.generation and self._model.state is State.LOADING:
            self._start(generation, is_cold=is_cold)

    def _replace(self, generation: int) -> None:
        before = self._model.retries - 1
        delay = min(_LONGEST_BACK_OFF, _BACK_OFF_SECONDS * 2**before) if before else 0.0
        when = f"in {delay:g} s" if delay else "now"
        self._launch.tell(f"{self._report['summary']}; another one is started {when}")

        def start() -> None:
            if self._model.state is State.SERVING and self._model.generation == generation:
                self._start(generation)

        self._loop.call_later(delay, start)

    def _know(self, child: Child) -> None:
        self._alive.add(child)
        self._loop.add_reader(child.channel.fileno(), self._read, child)
        self._keep(self._wait(child))

    def _retire(self, child: Child) -> None:
        self._relay.remove(child)
        is_stop = self._model.state is State.STOPPING
        grace = self._launch.grace if is_stop else self._launch.reload_grace
        reason = "stop" if is_stop else "reload"
        # A process of old code is ended as it always is: by SIGTERM.
        number = self._ending if is_stop else int(signal.SIGTERM)
        message = {"type": "quit", "grace": grace, "reason": reason, "signal": number}
        child.channel.send(message)
        self._kill_later(child, grace)

    def _kill_later(self, child: Child, seconds: float) -> None:
        if child.timer is not None:
            child.timer.cancel()
        child.timer = self._loop.call_later(seconds + _KILL_SECONDS, child.kill)

    async def _restock(self) -> None:
        """For the next generation: everything imported that does not belong to the user."""
        await asyncio.sleep(_STANDBY_SECONDS)
        if self._model.state is not State.STOPPING:
            self._stock.refill(self._launch.processes)

    # -- pages ---------------------------------------------------------------------------

    def _is_slow(self, generation: int) -> None:
        # Over TLS nobody could be handed on to the app.
        if self._launch.context is None:
            self._events.put_nowait(Event(What.SLOW, generation))

    def _show_error(self) -> None:
        is_known = self._report == self._last_report
        self._last_report = self._report
        if not is_known and self._launch.on_failed(self._report):
            self.stop()
            return
        self._show(ErrorContent(self._report, self._launch.typed, self._launch.find_editor()))
        self._keep(self._watch_places(self._model.generation))

    def _show_loading(self) -> None:
        self._launch.tell("The app is still being loaded; a page says so meanwhile")
        self._show(LoadingContent(self._launch.typed))

    def _show(self, content: Content) -> None:
        launch = self._launch
        page = Page(
            content, launch.context, launch.own_hosts, launch.hosts, is_for_all=launch.is_for_all
        )
        page.open(launch.sockets)
        self._relay.show(page)

    async def _watch_places(self, generation: int) -> None:
        """What is missing may be installed; those places are not watched otherwise."""
        before = stamp_of_places()
        while self._model.state is State.BROKEN and self._model.generation == generation:
            await asyncio.sleep(_PLACES_SECONDS)
            now = stamp_of_places()
            if now == before:
                continue
            while (later := await asyncio.sleep(_PLACES_SECONDS, stamp_of_places())) != now:
                now = later  # it goes on
            self._events.put_nowait(Event(What.FORCED))
            return

    # -- children ------------------------------------------------------------------------

    def _read(self, child: Child) -> None:
        if child.channel.is_closed:
            return
        goes_on = child.channel.read(wait=False)
        for message, descriptors in child.channel.decode():
            if message["type"] == "connection":
                self._relay.pass_on(message, descriptors[0])
            elif not self._stock.hear(child, message):
                self._hear(child, message)
        if not goes_on:
            self._loop.remove_reader(child.channel.fileno())
            child.channel.close()

    def _hear(self, child: Child, message: Message) -> None:
        kind = message["type"]
        if kind == "modules":
            states = [(rank, state) for rank, state in message["states"]]
            self._stock.learn(
                message["modules"], states, message["mine"], may_fork=message["may_fork"]
            )
        elif kind == "misfit":
            self._on_misfit(child, message)
        elif kind == "unhandled" and child.generation == self._model.generation:
            self._load_for([Change(path, "edited") for path in message["paths"]])
        elif kind in ("loaded", "failed", "files"):
            self._keep(self._adopt(child, message))
        elif kind == "prompt":
            self._on_prompt(child, is_open=message["open"])
        elif kind == "ending" and child.timer is not None:
            self._kill_later(child, message["seconds"])  # what the app wants done at the end
        elif kind == "stopped" and child.timer is None:
            self.stop_softly()  # and nobody has told it to
        elif kind == "ready":
            child.is_ready = True
            self._on_ready(child)

    def _on_misfit(self, child: Child, message: Message) -> None:
        """What it has imported ahead is not what the app would have got."""
        # Several processes of one generation find out the same.
        misfit = (child.generation, message["name"])
        is_known, self._misfit = misfit == self._misfit, misfit
        if not is_known:
            self._stock.has_misfit(message["name"], message["kind"])
        if child.generation != self._model.generation:
            return
        if not is_known:
            left = f"{message['name']} is not imported any more"
            changed = f"{message['reason']} was changed before {message['name']}"
            self._launch.tell(f"cold: {left if message['kind'] == 'left' else changed}")
        if message["late"]:
            self._next_is_cold = True  # it serves, with what cannot be had anew in it
        else:
            self._start_cold_instead(child)

    def _start_cold_instead(self, child: Child) -> None:
        """What it has imported ahead stood in the way of the app."""
        child.failed = True  # so its end is no news
        self._children.discard(child)
        # Else its word was on the way when its generation was given up: nobody would end another.
        if self._model.state in (State.LOADING, State.SERVING):
            self._start(child.generation, is_cold=True)

    def _on_prompt(self, child: Child, *, is_open: bool) -> None:
        child.prompts += 1 if is_open else -1
        self._events.put_nowait(Event(What.ASKING if is_open else What.ASKED, child.generation))
        if is_open:
            self._keys.pause()
            child.channel.send({"type": "prompt"})
        else:
            self._keys.resume()

    def _on_ready(self, child: Child) -> None:
        if child.generation != self._model.generation:
            return
        self._relay.add(child)
        mine = self._of(child.generation)
        if self._model.state is State.LOADING and all(one.is_ready for one in mine):
            self._tell_ready(child)
            self._events.put_nowait(Event(What.READY, child.generation))
        self._keep(self._restock())

    async def _adopt(self, child: Child, message: Message) -> None:
        """What was loaded must be what is on the disk; then it may serve, or is to blame."""
        if child.generation != self._model.generation:
            return
        if message["type"] == "failed":
            child.failed = True
            if child.is_warm and not _is_syntax_error(message):
                # Perhaps only because of what was imported ahead: a cold one has the last word.
                self._start_cold_instead(child)
                return
            self._report = message
            self._may_have_collided = self._is_beside_others and may_be_a_collision(message)
        if self._watcher is not None:
            files, roots = message["files"], tuple(message["roots"])
            told = tuple(message["told"])
            changes = await self._watcher.adopt(files, roots, told)
            if changes:
                self._on_changes(changes)
                return
        if message["type"] == "loaded":
            child.about = message
            child.is_loaded = True
            self._on_loaded(child)
        elif message["type"] == "failed":
            # Not before the files are at rest: it may have read one that was half written.
            await asyncio.sleep(self._changed_at + _REST_SECONDS - perf_counter())
            self._events.put_nowait(Event(What.FAILED, child.generation))

    def _on_loaded(self, child: Child) -> None:
        if self._model.state is State.SERVING:
            child.channel.send({"type": "serve"})  # in the place of one that has died
        elif all(one.is_loaded for one in self._of(child.generation)):
            self._events.put_nowait(Event(What.LOADED, child.generation))

    def _tell_ready(self, child: Child) -> None:
        elapsed = (perf_counter() - self._burst.loaded_at) * 1000
        if not self._has_served:
            self._has_served = True
            self._launch.on_ready(child.about)
            self._keys.start()
        else:
            self._launch.tell(f"{describe(self._reasons.values())} took {elapsed:.0f} ms")
        self._reasons.clear()

    async def _wait(self, child: Child) -> None:
        status = await child.wait()
        self._alive.discard(child)
        self._read(child)  # what it has said last
        self._stock.forget(child)
        if child.timer is not None:
            child.timer.cancel()
        for _ in range(child.prompts):
            self._keys.resume()
        self._relay.remove(child)
        if child in self._children:
            self._children.remove(child)
            if not child.failed and child.generation == self._model.generation:
                self._report = {"summary": f"The app's process {fate(status)}", "advice": ""}
                self._events.put_nowait(Event(What.ENDED, child.generation))
        self._see_whether_empty()

    def _see_whether_empty(self) -> None:
        if self._children:
            return
        self._events.put_nowait(Event(What.EMPTY))
        if self._may_have_collided and self._model.state is State.BROKEN:
            # Such as a port of the app's own: now it is free.
            self._may_have_collided = False
            self._events.put_nowait(Event(What.FORCED))


def _is_syntax_error(report: Message) -> bool:
    """Whether it is of the user's file, whatever was imported before; or of what was typed."""
    last = str(report.get("traceback") or "").rstrip().rpartition("\n")[2]
    kinds = ("SyntaxError", "IndentationError", "TabError")
    return bool(report.get("is_usage")) or last.startswith(kinds)
