"""One request and its response: where the loop and a worker thread meet.

Threads. The loop thread makes the exchange, gathers the body, and takes the outbox's items to
the transport. One worker thread calls `run`, which calls the application and, through it,
the `Sink` methods `whole`, `head`, `data`, `file` and `end`. A whole answer it may send by itself:
see `Answers.send_now`.

No lock: all goes through the `Outbox`, the `StreamBody`, or messages; `closed` stays True.

The worker may block, in `data` and `file`, until the client has read enough or left.
"""

from __future__ import annotations

import contextlib
import functools
import io
import socket
from time import perf_counter, time
from typing import Final

from .. import native
from ..errors import ClientDisconnected, RemoteProtocolError
from ..events import END_OF_MESSAGE, Request, Response
from ..forks import end_if_fork
from ..harmless import harmless_line
from ..http.response import simple_response
from ..safe_log import get_logger
from ..types import Environ, InputStream
from ..wsgi.body import StreamBody
from ..wsgi.environ import build_environ
from ..wsgi.response import ResponseWriter
from . import filesend
from .buffers import KeptBody
from .carrier import Carrier
from .failure import report
from .gate import Gate
from .outbox import ABORT, FileTurn, Item, Outbox, Whole, begins_event_stream
from .tunnel import OfferedSocket

__all__ = ["Exchange"]

_log: Final = get_logger("aserve.error")


