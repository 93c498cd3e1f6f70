"""The exceptions of aserve.

Every error that a caller may want to catch derives from `AserveError`::

    AserveError
    ├── ConfigError (ValueError)          a bad option; names the option, the value and the fix
    ├── AppLoadError (ImportError)        the app was not found, or failed to import
    ├── ListenError (OSError)             an address could not be bound; `.advice` says what to do
    ├── ProtocolError                     HTTP was broken by …
    │   ├── RemoteProtocolError           … the peer; `.status_hint` is the answer it deserves
    │   └── LocalProtocolError            … us: a bug in aserve or a bad header from the app
    ├── ClientDisconnected (ConnectionError)   the client left while the app was reading or writing
    ├── WSGIError                         the app broke PEP 3333
    ├── DrainTimeout (TimeoutError)       the grace ended while requests were still running
    ├── CallbackError                     an authorization server answered with `error=`
    └── CallbackTimeout (TimeoutError)    no callback came in time; names the URL

Foreign exceptions are mapped at one boundary each: `OSError` of bind in `aserve.net.listeners`,
`httptools` errors in `aserve.http.head`, import errors of the app in `aserve.loader`.
"""

from __future__ import annotations

__all__ = [
    "AppLoadError",
    "AserveError",
    "CallbackError",
    "CallbackTimeout",
    "ClientDisconnected",
    "ConfigError",
    "DrainTimeout",
    "ListenError",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
    "WSGIError",
]


class AserveError(Exception):
    """Base of every exception that aserve raises on purpose."""


class ConfigError(AserveError, ValueError):
    """An option has a value that cannot be used.

    Args:
        option: The option as the user wrote it, e.g. ``--port`` or ``ASERVE_PORT``.
        value: The value that was given.
        fix: What to write instead, as the end of the sentence.
    """

    def __init__(self, option: str, value: object, fix: str) -> None:
        super().__init__(f"{option}: {value!r} {fix}")
        self.option = option
        self.value = value
        self.fix = fix


class AppLoadError(AserveError, ImportError):
    """The application could not be loaded.

    Args:
        message: One line: what was looked for and what was found.
        advice: What to do about it; further lines.
        user_traceback: The formatted traceback of the app's own import error, reduced to
            the user's frames, or the empty string when the app was not found at all.
    """

    def __init__(self, message: str, *, advice: str = "", user_traceback: str = "") -> None:
        super().__init__(message)
        self.advice = advice
        self.user_traceback = user_traceback


class ListenError(AserveError, OSError):
    """An address could not be bound.

    Args:
        errno: The operating system's error number, or None when it had no say.
        message: One line that names the address.
        advice: The ways out, e.g. the process that holds the port and `--port 0`.
    """

    def __init__(self, errno: int | None, message: str, *, advice: str = "") -> None:
        super().__init__(errno, message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message}. {self.advice}" if self.advice else self.message


class ProtocolError(AserveError):
    """HTTP was broken; abstract, see the two subclasses."""


class RemoteProtocolError(ProtocolError):
    """The peer broke HTTP.

    Args:
        message: What was wrong, safe to send back.
        status_hint: The status code of the answer it deserves (RFC 9110 section 15.5).
    """

    def __init__(self, message: str, *, status_hint: int = 400) -> None:
        super().__init__(message)
        self.status_hint = status_hint


class LocalProtocolError(ProtocolError):
    """This side broke HTTP: an event in the wrong state, or a header that cannot be sent."""


class ClientDisconnected(AserveError, ConnectionError):
    """The client left while the application was still reading or writing."""


class WSGIError(AserveError):
    """The application broke PEP 3333; the message says which rule."""


class DrainTimeout(AserveError, TimeoutError):
    """The grace ended while requests were still running; they were cut."""


class CallbackError(AserveError):
    """An authorization server refused (RFC 6749 section 4.1.2.1).

    Args:
        error: The code, e.g. `access_denied`.
        description: What it says to the developer; may be empty.
        uri: A page about it; may be empty.
    """

    def __init__(self, error: str, description: str = "", uri: str = "") -> None:
        # All of them came from outside, and will be seen on a terminal.
        parts = [part for part in (error, description) if part]
        text = ": ".join(parts) + (f" (see {uri})" if uri else "")
        super().__init__("".join(char if char.isprintable() else " " for char in text))
        self.error = error
        self.description = description
        self.uri = uri


class CallbackTimeout(AserveError, TimeoutError):
    """No callback came in time; the message names the URL that waited for it."""


def sentence(text: str) -> str:
    """A message with a full stop, unless it ends with a mark of its own."""
    return text if text.endswith((".", "?", "!", ".)", "?)")) else f"{text}."
