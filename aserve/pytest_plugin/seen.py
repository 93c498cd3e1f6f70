"""What a server saw while a test ran: the requests, and the exceptions of the app."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from ..events import ErrorRecord, ExchangeRecord
    from ..types import Environ, StartResponse, WSGIApp

__all__ = ["AppError", "Recorder", "SeenRequest", "path_of"]


@dataclass(slots=True)
class SeenRequest:
    """A request that a server saw.

    Args:
        method: Its method; empty for a request that could not be parsed.
        path: Its path, decoded, without the query.
        query: What stands behind the `?`, as it came.
        status: The status of the answer; 0 as long as there is none.
    """

    method: str
    path: str
    query: str = ""
    status: int = 0

    def __str__(self) -> str:
        target = f"{self.path}?{self.query}" if self.query else self.path
        return f"{self.method} {target} {self.status or '(no answer yet)'}".lstrip()


@dataclass(slots=True)
class AppError:
    """An exception that an app let out, or that its framework found unhandled.

    Args:
        exception: The exception; a `WSGIError` when the app broke PEP 3333.
        request: Method and path of the request.
    """

    exception: BaseException
    request: str
    is_told: bool = field(default=False, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{type(self.exception).__name__}: {self.exception} (in {self.request})"


class Recorder:
    """An app that notes what it is asked, and hands it on unchanged.

    What the app is asked is noted before it runs, and the status before it is sent: so a test that
    has its answer finds the request here. The records of the server come later.
    """

    def __init__(self, app: WSGIApp) -> None:
        self._app = app
        self._worker = threading.local()  # a worker has one request at a time
        self.requests: list[SeenRequest] = []
        self.errors: list[AppError] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        query = environ.get("QUERY_STRING", "")
        seen = SeenRequest(environ["REQUEST_METHOD"], path_of(environ), query)
        self._worker.seen = seen
        self.requests.append(seen)

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            write = start_response(status, headers, exc_info)
            seen.status = int(status[:3])
            return write

        return self._app(environ, start)

    def note(self, error: BaseException, request: str) -> None:
        """Keep an error, once. Worker thread."""
        if not any(known.exception is error for known in self.errors):
            self.errors.append(AppError(error, request))

    def on_error(self, record: ErrorRecord) -> None:
        """See `Hooks`."""
        seen: SeenRequest | None = getattr(self._worker, "seen", None)
        if seen is not None and not record.is_cut:
            seen.status = 500  # whatever it has called `start_response` with
        request = record.request
        self.note(record.error, f"{request.method} {unquote(request.path, errors='replace')}")

    def on_exchange(self, record: ExchangeRecord) -> None:
        """See `Hooks`. What could not be parsed never gets to the app."""
        if record.request is None:
            line = record.raw_head.split(b"\r\n")[0][:200]
            self.requests.append(
                SeenRequest("", line.decode(errors="backslashreplace"), status=record.status_code)
            )


def path_of(environ: Environ) -> str:
    """The path of a request as people read it."""
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return path.encode("latin-1").decode(errors="replace")  # PEP 3333: bytes in disguise
