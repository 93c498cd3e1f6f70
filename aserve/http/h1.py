"""One HTTP/1.1 connection, seen from the server, without I/O (RFC 9110, RFC 9112).

`receive_data` turns bytes into events and `send` events into bytes. One request is open at a
time: what a pipelining client sends ahead stays in the buffer until `next_cycle`, so answers
cannot leave out of order (RFC 9112 section 9.3.2).

Not safe for use from several threads; aserve calls it on the loop thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..config import Limits
from ..errors import LocalProtocolError, RemoteProtocolError
from ..events import END_OF_MESSAGE, Data, EndOfMessage, Event, Request, Response
from .body import BodyReader, ChunkedReader, LengthReader, check_size
from .head import parse_head
from .response import Framing, choose_framing, render
from .scan import END_OF_HEAD, HeadScanner, check_start
from .state import Receiving, Sending, move_receiving, move_sending

__all__ = ["CONTINUE", "H1Connection"]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

# A body that is not worth the copy behind its head: memory for both together would have to be got
# from the system, page by page.
_LARGE: Final = 16_384

# How much of a broken head is worth showing.
_SHOWN: Final = 256


class H1Connection:
    """The protocol state of one connection.

    Args:
        limits: Bounds on request line, head and chunk overhead.
        date: Returns the current Date line, with its CRLF; called once per response.
    """

    __slots__ = (
        "_buffer",
        "_close_announced",
        "_continue_due",
        "_date",
        "_fast_size",
        "_framing",
        "_left_to_send",
        "_limits",
        "_reader",
        "_scanner",
        "eof",
        "failed_head",
        "failure",
        "keep_alive",
        "receiving",
        "request",
        "sending",
    )

    def __init__(self, limits: Limits, date: Callable[[], bytes]) -> None:
        self._limits = limits
        self._date = date
        self._scanner = HeadScanner(limits)
        self._fast_size = self._scanner.always_fits
        self._buffer = bytearray()
        self._reader: BodyReader | None = None
        self._continue_due = False
        self._close_announced = False
        self._framing = Framing.NONE
        self._left_to_send = 0
        self.receiving = Receiving.HEAD
        self.sending = Sending.IDLE
        self.request: Request | None = None
        # What the client broke: answer with its `status_hint` if `sending` allows, then close.
        self.failure: RemoteProtocolError | None = None
        self.failed_head = b""  # the start of a head that could not be parsed, for the log
        self.eof = False  # the client finished sending; requests may still wait in the buffer
        # Whether the connection outlives the current response; final once its head was sent.
        self.keep_alive = True

    # -- receiving ---------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        """Bytes received that no event has taken yet: the next requests of a pipeline."""
        return len(self._buffer)

    @property
    def buffered_data(self) -> bytes:
        """Those bytes; they stay."""
        return bytes(self._buffer)

    @property
    def is_unused(self) -> bool:
        """Whether nothing was asked yet, as far as can be told: the last answer had no body."""
        return self.request is None and not self._buffer and self._framing is Framing.NONE

    @property
    def unread(self) -> int | None:
        """Bytes of the request body still to come; 0 at its end, None when nobody knows."""
        if self.receiving is Receiving.BODY and self._reader is not None:
            return self._reader.remaining
        return 0

    @property
    def is_holding_back(self) -> bool:
        """Whether the client waits for `100 Continue` with its body."""
        return self._continue_due

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes from the client.

        Returns:
            The events that they complete; `Data` as it comes, never held back. When the
            client broke HTTP, `failure` is set behind the last good event.
        """
        if self.receiving is Receiving.HEAD and not self._buffer:
            # The common case: one read brought one head. It saves the copies of the buffer.
            end = data.find(END_OF_HEAD, 0, self._fast_size) + 4
            if end >= 4:
                try:
                    head = data if end == len(data) else data[:end]
                    request = parse_head(head, self._limits.limit_request_fields)
                    self._begin(request)
                except RemoteProtocolError:
                    pass  # an empty line in front is legal (section 2.2): the long way decides
                else:
                    if end < len(data):
                        return self._behind_head(request, data[end:])
                    return [request] if request.has_body else [request, END_OF_MESSAGE]
        elif self.receiving is Receiving.BODY and not self._buffer:
            reader = self._reader
            if isinstance(reader, LengthReader) and reader.take(len(data)):
                # The other common case: nothing but body. It saves two copies of it.
                self._continue_due = False
                if not reader.complete:
                    return [Data(data)]
                self.receiving = move_receiving(self.receiving, "end of body")
                return [Data(data), END_OF_MESSAGE]
        elif self.receiving in (Receiving.FAILED, Receiving.CLOSED):
            return []
        self._buffer += data
        return self._parse()

    def _behind_head(self, request: Request, data: bytes) -> list[Event]:
        """The events of a head, and of what came with it."""
        if not request.has_body:
            self._buffer += data
            return [request, END_OF_MESSAGE]
        return [request, *self.receive_data(data)]

    def received_elsewhere(self, size: int) -> bool:
        """So many bytes of a body with Content-Length were read past this object.

        Returns:
            Whether the request is complete.

        Raises:
            LocalProtocolError: They are too many, or no such body is being read.
        """
        reader = self._reader
        if self._buffer or not (isinstance(reader, LengthReader) and reader.take(size)):
            raise LocalProtocolError("bytes that are not of this body")
        self._continue_due = False
        if reader.complete:
            self.receiving = move_receiving(self.receiving, "end of body")
        return reader.complete

    def receive_eof(self) -> bool:
        """The client finished sending. Requests that it sent ahead still come out of `next_cycle`.

        Returns:
            Whether it left in the middle of a request.
        """
        self.eof = True
        if self.receiving is Receiving.COMPLETE and self._buffer:
            return False
        cut = self.receiving is Receiving.BODY
        cut |= self.receiving is Receiving.HEAD and bool(self._buffer)
        self.receiving = move_receiving(self.receiving, "end of stream")
        return cut

    def give_up(self, failure: RemoteProtocolError) -> None:
        """The rest of the request has not come in time: it counts as broken, by this failure.

        Raises:
            LocalProtocolError: Nothing more was to come.
        """
        if self.receiving is Receiving.HEAD:
            self.failed_head = bytes(self._buffer[:_SHOWN])
        self._fail(failure)

    def next_cycle(self) -> list[Event]:
        """Start over for the next request, and parse what has come of it already.

        Returns:
            As `receive_data`. When the client has finished sending and nothing whole is left,
            `receiving` is CLOSED, or `failure` is set if it left in the middle of a body.

        Raises:
            LocalProtocolError: The request or its response is not complete, or the
                connection does not outlive it.
        """
        if not self.keep_alive:
            raise LocalProtocolError("this connection ends with the current response")
        receiving = move_receiving(self.receiving, "next cycle")
        self.sending = move_sending(self.sending, "next cycle")
        self.receiving = receiving
        self.request = None
        events = self._parse() if self._buffer else []
        if self.eof:
            self._end_pipeline()
        return events

    def _end_pipeline(self) -> None:
        """The client finished sending long ago: see what that means for the newest request."""
        if self.receiving is Receiving.BODY:
            self._fail(RemoteProtocolError("the connection was closed in the middle of the body"))
        elif self.receiving is Receiving.HEAD or not self._buffer:
            self.receiving = move_receiving(self.receiving, "end of stream")

    def _parse(self) -> list[Event]:
        events: list[Event] = []
        block: bytes | None = None
        try:
            if self.receiving is Receiving.HEAD:
                block = self._scanner.take(self._buffer)
                if block is None:
                    return events
                request = self._parse_block(block)
                self._begin(request)
                events.append(request)
                if not request.has_body:
                    events.append(END_OF_MESSAGE)
            if self.receiving is Receiving.BODY:
                assert self._reader is not None
                self._read_body(self._reader, events)
        except RemoteProtocolError as error:
            if self.receiving is Receiving.HEAD:
                self.failed_head = bytes(block or self._buffer)[:_SHOWN]
            self._fail(error)
        return events

    def _read_body(self, reader: BodyReader, events: list[Event]) -> None:
        pieces: list[bytes] = []
        try:
            reader.read(self._buffer, pieces)
        finally:
            if pieces:
                self._continue_due = False
                # One event for many small chunks: each one takes a lock further on.
                events.append(Data(pieces[0] if len(pieces) == 1 else b"".join(pieces)))
        if reader.complete:
            self.receiving = move_receiving(self.receiving, "end of body")
            events.append(END_OF_MESSAGE)

    def _fail(self, failure: RemoteProtocolError) -> None:
        self.receiving = move_receiving(self.receiving, "protocol error")
        self.failure = failure
        self.keep_alive = False

    def _parse_block(self, block: bytes) -> Request:
        try:
            return parse_head(block, self._limits.limit_request_fields)
        except RemoteProtocolError:
            # If a slower client had been refused before its head was complete, then so is this
            # one: the answer must not depend on how the bytes were cut into packets.
            check_start(block)
            raise

    def _begin(self, request: Request) -> None:
        length = request.content_length
        if length is not None:
            check_size(length, self._limits.limit_body)
        self.request = request
        self.keep_alive = request.keep_alive and not self._close_announced
        self._continue_due = request.expect_continue
        if not request.has_body:
            self.receiving = move_receiving(self.receiving, "request without a body")
        else:
            self.receiving = move_receiving(self.receiving, "request with a body")
            self._reader = (
                ChunkedReader(self._limits.limit_chunk_overhead, self._limits.limit_body)
                if length is None
                else LengthReader(length)
            )
        self.sending = move_sending(self.sending, "request")

    # -- sending -----------------------------------------------------------------------

    def send(self, event: Response | Data | EndOfMessage) -> bytes:
        """Turn an event into bytes for the client.

        Raises:
            LocalProtocolError: The event is out of turn, or the body does not have the
                length that the head announced.
        """
        if isinstance(event, Data):
            return self._send_data(event.data)
        if isinstance(event, Response):
            return self._send_head(event)
        return self._send_end()

    def send_whole(self, response: Response, body: bytes) -> bytes:
        """A response and all of its body at once, as three `send` would give it."""
        return b"".join(self.send_pieces(response, body))

    def send_pieces(self, response: Response, body: bytes) -> tuple[bytes, bytes]:
        """The same in two pieces, the second of which is a large body as it is, or nothing."""
        head = self._send_head(response)
        data = self._send_data(body) if body else b""
        end = self._send_end()
        if len(data) >= _LARGE and not end:
            return head, data
        return b"".join((head, data, end)), b""

    def send_continue(self) -> bytes:
        """`100 Continue`, if the client still waits for it (RFC 9110 section 10.1.1), else nothing.

        Call it when the application first reads; the second call returns nothing.
        """
        if not self._continue_due or self.sending is not Sending.PENDING:
            return b""
        self._continue_due = False
        return CONTINUE

    def sent_elsewhere(self, size: int) -> None:
        """Count bytes of the body that the kernel sent from a file, past this object.

        Raises:
            LocalProtocolError: They do not fit into the response: it has to be broken off.
        """
        if self.sending is not Sending.BODY or self._framing is not Framing.LENGTH:
            raise LocalProtocolError("a file is only sent as a body with Content-Length")
        self._count(size)

    def announce_close(self) -> None:
        """Make the next response head the last one of this connection."""
        self._close_announced = True
        if self.sending in (Sending.IDLE, Sending.PENDING):
            self.keep_alive = False

    def break_off(self) -> None:
        """The response cannot be completed: nothing more may be sent."""
        self.sending = Sending.CLOSED
        self._stop_receiving()

    @property
    def has_body(self) -> bool:
        """Whether the current response has a body on the wire."""
        return self._framing is not Framing.NONE

    @property
    def all_sent(self) -> bool:
        """Whether the client has the whole response, though its end was not sent yet."""
        return (
            self.sending is Sending.BODY
            and self._framing is Framing.LENGTH
            and self._left_to_send == 0
        )

    @property
    def ends_with_close(self) -> bool:
        """Whether only the end of the connection tells the client the end of the body."""
        return self._framing is Framing.CLOSE

    def _send_head(self, response: Response) -> bytes:
        sending = move_sending(self.sending, "response")
        request = self.request
        rendered = render(response)
        self.sending = sending
        if request is None:
            self._stop_receiving()
        framing = self._framing = choose_framing(request, response)
        self._left_to_send = response.content_length or 0
        self.keep_alive = (
            self.keep_alive
            and framing is not Framing.CLOSE
            and response.status_code >= 200
            and b"close" not in rendered.connection
            and self._can_drain()
        )
        parts = [rendered.start]
        if rendered.needs_date:
            parts.append(self._date())
        if framing is Framing.CHUNKED:
            parts.append(b"Transfer-Encoding: chunked\r\n")
        if rendered.connection or not self.keep_alive or _is_http10(request):
            parts.append(self._connection_line(rendered.connection, response.status_code))
        parts.append(b"\r\n")
        return b"".join(parts)

    def _can_drain(self) -> bool:
        """Whether what the app left unread is worth reading (RFC 9112 section 9.3)."""
        if self.receiving is Receiving.BODY:
            # Nobody knows whether a client that waited for 100 still sends the body.
            return not self._continue_due and (self.unread or 0) <= self._limits.drain_body
        return self.receiving is Receiving.COMPLETE

    def _connection_line(self, options: tuple[bytes, ...], status_code: int) -> bytes:
        # The app's options are respected, except where they contradict what will happen.
        kept = [option for option in options if option not in (b"close", b"keep-alive")]
        if status_code >= 200 and not self.keep_alive:
            kept.append(b"close")
        elif _is_http10(self.request) and self.keep_alive:
            kept.append(b"keep-alive")
        return b"Connection: %b\r\n" % b", ".join(kept) if kept else b""

    def _stop_receiving(self) -> None:
        """Nothing that still comes can be answered, so it must not be taken for a request."""
        self.keep_alive = False
        if self.receiving is Receiving.HEAD:
            self.receiving = move_receiving(self.receiving, "last response")

    def _send_data(self, data: bytes) -> bytes:
        if self.sending is not Sending.BODY:
            raise LocalProtocolError(f"data while sending is {self.sending.value}")
        framing = self._framing
        if framing is Framing.LENGTH:
            self._count(len(data))
            return data
        if framing is Framing.CHUNKED:
            # An empty chunk would be the last one (RFC 9112 section 7.1).
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        return b"" if framing is Framing.NONE else data

    def _count(self, size: int) -> None:
        self._left_to_send -= size
        if self._left_to_send < 0:
            raise LocalProtocolError("more bytes than Content-Length")

    def _send_end(self) -> bytes:
        if self._framing is Framing.LENGTH and self._left_to_send:
            raise LocalProtocolError("fewer bytes than Content-Length")
        last = "end of message" if self.keep_alive else "last end of message"
        self.sending = move_sending(self.sending, last)
        return b"0\r\n\r\n" if self._framing is Framing.CHUNKED else b""


def _is_http10(request: Request | None) -> bool:
    return request is not None and request.http_version == "1.0"
