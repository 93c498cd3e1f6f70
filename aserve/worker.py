"""A child of the reloader: imports one generation of the app, and serves it on given sockets.

```text
started --> warm --go--> imported --> "loaded" --serve--> "ready" --quit--> drained, ended
                            |
                            +--> "failed" --> ended
```

Before `go` no code of the user runs, so a child can be started ahead; see `aserve.reload.warm`.
After "loaded" it waits to be admitted: a generation that has been superseded in the meantime never
accepts a connection.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import dataclasses
import gc
import hashlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import forks, lifecycle, native
from .app_signals import AppHandlers
from .config import ServerConfig
from .errors import AppLoadError
from .options import DEBUG_PIN_VARIABLE
from .reload import role
from .reload.channel import Channel, Message
from .reload.prompts import Prompts
from .reload.shelf import Shelf
from .reload.source import Sources, installed_modules, is_users, users_modules
from .reload.warm import Recruit
from .sealed import Sealed, hide_known

if TYPE_CHECKING:
    from .api import Hooks
    from .debug import DebugSettings
    from .frameworks.django import Changes
    from .running import InMainThread
    from .types import WSGIApp

__all__ = ["main"]

# They change how Python or its threads work, which does not outlive a fork, or follow each new
# process by themselves.
_NEVER_FORKED: Final = frozenset(("gevent", "eventlet", "ddtrace", "debugpy", "pydevd"))
# How often it is looked for modules that were imported since.
_MODULES_SECONDS: Final = 1.0
# As long as anybody wants to wait for the app's own handler of the signal that ends it.
_HANDLER_SECONDS: Final = 2.0


def _leave_it_to_the_supervisor(*_: object) -> None:
    # Ctrl-C is for the supervisor, which then says what to do. A function, because what is ignored
    # would be ignored by the app's own child processes, too.
    pass


def main() -> None:
    """The whole life of a child; does not return."""
    signal.signal(signal.SIGINT, _leave_it_to_the_supervisor)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    channel = Channel.of_this_process()
    if channel is None:
        sys.exit("aserve.worker is started by the reloader only")
    gc.disable()
    # The supervisor has read it, and hands it on.
    os.environ.pop(DEBUG_PIN_VARIABLE, None)
    # Needed in any case, so loaded before anybody waits for it.
    from . import loader, running  # noqa: F401
    from .console import Console  # noqa: F401

    shelf = Shelf()
    shelf.install()
    recruit = Recruit(channel, shelf)
    go, descriptors = recruit.wait()
    # Of a fork it is another one.
    job = {**go.pop("job"), "generation": go["generation"]}
    status = _Child(recruit.channel, job, descriptors, shelf).run()
    forks.leave(status)


class _Child:
    """What a child knows.

    Args:
        channel: To the supervisor.
        job: What to load: "app" and "directory", or "script"; and "config", "adhoc_pem",
            "debug_secret", "debug_pin", "debug_root", "typed", "generation".
        descriptors: Of the listening sockets.
        shelf: What was imported ahead.
    """

    def __init__(
        self, channel: Channel, job: Message, descriptors: Iterable[int], shelf: Shelf
    ) -> None:
        self._channel = channel
        self._shelf = shelf
        # Nothing that can be found is left of them: frames of the app lead here, too.
        self._secret = Sealed(job.pop("debug_secret"))
        self._pin = Sealed(job["debug_pin"]).hide_everywhere() if job["debug_pin"] else None
        del job["debug_pin"]
        self._job = job
        self._sockets = [socket.socket(fileno=number) for number in descriptors]
        forks.close_in_forks(self)
        self._sources = Sources()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_quit: Callable[[float], object] | None = None
        self._adopt: Callable[[socket.socket, bytes], object]
        self._admitted = native.Latch()
        self._ready = native.Latch()
        self._reported = 0
        self._is_reload = False
        self._signal = int(signal.SIGTERM)  # that has ended the server
        self._changes: Changes | None = None
        self._told: list[str] = []
        self._prompts = Prompts(
            lambda is_open: channel.send({"type": "prompt", "open": is_open}),
        )

    def run(self) -> int:
        """Returns the exit status."""
        self._shelf.on_misfit = self._be_misfit
        # Unknown to `threading`: only where gevent finds no thread but the main one, it mends the
        # locks that are held while it patches, and that of the import under way is one of them.
        _thread.start_new_thread(self._listen, ())
        self._sources.install()
        self._prompts.install()
        self._shelf.start()
        try:
            if (script := self._job.get("script")) is not None:
                return self._run_script(script)
            loaded = _load(self._job)
        except AppLoadError as error:
            return self._fail(_report(error, self._job["debug_root"] or str(Path.cwd())))
        except Exception as error:
            summary = f"{type(error).__name__}: {error}"
            return self._fail({"summary": summary, "traceback": traceback.format_exc()})
        self._tell_loaded(loaded)
        config = ServerConfig(**self._job["config"])
        self._serve(loaded.app, config, self._hooks_of(config))
        return 0

    def _be_misfit(self, name: str, kind: str, reason: str) -> None:
        """What was imported ahead is not what the app would get: a cold process has to."""
        is_late = self._shelf.is_late
        told = {"name": name, "kind": kind, "reason": reason, "late": is_late}
        self._channel.send({"type": "misfit", **told})
        if not is_late:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(0)

    def _run_script(self, script: Message) -> int:
        """Run the supervisor's program again, until it calls `run` for its app."""
        from .loader.explain import import_failed
        from .reload.script import rerun, shown_name

        role.serve_here = self._serve_for_script
        shown = shown_name(script)
        try:
            rerun(script, self._sources)
        except SystemExit as error:
            if self._ready.is_set:
                return error.code if isinstance(error.code, int) else 0
            raise import_failed(shown, error) from error
        except BaseException as error:
            if self._ready.is_set:
                raise
            raise import_failed(shown, error) from error
        if not self._ready.is_set:
            return self._fail({"summary": f"{shown} has ended without serving an app."})
        return 0

    def _serve_for_script(self, app: Any, config: ServerConfig, hooks: Hooks | None) -> None:
        """In the place of `run`; returns at the end, unless the app is to be loaded anew."""
        from .loader import LoadedApp
        from .loader.shape import kind_of
        from .reload.script import shown_name

        self._tell_loaded(LoadedApp(app, shown_name(self._job["script"]), "", kind_of(app)))
        ours = self._hooks_of(config)
        if hooks is not None:
            # All that the program asks for; only what this process alone knows is put into it.
            ours = dataclasses.replace(
                hooks,
                sockets=ours.sockets,
                on_exchange=hooks.on_exchange or ours.on_exchange,
                debug=_merged(hooks.debug, ours.debug),
            )
        self._serve(app, config, ours)
        if self._is_reload:
            # What stands behind `run` is for the end, and this is none.
            raise SystemExit(0)

    def _listen(self) -> None:
        """The thread that hears the supervisor; its end is the end."""
        for message, descriptors in self._channel.receive():
            kind = message["type"]
            if kind == "serve":
                self._admitted.set()
            elif kind == "prompt":
                self._prompts.grant()
            elif kind == "edited":
                self._on_edited(message["paths"])
            elif kind == "connection":  # behind our "ready"
                assert self._loop is not None
                sock = socket.socket(fileno=descriptors[0])
                data = message["data"].encode("latin-1")
                try:
                    self._loop.call_soon_threadsafe(self._adopt, sock, data)
                except RuntimeError:  # it has ended by itself
                    self._hand_over(sock, data)
            elif kind == "quit":
                if not self._admitted.is_set:
                    os._exit(0)
                # It is about to accept, or does already: somebody may have been let in.
                self._ready.wait()
                assert self._on_quit is not None
                self._is_reload = message["reason"] == "reload"
                self._signal = message["signal"]
                self._on_quit(float(message["grace"]))
        os._exit(1)

    def _fail(self, report: dict[str, Any]) -> int:
        self._send_modules("failed", **report)
        return 3

    def _tell_loaded(self, loaded: Any) -> None:
        if left := self._shelf.left():
            self._be_misfit(left, "left", "its import")
        self._shelf.is_late = True
        self._ask_framework()
        self._send_modules("loaded", name=loaded.name, location=loaded.location, kind=loaded.kind)
        self._admitted.wait()

    def _send_modules(self, type_: str, **more: Any) -> None:
        self._reported = len(sys.modules)
        files = self._sources.files()
        message = {"type": type_, "files": files, "roots": _roots_of(files), "told": self._told}
        self._channel.send({**message, **more})

    def _ask_framework(self) -> None:
        """Which files the app wants to be told of, instead of being loaded anew."""
        if "django" in sys.modules:
            from .frameworks.django import Changes

            self._changes = Changes.of_this_process()
            self._told = self._changes.patterns() if self._changes is not None else []

    def _on_edited(self, paths: list[str]) -> None:
        left = [path for path in paths if self._changes is None or not self._changes.tell(path)]
        if left:
            self._channel.send({"type": "unhandled", "paths": left})

    def _send_modules_ahead(self) -> None:
        """What the next process is to import before it is needed: nothing of the user's."""
        # The debugger is loaded by the first exception, and somebody waits for that.
        ours = ["aserve.debug.debugger"] if self._job["config"]["debug"] else []
        # What patches the standard library wants to be the first.
        installed = [] if native.is_patched() else self._shelf.order(installed_modules())
        modules = [*ours, *installed]
        states = self._shelf.report(modules)
        self._channel.send(
            {
                "type": "modules",
                "modules": modules,
                "states": states,
                "mine": users_modules(),
                "may_fork": _NEVER_FORKED.isdisjoint(sys.modules),
            }
        )

    def _hooks_of(self, config: ServerConfig) -> Hooks:
        from .api import Hooks
        from .console import Console, configure_logging

        native.restore()  # the app is imported, and the engine's own locks are made from here on
        configure_logging(config.log_level)
        on_exchange = Console(config).on_exchange if config.access_log else None
        return Hooks(sockets=self._sockets, on_exchange=on_exchange, debug=self._debug(config))

    def _debug(self, config: ServerConfig) -> DebugSettings | None:
        if not config.debug:
            return None
        from .debug import DebugSettings

        # All processes of a generation are one to the page, and no two runs are.
        mark = f"{self._secret.reveal()}{self._job['generation']}".encode()
        generation = hashlib.sha256(mark).hexdigest()[:16]
        return DebugSettings(
            pin=self._pin,
            root=self._job["debug_root"],
            run_secret=self._secret,
            generation=generation,
            typed=self._job["typed"],
        )

    def _serve(self, app: Any, config: ServerConfig, hooks: Hooks) -> None:
        from .api import open_configured
        from .running import run_on_loop

        tls = None
        if pem := self._job["adhoc_pem"]:
            from .net.credentials import load_adhoc

            tls = load_adhoc(pem.encode(), config.client_ca)
        ours = dataclasses.replace(hooks, on_ready=lambda server: self._is_ready(server, hooks))
        handlers = AppHandlers()
        if signal.SIGINT in handlers:
            signal.signal(signal.SIGINT, _leave_it_to_the_supervisor)

        async def serve(app: WSGIApp, in_main_thread: InMainThread) -> None:
            loop = asyncio.get_running_loop()
            in_main_thread(lambda: self._expect_terminate(config.grace))
            async with open_configured(app, config, ours, tls) as server:
                watch = loop.create_task(self._watch_modules())
                await server.wait_closed()
                watch.cancel()
                # The app may have asked for the end by itself; the supervisor need not know which.
                self._channel.send({"type": "stopped"})

        run_on_loop(serve, app)
        seconds = lifecycle.longest() + (_HANDLER_SECONDS if self._signal in handlers else 0)
        self._channel.send({"type": "ending", "seconds": seconds})
        lifecycle.run_callbacks(is_reload=self._is_reload)
        with contextlib.suppress(SystemExit):  # the process ends in any case
            handlers.call(self._signal)

    def _is_ready(self, server: Any, hooks: Hooks) -> None:
        self._on_quit = lambda grace: server.shutdown(
            grace, hand_over=self._hand_over if self._is_reload else None
        )
        self._adopt = server.adopt
        self._loop = server.loop
        self._ready.set()
        gc.freeze()
        gc.enable()
        if hooks.on_ready is not None:
            hooks.on_ready(server)
        self._channel.send({"type": "ready"})
        self._send_modules_ahead()

    def close_in_fork(self) -> None:
        """See `aserve.forks.Holder`."""
        for sock in self._sockets:
            sock.close()
        self._channel.close_in_fork()

    def _hand_over(self, sock: socket.socket, data: bytes) -> None:
        """A connection at rest, for the next generation."""
        with sock:
            message = {"type": "connection", "data": data.decode("latin-1")}
            self._channel.send(message, [sock.fileno()])

    def _expect_terminate(self, grace: float) -> None:
        def stop(*_: object) -> None:
            if self._on_quit is not None:
                self._on_quit(grace)

        signal.signal(signal.SIGTERM, stop)
        forks.forget_signals((signal.SIGINT, signal.SIGTERM))

    async def _watch_modules(self) -> None:
        """Modules that a view imports are to be watched, too."""
        while True:
            await asyncio.sleep(_MODULES_SECONDS)
            if len(sys.modules) != self._reported:
                self._send_modules("files")
                self._send_modules_ahead()