class Exchange:
    """See the module's docstring.

    Args:
        connection: Where the request came from.
        request: Its head.
    """

    __slots__ = (
        "_is_lending",
        "_is_over",
        "_is_reported",
        "_parts",
        "body_size",
        "client_left",
        "closed",
        "connection",
        "dispatched",
        "ended",
        "ended_clock",
        "gate",
        "has_begun",
        "is_event_stream",
        "is_taken",
        "is_waiting",
        "kept",
        "outbox",
        "request",
        "sent",
        "started_at",
        "started_clock",
        "status_code",
        "stream",
    )

    def __init__(self, connection: Carrier[Exchange], request: Request) -> None:
        self.connection = connection
        self.request = request
        self.started_at = time()
        self.started_clock = perf_counter()
        # Request body.
        self._parts: list[bytes] | None = None
        self.kept: KeptBody | None = None
        self.body_size = 0
        self.stream: StreamBody | None = None
        self.gate: Gate | None = None  # to leave at the end
        self.dispatched = False
        self.is_waiting = False  # the worker, for the client
        self._is_lending = self._is_reported = False
        # Response.
        self.outbox = Outbox(connection.config.send_buffer)
        self.has_begun = False  # to answer
        self.status_code = 0
        self.sent = 0  # bytes of the response body
        self.ended = False  # the last byte of the response went to the transport,
        self.ended_clock = 0.0  # when a worker has sent it
        self.is_event_stream = False  # the answer never ends by itself
        self._is_over = False  # the server has ended it, because it stops
        self.is_taken = False  # by the app, for an upgrade; nothing is answered any more
        self.client_left = False  # it finished sending: it left, or only closed its half
        self.closed = False  # nothing that is still made can be sent

    def __str__(self) -> str:
        request = self.request
        # For logs; an app may say that its queries belong in none: codes, tokens.
        is_secret = getattr(self.connection.app, "has_secret_queries", False)
        target = request.path if is_secret else request.target
        return f"{request.method} {harmless_line(target.decode('latin-1'))}"

    # -- loop thread: the request's body -------------------------------------------------

    def collect(self, data: bytes) -> int:
        """Keep a piece of the body and return how much there is now."""
        if self._parts is None:
            self._parts = []
        if data:  # an empty piece would be the end of the stream
            self._parts.append(data)
        self.body_size += len(data)
        return self.body_size

    def start_stream(self, high_water: int) -> StreamBody:
        """From here on the body is a pipe; what was collected goes into it first."""
        connection = self.connection
        stream = self.stream = StreamBody(
            high_water,
            on_first_read=lambda: connection.post(connection.send_continue),
            on_resume=lambda: connection.post(connection.resume_body),
            waiter=self,
            threads=native.threading,
        )
        for part in self._parts or ():
            stream.feed(part)
        self._parts = None
        return stream

    # -- loop thread: the response -------------------------------------------------------

    def end_stream(self) -> None:
        """The server stops: the answer ends behind what was made of it so far. Loop thread.

        What the app makes next raises in its worker, which then closes the iterable. A worker that
        adds something at this moment adds it behind the end, where nobody looks.
        """
        self._is_over = self.client_left = True
        self._put(END_OF_MESSAGE)

    def close(self) -> None:
        """Nothing more can be sent or read; whoever waits is told. Idempotent."""
        self.closed = self.client_left = True
        if self.stream is not None:
            self.stream.fail(ClientDisconnected("the client left before it sent the whole body"))
        self.outbox.close()

    # -- worker thread -------------------------------------------------------------------

    def run(self) -> None:
        """Run the application. Every way that it can end is handled here; never raises."""
        try:
            if not self.closed:  # else the client left while the request was waiting for a thread
                self._run()
        finally:
            if self.kept is not None:
                self.kept.release()
            if self.gate is not None:
                self.gate.leave()

    def _run(self) -> None:
        connection = self.connection
        writer = ResponseWriter(self, is_head=self.request.method == "HEAD")
        try:
            environ = build_environ(self.request, connection.environ, self._input())
            if self._parts is not None and "CONTENT_LENGTH" not in environ:
                # It came in chunks, and is complete: frameworks that know no
                # `wsgi.input_terminated` (Django, Bottle, Falcon) read as much as this says.
                environ["CONTENT_LENGTH"] = str(self.body_size)
            environ["aserve.client_disconnected"] = self.has_client_left
            if "HTTP_UPGRADE" in environ:
                self._run_with_socket(writer, environ)
            else:
                writer.run(connection.app, environ)
        except ClientDisconnected as error:
            end_if_fork(error)
            self.client_left = True
            self._put(ABORT)
        except BaseException as error:
            end_if_fork(error)
            self._fail(error, writer)

    def _run_with_socket(self, writer: ResponseWriter, environ: Environ) -> None:
        """The app may answer, or take the connection for itself; see `aserve.server.tunnel`."""
        ours, theirs = native.socket.socketpair()
        offered = OfferedSocket(theirs.detach(), functools.partial(self._take, ours))
        environ["werkzeug.socket"] = offered
        try:
            writer.run(self.connection.app, environ)
        finally:
            if self.is_taken:
                # Not closed: a thread of the app's own may still write to it.
                environ.pop("werkzeug.socket", None)
                del offered
                self.connection.post(self.connection.end_tunnel)
            else:
                offered.close()
                ours.close()

    def _take(self, ours: socket.socket) -> None:
        self.is_taken = True
        self.connection.post(functools.partial(self.connection.open_tunnel, self, ours))

    def drop(self) -> None:
        """See `Job`. Its connection is cut."""

    def has_client_left(self) -> bool:
        """Whether the client closed its side: `environ["aserve.client_disconnected"]`."""
        return self.client_left

    def _input(self) -> InputStream:
        if self.stream is not None:
            return self.stream
        if self.kept is not None:
            return io.BufferedReader(self.kept)
        return io.BytesIO(b"".join(self._parts) if self._parts else b"")

    def _fail(self, error: BaseException, writer: ResponseWriter) -> None:
        """The application raised, or broke PEP 3333: log it, answer 500 or cut."""
        if self.is_taken and isinstance(error, ConnectionError | StopIteration):
            return  # how frameworks say that there is nothing to answer any more
        try:
            report(self, error, is_cut=writer.started)
        except Exception:
            # A handler of the app's, or an exception that cannot be formatted. The client waits.
            with contextlib.suppress(Exception):
                _log.exception("%s: the application failed, and so did its report", self)
        if writer.started:
            self._put(ABORT)
        elif isinstance(error, RemoteProtocolError):
            self._put(Whole(*simple_response(error.status_hint, f"{error}.")))
        else:
            text = "The application failed; its log says why."
            self._put(Whole(*simple_response(500, text)))

    def waits(self) -> None:
        """See `Waiter`: others may have the thread meanwhile."""
        self.is_waiting = True
        if not self._is_lending:
            self._is_lending = self.connection.lend_thread()

    def goes_on(self) -> None:
        """See `Waiter`."""
        self.is_waiting = False
        if self._is_lending:
            self._is_lending = False
            # At once: before this thread takes its next job, there must be room for it.
            self.connection.return_thread()

    def is_stuck(self) -> bool:
        """See `Job`. In a stream or for a client, a long time is none too long."""
        if self.has_begun or self.is_waiting or self.is_taken or self._is_reported:
            return False
        self._is_reported = True
        return True

    def is_over(self) -> bool:
        """See `Job`."""
        return self._is_over

    def _put(self, item: Item, size: int = 0) -> None:
        if not self.is_taken and self.outbox.put(item, size):
            self.connection.post(functools.partial(self.connection.flush, self))

    # The Sink of aserve.wsgi.response:

    def whole(self, response: Response, body: bytes) -> None:
        """Send a complete response, or leave it to the loop."""
        end_if_fork()
        self.has_begun = True
        if not (self.is_taken or self.connection.send_now(self, response, body)):
            self._put(Whole(response, body), len(body))

    def head(self, response: Response) -> None:
        """Queue the head."""
        end_if_fork()
        self.has_begun = True
        self.is_event_stream = begins_event_stream(response)
        self.outbox.put_head(response)

    def data(self, data: bytes) -> None:
        """Queue a piece of the body; blocks while the client is too far behind.

        Raises:
            ClientDisconnected: It has left.
        """
        end_if_fork()
        if self.closed or self._is_over:
            raise ClientDisconnected("the client left before it got the whole response")
        if data and not self.is_taken:
            self._put(data, len(data))
            self.outbox.wait_for_space(self)

    def file(self, descriptor: int, offset: int, size: int) -> int | None:
        """Send a part of a file; see `Sink.file`. The thread is lent while the client is slow.

        Raises:
            ClientDisconnected: The client has left.
        """
        if self.is_taken:
            return None
        if self.connection.can_send_files:
            return self._send_file(descriptor, offset, size)
        return self._copy_file(descriptor, offset, size) if filesend.CAN_READ else None

    def _send_file(self, descriptor: int, offset: int, size: int) -> int:
        turn = FileTurn()
        self._put(turn)
        if not self.closed:  # else `close` may have missed the turn; it is never granted
            turn.granted.wait()
        if turn.descriptor < 0:
            raise ClientDisconnected("the client left before it got the file")
        try:
            # It closes the descriptor, also when the connection was cut since it was granted.
            sent = filesend.send(
                turn.descriptor, descriptor, offset, size,
                is_cut=lambda: self.closed,
                on_wait=self.waits,
                patience=self.connection.config.send_timeout,
            )  # fmt: skip
        finally:
            self.goes_on()
        self._put(sent)
        return sent

    def _copy_file(self, descriptor: int, offset: int, size: int) -> int:
        """By the outbox, as any other body: the loop encrypts it."""
        sent = 0
        for piece in filesend.read(descriptor, offset, size):
            sent += len(piece)
            self._put(piece, len(piece))
            self.outbox.wait_for_space(self)
            if self.closed:
                raise ClientDisconnected("the client left while a file was sent")
        return sent

    def end(self) -> None:
        """The response is complete."""
        self._put(END_OF_MESSAGE)
