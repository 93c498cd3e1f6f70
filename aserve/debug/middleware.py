"""The door of the debugger: WSGI middleware that costs a healthy request a microsecond.

Everything else of `aserve.debug` is imported when the first exception comes, so neither the start
nor a reload waits for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .. import native
from ..errors import ClientDisconnected, ConfigError, RemoteProtocolError, WSGIError
from ..forks import end_if_fork
from ..options import DEBUG_PIN_VARIABLE, debug_pin_value
from ..safe_log import get_logger
from ..sealed import Sealed
from .settings import PREFIX, DebugSettings

if TYPE_CHECKING:
    from ..types import Environ, StartResponse, WSGIApp
    from .debugger import Debugger

__all__ = ["DebuggedApplication"]

_log = get_logger("aserve")

_Contexts: TypeAlias = list[AbstractContextManager[object]]

# What an app may hand in to have it entered again in the console (Flask does).
_KEEP_CONTEXT: Final = "werkzeug.debug.preserve_context"

# No failures of the app: the client has left, or broke the protocol while its body was read.
_NOT_OURS: Final = (ClientDisconnected, RemoteProtocolError)


class DebuggedApplication:
    """Shows exceptions that an app lets out, as a page that can be thought in. Any thread.

    Works with every WSGI server. What it promises about safety stands in the explanation "The
    debugger". A response that has begun cannot become a page: the exception goes on to the server,
    and a line of the log says where it can be seen.

    Args:
        app: The application.
        evalex: Offer a console in each frame, behind the PIN.
        console_path: Where to offer a console of its own, e.g. `/console`; None for nowhere.
        settings: Everything else.

    Raises:
        ConfigError: The PIN cannot be used.
    """

    def __init__(
        self,
        app: WSGIApp,
        evalex: bool = False,
        *,
        console_path: str | None = None,
        settings: DebugSettings | None = None,
    ) -> None:
        self.app = app
        self._evalex = evalex
        self._console_path = console_path
        settings = settings or DebugSettings()
        if settings.root is None:
            # Now, for an app may go elsewhere until something fails.
            with contextlib.suppress(OSError):
                settings = dataclasses.replace(settings, root=settings.directory)
        self._settings = settings
        is_off = _is_off(settings)
        if evalex and is_off and settings.run_secret is None:
            # Who has handed in a secret has said so by itself, and one time for all processes.
            _log.warning("the console of the debugger asks for no PIN: ASERVE_DEBUG_PIN is off")
        self._own = (PREFIX, console_path) if console_path and evalex else (PREFIX,)
        self._made: Debugger | None = None
        self._making = native.threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO", "").startswith(self._own) and (
            (answer := self._debugger().answer(environ, start_response)) is not None
        ):
            return answer
        contexts: _Contexts = []
        environ[_KEEP_CONTEXT] = contexts.append
        try:
            result = self.app(environ, start_response)
            if result is None:
                raise WSGIError("the application returned None, not an iterable of bytes")
        except _NOT_OURS:
            raise
        except Exception as error:
            return self.fail(error, environ, start_response, contexts)
        kind = type(result)
        if kind is list or kind is tuple or kind is environ.get("wsgi.file_wrapper"):
            contexts.clear()  # see `_Watched.close`
            return result  # no code of the app runs any more
        return _Watched(result, self, environ, start_response, contexts)

    def fail(
        self,
        error: Exception,
        environ: Environ,
        start_response: StartResponse,
        contexts: _Contexts,
    ) -> Iterable[bytes]:
        """What to send instead; raises `error` if it is too late for that."""
        end_if_fork(error)  # which has nobody to show a page to
        try:
            return self._debugger().fail(error, environ, start_response, contexts)
        except Exception as failure:
            if failure is not error:
                _log.exception("the debugger itself failed; this is a defect of aserve")
        raise error  # out here, where it keeps its own cause and gets no other context

    def _debugger(self) -> Debugger:
        with self._making:
            if self._made is None:
                from .debugger import Debugger

                self._made = Debugger(self._evalex, self._console_path, self._settings)
            return self._made


def _is_off(settings: DebugSettings) -> bool:
    """Whether no PIN is asked for.

    The variable stays where it is until something fails: a reloader of another server, in whose
    parent this object is made, too, hands its environment on.

    Raises:
        ConfigError: The PIN cannot be used.
    """
    given = settings.pin or os.environ.get(DEBUG_PIN_VARIABLE)
    if not given:
        return False
    pin = Sealed.of(given).reveal()
    if (fix := debug_pin_value(pin)) is not None:
        raise ConfigError("debug_pin", "...", fix)
    return pin == "off"


class _Watched:
    """An iterable of the app, whose exceptions become a page."""

    __slots__ = ("_contexts", "_environ", "_inner", "_owner", "_start_response")

    def __init__(
        self,
        inner: Iterable[bytes],
        owner: DebuggedApplication,
        environ: Environ,
        start_response: StartResponse,
        contexts: _Contexts,
    ) -> None:
        self._inner = inner
        self._owner = owner
        self._environ = environ
        self._start_response = start_response
        self._contexts = contexts

    def __iter__(self) -> Iterator[bytes]:
        try:
            # `yield from` would close the inner one, too, when this one is given up: for the server
            # that is one time too many.
            for piece in self._inner:  # noqa: UP028
                yield piece
        except _NOT_OURS:
            raise
        except Exception as error:
            yield from self._owner.fail(error, self._environ, self._start_response, self._contexts)

    def close(self) -> None:
        """Closes what the app has returned."""
        try:
            close: Any = getattr(self._inner, "close", None)
            if close is not None:
                close()
        finally:
            # They lead to the environ, which leads to them: only the garbage collector could free
            # a request then.
            self._contexts.clear()
