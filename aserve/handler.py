"""`request_handler`: what people override in Werkzeug's `WSGIRequestHandler`, honoured.

The server does not work through such objects. One is made for a request only when its class
overrides something, and filled with what its methods look at.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterable
from email.message import Message
from typing import Any, Final

from .errors import ClientDisconnected
from .events import ExchangeRecord
from .harmless import harmless_line
from .safe_log import get_logger
from .types import Environ, StartResponse, WSGIApp

__all__ = ["WSGIRequestHandler", "adapt"]

_log = get_logger("aserve")
_access_log = logging.getLogger("aserve.access")

_LOGGING: Final = ("log_request", "log_error", "log_message", "log", "address_string")
_HONOURED: Final = frozenset(
    (*_LOGGING, "make_environ", "connection_dropped", "server_version", "protocol_version")
)
# What a class has of its own without meaning anything by it.
_HARMLESS: Final = frozenset(("sys_version", "default_request_version", "error_message_format"))


class WSGIRequestHandler:
    """What a request looks like to overridden methods; subclass it for `request_handler`.

    The methods below are the ones that are called. Each may be overridden, and call its parent.

    Attributes:
        environ: The environ of the request.
        client_address: Host and port of the client, as `socket` has them.
        command: The method, e.g. "GET".
        path: The target as it came, with its query.
        requestline: The first line of the request.
        request_version: E.g. "HTTP/1.1".
        headers: The header fields, an `email.message.Message`.
        server: The server; see `make_server`.
    """

    server_version = "aserve"
    protocol_version = "HTTP/1.1"

    environ: Environ
    client_address: tuple[str, int]
    command: str
    path: str
    requestline: str
    request_version: str
    headers: Any
    server: Any

    def make_environ(self) -> Environ:
        """The environ for the app. In the thread that calls it."""
        return self.environ

    def address_string(self) -> str:
        """The client, as the log names it."""
        return self.client_address[0]

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log a request that is answered; `size` is the body's, in bytes."""
        self.log("info", '"%s" %s %s', harmless_line(self.requestline), code, size)

    def log_error(self, format: str, *args: object) -> None:
        """Log an error."""
        self.log("error", format, *args)

    def log_message(self, format: str, *args: object) -> None:
        """Log something else."""
        self.log("info", format, *args)

    def log(self, type: str, message: str, *args: object) -> None:
        """Where all the others end; `type` is the level's name."""
        level = logging.getLevelName(type.upper())
        text = message % args if args else message
        number = level if isinstance(level, int) else logging.INFO
        _access_log.log(number, "%s %s", self.address_string(), text)

    def connection_dropped(
        self, error: BaseException, environ: dict[str, Any] | None = None
    ) -> None:
        """The client has left before it had its answer."""


class _Server:
    """What Werkzeug's own methods look at in `self.server`."""

    multithread = True
    multiprocess = False
    passthrough_errors = False

    def __init__(self, environ: Environ) -> None:
        port = str(environ.get("SERVER_PORT", ""))
        self.host = str(environ.get("SERVER_NAME", ""))
        self.port = int(port) if port.isdecimal() else 0
        self.server_address = (self.host, self.port)
        self.ssl_context = True if environ.get("wsgi.url_scheme") == "https" else None


def adapt(
    app: WSGIApp, request_handler: type[Any] | None, *, passthrough_errors: bool
) -> tuple[WSGIApp, Callable[[ExchangeRecord], object] | None]:
    """The app with what Werkzeug's arguments ask for, and an observer of exchanges."""
    observe = None
    if passthrough_errors:
        app = _PassThrough(app)
    if request_handler is not None:
        app, observe = _honour(app, request_handler)
    return app, observe


class _PassThrough:
    """An app whose exceptions are shown to the thread's hook, which debuggers watch."""

    def __init__(self, app: WSGIApp) -> None:
        self._app = app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
        try:
            return self._app(environ, start_response)
        except Exception:
            kind, error, trace = sys.exc_info()
            assert kind is not None
            hook = threading.ExceptHookArgs((kind, error, trace, threading.current_thread()))
            threading.excepthook(hook)
            raise


def _honour(
    app: WSGIApp, handler: type[Any]
) -> tuple[WSGIApp, Callable[[ExchangeRecord], object] | None]:
    """An app, and an observer of exchanges, that call what a handler class overrides.

    Args:
        app: The application.
        handler: A subclass of our `WSGIRequestHandler`, or of Werkzeug's.

    Returns:
        The application to serve, and what writes the access log; None for the usual one.

    Raises:
        TypeError: It is neither.
    """
    base = _base_of(handler)
    changed = _changes(handler, base)
    for name in sorted(changed - _HONOURED - _HARMLESS):
        _log.warning("%s.%s is not called by aserve", handler.__name__, name)
    adapted = app
    is_closing = "protocol_version" in changed and handler.protocol_version == "HTTP/1.0"
    if is_closing or "make_environ" in changed or "server_version" in changed:
        adapted = _Adapted(app, handler, base, changed, is_closing=is_closing)
    if changed.isdisjoint((*_LOGGING, "connection_dropped")):
        return adapted, None
    return adapted, _Observer(handler, is_logging=not changed.isdisjoint(_LOGGING))


