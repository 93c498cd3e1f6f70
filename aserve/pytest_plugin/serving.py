"""The servers behind the fixtures: starting and stopping them, and telling what went wrong."""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Unpack

import pytest

from .seen import Recorder, path_of

if TYPE_CHECKING:
    import ssl

    from ..api import Hooks
    from ..config import ServerOptions
    from ..server import Server
    from ..threads import ServerThread
    from ..types import Environ, WSGIApp

__all__ = ["FAIL_ON_ERROR", "AppServer", "Registry", "ServerFactory"]

# The name of the ini option, of the marker, and of the command line's option.
FAIL_ON_ERROR: Final = "aserve_fail_on_error"

# When a test is over, nobody waits for an answer any more; what only needs a moment gets it.
_GRACE: Final = 1.0


class AppServer:
    """An app that is served while a fixture lives; made by `aserve_server` and its like.

    Attributes:
        url: The first URL, without a slash at its end.
        host: The address in it.
        port: The TCP port.
        requests: What was asked since the running test began, in order.
        errors: The unhandled exceptions of the app since then. `errors.clear()` says that they
            were expected.
    """

    def __init__(self, thread: ServerThread, recorder: Recorder, folder: Callable[[], Path]):
        self._thread = thread
        self._folder = folder
        self._ca_file: Path | None = None
        self.requests = recorder.requests
        self.errors = recorder.errors
        self.url: str = thread.url
        self.port: int = thread.port
        self.host: str = self.url.partition("://")[2].rpartition(":")[0]

    @property
    def server(self) -> Server:
        """The server itself; it runs in a thread and on a loop of its own."""
        return self._thread.server

    @property
    def ca_pem(self) -> str | None:
        """What a client has to trust, in PEM; None without HTTPS."""
        return self.server.ca_pem

    @property
    def ca_file(self) -> str:
        """The same as the path of a file, for `verify=` of requests, and `curl --cacert`.

        Raises:
            AserveError: The server speaks no HTTPS, or was given an `ssl.SSLContext`.
        """
        if self._ca_file is None:
            if self.ca_pem is None:
                from ..errors import AserveError

                raise AserveError("the server has no ca_file; start it with https=True")
            self._ca_file = self._folder() / "ca.pem"
            self._ca_file.write_text(self.ca_pem, "ascii")
        return str(self._ca_file)

    def ssl_context(self) -> ssl.SSLContext:
        """A context for a client that trusts this server, for `verify=` of httpx."""
        return self.server.ssl_context_for_clients()

    def stop(self) -> None:
        """Finish what runs and stop, before the fixture does it. Idempotent; blocks."""
        self._thread.shutdown()

    def __repr__(self) -> str:
        return f"<AppServer {self.url}>"


class ServerFactory(Protocol):
    """What the fixtures are: call it with an app, and it is served until their scope ends."""

    def __call__(
        self,
        app: WSGIApp | str,
        host: str = "localhost",
        port: int = 0,
        *,
        hooks: Hooks | None = None,
        **options: Unpack[ServerOptions],
    ) -> AppServer:
        """Serve `app`; connections are accepted when it returns.

        Args:
            app: The WSGI application, or what `aserve` takes on the command line: `shop:app`.
            host: As in `ServerConfig`.
            port: TCP port; 0, the default, picks a free one, also beside other processes.
            hooks: As in `ServerThread`.
            **options: Any field of `ServerConfig`. `https=True` makes a certificate for this
                server alone, and changes nothing on the machine. `grace` is 1 second.

        Raises:
            ConfigError: An option cannot be used.
            ListenError: The address cannot be bound.
            AppLoadError: `app` is a text and cannot be imported.
        """
        ...


