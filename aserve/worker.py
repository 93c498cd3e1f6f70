"""A child of the reloader: imports one generation of the app, and serves it on given sockets.

```text
started --> preloaded --go--> imported --> "loaded" --serve--> "ready" --quit--> drained, ended
                                  |
                                  +--> "failed" --> ended
```

Before `go` no code of the user runs, so a child can be started ahead: it has imported the engine
and the installed modules that the last generation used. After "loaded" it waits to be admitted: a
generation that has been superseded in the meantime never accepts a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from .config import ServerConfig
from .errors import AppLoadError
from .reload.channel import Channel, Message
from .reload.source import Sources, installed_modules, is_users

__all__ = ["main"]

# How long the app's own exit functions may take, once everything is answered.
_EXIT_SECONDS: Final = 1.0
# How often it is looked for modules that were imported since.
_MODULES_SECONDS: Final = 1.0


def main() -> None:
    """The whole life of a child; does not return."""
    # Ctrl-C is for the supervisor, which then says what to do. A function, because what is ignored
    # would be ignored by the app's own child processes, too.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    channel = Channel.of_this_process()
    if channel is None:
        sys.exit("aserve.worker is started by the reloader only")
    gc.disable()
    status = _Child(channel).run()
    _leave(status)


def _leave(status: int) -> None:
    """End, whatever threads of the app still do; its exit functions have a moment."""
    import atexit

    exits = threading.Thread(target=atexit._run_exitfuncs, daemon=True)
    exits.start()
    exits.join(_EXIT_SECONDS)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


class _Child:
    """What a child knows.

    Args:
        channel: To the supervisor.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._sources = Sources()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_quit: Callable[[float], object] | None = None
        self._adopt: Callable[[socket.socket, bytes], object]
        self._admitted = threading.Event()
        self._ready = threading.Event()
        self._reported = 0

    def run(self) -> int:
        """Returns the exit status."""
        # Needed in any case, so loaded before anybody waits for it.
        from . import api, loader  # noqa: F401
        from .console import Console  # noqa: F401

        go, descriptors = self._wait_for_go()
        sockets = [socket.socket(fileno=number) for number in descriptors]
        threading.Thread(target=self._listen, name="aserve-channel", daemon=True).start()
        job = go["job"]
        self._sources.install()
        try:
            loaded = _load(job)
        except AppLoadError as error:
            return self._fail(_report(error))
        except Exception as error:
            summary = f"{type(error).__name__}: {error}"
            return self._fail({"summary": summary, "traceback": traceback.format_exc()})
        self._send_modules("loaded", name=loaded.name, location=loaded.location, kind=loaded.kind)
        self._admitted.wait()
        return self._serve(loaded.app, job, sockets)

    def _wait_for_go(self) -> tuple[Message, list[int]]:
        for message, descriptors in self._channel.receive():
            for name, value in message.get("variables", {}).items():
                os.environ.setdefault(name, value)
            if message["type"] == "go":
                return message, descriptors
            if message["type"] == "preload":
                preload(message["modules"])
            elif message["type"] == "quit":
                break
        os._exit(0)

    def _listen(self) -> None:
        """The thread that hears the supervisor; its end is the end."""
        for message, descriptors in self._channel.receive():
            if message["type"] == "serve":
                self._admitted.set()
            elif message["type"] == "connection":  # behind our "ready"
                assert self._loop is not None
                sock = socket.socket(fileno=descriptors[0])
                data = message["data"].encode("latin-1")
                self._loop.call_soon_threadsafe(self._adopt, sock, data)
            elif message["type"] == "quit":
                if not self._admitted.is_set():
                    os._exit(0)
                # It is about to accept, or does already: somebody may have been let in.
                self._ready.wait()
                assert self._on_quit is not None
                self._on_quit(float(message["grace"]))
        os._exit(1)

    def _fail(self, report: dict[str, Any]) -> int:
        self._send_modules("failed", **report)
        return 3

    def _send_modules(self, type_: str, **more: Any) -> None:
        self._reported = len(sys.modules)
        files = self._sources.files()
        self._channel.send(
            {
                "type": type_,
                "files": files,
                "roots": _roots_of(files),
                **more,
            }
        )

    def _serve(self, app: Any, job: Message, sockets: list[socket.socket]) -> int:
        from .api import Hooks, _loop_factory, open_configured
        from .console import Console, configure_logging

        config = ServerConfig(**job["config"])
        configure_logging(config.log_level)
        console = Console(config)
        tls = None
        if pem := job["adhoc_pem"]:
            from .net.credentials import load_adhoc

            tls = load_adhoc(pem.encode(), config.client_ca)

        def on_ready(server: Any) -> None:
            self._on_quit = lambda grace: server.shutdown(grace, hand_over=self._hand_over)
            self._adopt = server.adopt
            self._loop = server.loop
            self._ready.set()
            gc.freeze()
            gc.enable()
            self._channel.send({"type": "ready"})
            self._channel.send({"type": "modules", "modules": installed_modules()})

        async def serve() -> None:
            loop = asyncio.get_running_loop()
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(signal.SIGTERM, self._on_terminate, config.grace)
            async with open_configured(app, config, hooks, tls) as server:
                watch = loop.create_task(self._watch_modules())
                await server.wait_closed()
                watch.cancel()
                # The app may have asked for the end by itself; the supervisor need not know which.
                self._channel.send({"type": "stopped"})

        hooks = Hooks(
            sockets=sockets,
            on_ready=on_ready,
            on_exchange=console.on_exchange if config.access_log else None,
        )
        with asyncio.Runner(loop_factory=_loop_factory(config.loop)) as runner:
            runner.run(serve())
        return 0

    def _hand_over(self, sock: socket.socket, data: bytes) -> None:
        """A connection at rest, for the next generation."""
        with sock:
            message = {"type": "connection", "data": data.decode("latin-1")}
            self._channel.send(message, [sock.fileno()])

    def _on_terminate(self, grace: float) -> None:
        if self._on_quit is not None:
            self._on_quit(grace)

    async def _watch_modules(self) -> None:
        """Modules that a view imports are to be watched, too."""
        while True:
            await asyncio.sleep(_MODULES_SECONDS)
            if len(sys.modules) != self._reported:
                self._send_modules("files")
                self._channel.send({"type": "modules", "modules": installed_modules()})


def _roots_of(files: Iterable[str]) -> list[str]:
    """Where the user's modules are imported from."""
    places = dict.fromkeys(map(os.path.abspath, sys.path))
    return [
        place
        for place in places
        if any(path.startswith(os.path.join(place, "")) for path in files)
        and is_users(os.path.join(place, "module.py"))
    ]


def _load(job: Message) -> Any:
    from .loader import load_app

    return load_app(job["app"], directory=Path(job["directory"]))


def _report(error: AppLoadError) -> dict[str, Any]:
    return {
        "summary": str(error),
        "advice": error.advice,
        "traceback": error.user_traceback,
    }


class _Refusal:
    """Refuses to find modules of the user while installed ones are imported ahead."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.origin and spec.has_location and is_users(spec.origin):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
                return


def preload(names: list[str]) -> None:
    """Import installed modules ahead, and nothing of the user's."""
    refusal: Any = _Refusal()
    sys.meta_path.insert(0, refusal)
    try:
        for name in names:
            if name not in sys.modules:
                # What cannot be imported alone is imported by the app, or not at all.
                with contextlib.suppress(BaseException):
                    importlib.import_module(name)
    finally:
        sys.meta_path.remove(refusal)


if __name__ == "__main__":
    main()