def _base_of(handler: type[Any]) -> type[Any]:
    foreign = sys.modules.get("werkzeug.serving")
    bases: list[type[Any]] = [WSGIRequestHandler]
    if foreign is not None:
        bases.append(foreign.WSGIRequestHandler)
    for base in bases:
        if isinstance(handler, type) and issubclass(handler, base):
            return base
    raise TypeError("request_handler must be a subclass of WSGIRequestHandler")


def _changes(handler: type[Any], base: type[Any]) -> set[str]:
    """Names of `base` that the classes above it define anew."""
    known = set(dir(base)) - set(dir(object))
    below = handler.__mro__[: handler.__mro__.index(base)]
    return {name for cls in below for name in vars(cls) if name in known and name[:2] != "__"}


def _fill(handler: type[Any], environ: Environ) -> Any:
    """An object of this class that was never run."""
    filled: Any = object.__new__(handler)
    filled.environ = environ
    port = environ.get("REMOTE_PORT", 0)
    filled.client_address = (environ.get("REMOTE_ADDR", "<local>"), int(port or 0))
    filled.command = environ["REQUEST_METHOD"]
    filled.path = environ.get("REQUEST_URI", "/")
    filled.request_version = environ["SERVER_PROTOCOL"]
    filled.requestline = f"{filled.command} {filled.path} {filled.request_version}"
    filled.headers = Message()
    for key, value in environ.items():
        name = key.removeprefix("HTTP_") if key.startswith("HTTP_") else key
        if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            filled.headers[name.replace("_", "-").title()] = value
    filled.server = _Server(environ)
    filled.rfile = environ.get("wsgi.input")
    filled.connection = None
    filled.close_connection = False
    return filled


class _Adapted:
    """The app with the environ of a handler class, its Server field, and its way with connections.

    `is_closing` stands for its HTTP/1.0. What is spoken is 1.1 all the same: a server names the
    version that it conforms to (RFC 9110 section 2.5), and an answer may be the last one in both.
    """

    def __init__(
        self,
        app: WSGIApp,
        handler: type[Any],
        base: type[Any],
        changed: set[str],
        *,
        is_closing: bool,
    ) -> None:
        self._app = app
        self._handler = handler
        self._base = base
        self._makes_environ = "make_environ" in changed
        self._has_version = "server_version" in changed
        self._is_closing = is_closing

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        filled = _fill(self._handler, environ)
        if self._makes_environ:
            environ = self._environ_of(filled, environ)
        more = [("Connection", "close")] if self._is_closing else []
        server = [("Server", str(filled.server_version))] if self._has_version else []
        if not more and not server:
            return self._app(environ, start_response)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            is_named = any(name.lower() == "server" for name, _ in headers)
            added = more if is_named else more + server
            return start_response(status, [*headers, *added], exc_info)

        return self._app(environ, start)

    def _environ_of(self, filled: Any, environ: Environ) -> Environ:
        """Ours, with what the handler's own method adds, changes or leaves away."""
        made: Environ = filled.make_environ()
        if self._base is WSGIRequestHandler:
            return made
        usual = self._base.make_environ(filled)
        changed = {
            key: value
            for key, value in made.items()
            if key not in usual or (usual[key] is not value and usual[key] != value)
        }
        gone = usual.keys() - made.keys()
        kept = {key: value for key, value in environ.items() if key not in gone}
        return {**kept, **changed}


class _Observer:
    """Calls a handler's methods for finished exchanges, in one thread of their own."""

    def __init__(self, handler: type[Any], *, is_logging: bool) -> None:
        self._handler = handler
        self._is_logging = is_logging
        self._records: queue.SimpleQueue[ExchangeRecord]
        self._thread: threading.Thread | None = None

    def __call__(self, record: ExchangeRecord) -> None:
        """On the loop thread, which what people override may not hold up."""
        if self._thread is None or not self._thread.is_alive():  # it was, before a fork
            self._records = queue.SimpleQueue()
            self._thread = threading.Thread(target=self._run, name="aserve-handler", daemon=True)
            self._thread.start()
        self._records.put(record)

    def _run(self) -> None:
        while True:
            record = self._records.get()
            try:
                self._tell(record)
            except Exception:
                _log.exception("%s failed", self._handler.__qualname__)

    def _tell(self, record: ExchangeRecord) -> None:
        request = record.request
        if request is None:
            return
        filled = _fill(
            self._handler,
            {
                "REQUEST_METHOD": request.method,
                "REQUEST_URI": request.target.decode("latin-1"),
                "SERVER_PROTOCOL": f"HTTP/{request.http_version}",
                "REMOTE_ADDR": record.client,
            },
        )
        if record.client_left:
            filled.connection_dropped(ClientDisconnected("the client left"), None)
        if self._is_logging:
            filled.log_request(record.status_code, record.body_sent)