class Registry:
    """The servers of one run of pytest."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.servers: list[AppServer] = []
        self._recorders: dict[Server | None, Recorder] = {}
        self._connected: list[Callable[[], object]] = []

    def begin(self) -> None:
        """A test begins: what was before belongs to others."""
        self.servers = [server for server in self.servers if server.server in self._recorders]
        for server in self.servers:
            server.requests.clear()
            server.errors.clear()

    def start(
        self, app: WSGIApp, place: tuple[str, int], hooks: Hooks | None, options: ServerOptions
    ) -> AppServer:
        """Start a server; the caller stops it by `end`."""
        from ..api import Hooks as AllHooks
        from ..api import make_config
        from ..threads import ServerThread

        make_config(app, *place, options, has_loop=True)  # the recorder could always be called
        recorder = Recorder(app)
        given = hooks or AllHooks()
        hooks = dataclasses.replace(
            given,
            on_error=_both(recorder.on_error, given.on_error),
            on_exchange=_both(recorder.on_exchange, given.on_exchange),
        )
        options.setdefault("grace", _GRACE)
        if options.get("https") and not (options.get("cert") or options.get("ssl")):
            del options["https"]  # the user's development authority is not the tests' business
            options["ssl"] = "adhoc"
        thread = ServerThread(recorder, *place, hooks=hooks, **options).start()
        self._recorders[thread.server] = recorder
        self._connect_frameworks()
        made = AppServer(thread, recorder, self._folder)
        self.servers.append(made)
        return made

    def end(self, servers: list[AppServer], node: pytest.Item | pytest.Collector) -> None:
        """Stop some servers, and fail for what they noticed since the test was asked."""
        for server in reversed(servers):
            server.stop()
            del self._recorders[server.server]
        if not self._recorders:
            while self._connected:
                self._connected.pop()()
        self.fail_on_errors(node, servers)

    def fail_on_errors(
        self, node: pytest.Item | pytest.Collector, servers: list[AppServer] | None = None
    ) -> None:
        """Fail for errors that nobody was told of, if that is wanted."""
        if not _is_strict(node):
            return
        servers = self.servers if servers is None else servers
        errors = [error for server in servers for error in server.errors if not error.is_told]
        for error in errors:
            error.is_told = True
        if errors:
            lines = "".join(f"\n  {error}" for error in errors)
            pytest.fail(f"The app let exceptions out:{lines}", pytrace=False)

    def sections(self) -> Iterator[tuple[str, str]]:
        """What belongs into the report of a failed test."""
        for server in self.servers:
            if server.requests:
                lines = "\n".join(map(str, server.requests))
                yield f"aserve: requests of {server.url}", lines
            for error in server.errors:
                error.is_told = True
                text = "".join(traceback.format_exception(error.exception))
                yield f"aserve: exception of the app in {error.request}", text

    def _folder(self) -> Path:
        factory: pytest.TempPathFactory = self.config._tmp_path_factory  # type: ignore[attr-defined]
        return factory.mktemp("aserve")

    # Frameworks answer 500 by themselves; they tell by a signal what the server never sees.

    def _connect_frameworks(self) -> None:
        if self._connected:
            return
        if (flask := sys.modules.get("flask")) is not None:
            flask.got_request_exception.connect(self._on_flask_error)
            self._connected.append(
                lambda: flask.got_request_exception.disconnect(self._on_flask_error)
            )
        if (signals := sys.modules.get("django.core.signals")) is not None:
            signals.got_request_exception.connect(self._on_django_error)
            self._connected.append(
                lambda: signals.got_request_exception.disconnect(self._on_django_error)
            )

    def _on_flask_error(self, sender: object, exception: BaseException, **_: object) -> None:
        self._note(exception, sys.modules["flask"].request.environ)

    def _on_django_error(self, request: Any = None, **_: object) -> None:
        error = sys.exception()
        if error is not None:
            self._note(error, getattr(request, "META", {}))

    def _note(self, error: BaseException, environ: Environ) -> None:
        recorder = (
            self._recorders.get(environ["aserve.server"]) if "aserve.server" in environ else None
        )
        if recorder is not None:  # else it was a client of the framework's own, without a server
            recorder.note(error, f"{environ['REQUEST_METHOD']} {path_of(environ)}")


def _both(
    ours: Callable[..., object], theirs: Callable[..., object] | None
) -> Callable[..., object]:
    if theirs is None:
        return ours

    def call(*arguments: object) -> None:
        ours(*arguments)
        theirs(*arguments)

    return call


def _is_strict(node: pytest.Item | pytest.Collector) -> bool:
    """Whether errors fail the test: marker before command line before ini."""
    marker = node.get_closest_marker(FAIL_ON_ERROR)
    if marker is not None:
        return bool(marker.args[0]) if marker.args else True
    chosen = node.config.getoption(FAIL_ON_ERROR)
    return bool(node.config.getini(FAIL_ON_ERROR) if chosen is None else chosen)