def _roots_of(files: Iterable[str]) -> list[str]:
    """Where the user's modules are imported from."""
    places = dict.fromkeys(map(os.path.abspath, sys.path))
    return [
        place
        for place in places
        if any(path.startswith(os.path.join(place, "")) for path in files)
        and is_users(os.path.join(place, "module.py"))
    ]


def _merged(given: DebugSettings | None, ours: DebugSettings | None) -> DebugSettings | None:
    """What the program says of its debugger, with what only the run knows."""
    if given is None or ours is None:
        return ours
    return dataclasses.replace(
        given,
        pin=given.pin or ours.pin,
        root=given.root or ours.root,
        run_secret=ours.run_secret,
        generation=ours.generation,
        typed=ours.typed,
    )


def _load(job: Message) -> Any:
    from .loader import load_app

    return load_app(
        job["app"], directory=Path(job["directory"]), is_debugged=bool(job["config"]["debug"])
    )


def _report(error: AppLoadError, root: str) -> dict[str, Any]:
    report: dict[str, Any] = {
        "summary": str(error),
        "advice": error.advice,
        "traceback": error.user_traceback,
        "is_usage": not error.user_traceback,  # no code of the app is to blame
    }
    if error.user_traceback and error.__cause__ is not None:
        from .debug.load_page import view_failure

        # The page is made without it, where something of the app cannot even be looked at.
        with contextlib.suppress(Exception):
            report["page"] = view_failure(error.__cause__, root)
    hidden: dict[str, Any] = _without_secrets(report)
    return hidden


def _without_secrets(told: Any) -> Any:
    if isinstance(told, str):
        return hide_known(told)
    if isinstance(told, dict):
        return {name: _without_secrets(value) for name, value in told.items()}
    return [_without_secrets(one) for one in told] if isinstance(told, list | tuple) else told


if __name__ == "__main__":
    main()
