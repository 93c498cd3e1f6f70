"""A sink that records, and applications to run against it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from aserve.errors import ClientDisconnected
from aserve.events import Response
from aserve.wsgi.response import ResponseWriter

App = Callable[[Any, Any], Any]


class Sink:
    """Records what it is given.

    Args:
        files: Whether it can send files.
        leaves_at: The call, counted from 0, at which the client has left.
    """

    def __init__(self, *, files: bool = False, leaves_at: int = -1) -> None:
        self.calls: list[Any] = []
        self.responses: list[Response] = []
        self._files = files
        self._leaves_at = leaves_at

    def whole(self, response: Response, body: bytes) -> None:
        self.responses.append(response)
        self.calls.append(("whole", body))

    def head(self, response: Response) -> None:
        self.responses.append(response)
        self.calls.append("head")

    def data(self, data: bytes) -> None:
        if len(self.calls) == self._leaves_at:
            raise ClientDisconnected("gone")
        if data:  # an empty piece only asks whether the client is still there
            self.calls.append(data)

    def file(self, descriptor: int, offset: int, size: int) -> int | None:
        if not self._files:
            return None
        self.calls.append(("file", offset, size))
        return size

    def end(self) -> None:
        self.calls.append("end")

    @property
    def status(self) -> int:
        (response,) = self.responses
        return response.status_code

    @property
    def length(self) -> int | None:
        (response,) = self.responses
        return response.content_length


def run(app: App, sink: Sink | None = None, *, head: bool = False) -> Sink:
    """Run an application; what it raises comes through."""
    sink = sink or Sink()
    ResponseWriter(sink, is_head=head).run(app, {})
    return sink


class Body:
    """An iterable that counts its `close`, and yields or raises what it is given."""

    def __init__(self, *items: Any) -> None:
        self.items = items
        self.taken = 0
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self.items:
            self.taken += 1
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        self.closed += 1


def answering(
    body: Any, *headers: tuple[str, str], status: str = "200 OK", write: Iterable[bytes] = ()
) -> App:
    """An app that answers with `body`, after it has written `write`."""

    def app(environ: Any, start_response: Any) -> Any:
        writes = start_response(status, list(headers))
        for piece in write:
            writes(piece)
        return body

    return app


LENGTH_3 = ("Content-Length", "3")
