"""What tests of the protocol share: building requests, both ends of a connection in memory, and
a real server with a real socket in front of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import h11
import pytest

from aserve import Server, open_server
from aserve.api import Hooks
from aserve.config import Limits
from aserve.events import Data, EndOfMessage, Event, ExchangeRecord, Response
from aserve.http import H1Connection
from aserve.types import WSGIApp

__all__ = [
    "DATE",
    "PATIENCE",
    "ConnPair",
    "Headers",
    "MemoryTransport",
    "ServerInThread",
    "chunked",
    "connect",
    "no_time_passes",
    "raw_exchange",
    "read_to_end",
    "request_bytes",
    "response",
]

DATE: Final = b"Date: Sat, 21 Nov 2026 08:00:00 GMT\r\n"

# Seconds. Nothing waits this long unless it is broken; then the test fails with a traceback.
PATIENCE: Final = 20.0

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]


def request_bytes(
    method: bytes = b"GET",
    target: bytes = b"/",
    headers: Headers = (),
    body: bytes = b"",
    *,
    version: bytes = b"1.1",
) -> bytes:
    """A request as bytes.

    Args:
        method: The method.
        target: The request target.
        headers: Fields behind `Host`; without a `Host` among them, `Host: test` is added.
        body: Bytes behind the head. Adds Content-Length unless `headers` say how it ends.
        version: "1.1" or "1.0".
    """
    fields = list(headers)
    names = {name.lower() for name, _ in fields}
    if b"host" not in names:
        fields.insert(0, (b"Host", b"test"))
    if body and not names & {b"content-length", b"transfer-encoding"}:
        fields.append((b"Content-Length", b"%d" % len(body)))
    lines = [b"%b %b HTTP/%b\r\n" % (method, target, version)]
    lines += [b"%b: %b\r\n" % field for field in fields]
    return b"".join((*lines, b"\r\n", body))


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """A body in the chunked coding; `trailers` are whole lines (RFC 9112 section 7.1)."""
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return b"".join((*chunks, b"0\r\n", trailers, b"\r\n"))


def response(status_code: int = 200, *headers: tuple[bytes, bytes]) -> Response:
    """A response event; `content_length` follows from the headers."""
    lengths = [int(value) for name, value in headers if name.lower() == b"content-length"]
    return Response(status_code, b"Reason", headers, lengths[0] if lengths else None)


@contextlib.contextmanager
def no_time_passes() -> Iterator[None]:
    """While the block runs, nothing is due on a loop of asyncio: what ends has waited for no timer.

    A server that would wait a moment, or its grace, waits for ever; and no machine is too slow.
    """
    now = monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.BaseEventLoop, "time", lambda _: now)
        yield


class ConnPair:
    """A server's `H1Connection` and h11's client, wired together in memory.

    Whatever the server sends, h11 has to accept. Requests go through `feed` as bytes, so that a
    test can send what h11 would not.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.server = H1Connection(limits or Limits(), lambda: DATE)
        self.client = h11.Connection(h11.CLIENT)

    def feed(self, data: bytes) -> list[Event]:
        """Bytes from the client; the events that they complete."""
        return self.server.receive_data(data)

    def expect(self, method: str = "GET", headers: Headers = ()) -> None:
        """Tell h11 which request it has to take the next response for."""
        fields = [(b"host", b"test"), *headers]
        self.client.send(h11.Request(method=method, target="/", headers=fields))
        self.client.send(h11.EndOfMessage())

    def send(self, *events: Response | Data | EndOfMessage) -> list[h11.Event]:
        """Have the server send; what h11 makes of it."""
        for event in events:
            self.receive(self.server.send(event))
        return self.read()

    def send_whole(self, head: Response, body: bytes = b"") -> list[h11.Event]:
        """`H1Connection.send_whole`; what h11 makes of it."""
        self.receive(self.server.send_whole(head, body))
        return self.read()

    def receive(self, data: bytes) -> None:
        """Bytes from the server; none at all is not the end of the connection."""
        if data:
            self.client.receive_data(data)

    def read(self) -> list[h11.Event]:
        """h11's events until it wants more."""
        events: list[h11.Event] = []
        while True:
            event = self.client.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return events
            events.append(event)  # type: ignore[arg-type]
            if isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                return events


class MemoryTransport(asyncio.Transport):
    """The server's side of a TCP connection, without a kernel.

    It keeps to asyncio's contract with its protocol, and fails on whatever asyncio would not
    take: bytes behind an end of file. `deliver` is the client reading, `turn` the next turn of
    the loop, in which `connection_lost` comes.
    """

    def __init__(self, protocol: asyncio.Protocol, extra: dict[str, Any] | None = None) -> None:
        super().__init__(
            {"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 5), **(extra or {})}
        )
        self.protocol = protocol
        self.received = bytearray()  # what the client has read
        self.reading = True
        self.eof_written = False
        self.aborted = False
        self.lost = False
        self._waiting = bytearray()
        self._closing = False
        self._paused = False
        self._high, self._low = 65_536, 16_384

    # -- what the protocol calls

    def write(self, data: Any) -> None:
        assert not self.eof_written, "bytes behind the end of file"
        assert not self._closing, "bytes behind the end of the connection"
        self._waiting += data
        self._maybe_pause()

    def write_eof(self) -> None:
        self.eof_written = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = self.aborted = True
        self._waiting.clear()

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = not self._closing

    def is_reading(self) -> bool:
        return self.reading

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 65_536 if high is None else high
        self._low = self._high // 4 if low is None else low
        self._maybe_pause()

    def _maybe_pause(self) -> None:
        if len(self._waiting) > self._high and not self._paused:
            self._paused = True
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self._waiting)

    # -- what the world does

    def deliver(self, size: int | None = None) -> None:
        """The client reads up to `size` bytes."""
        taken = self._waiting[:size]
        del self._waiting[: len(taken)]
        self.received += taken
        if self._paused and len(self._waiting) <= self._low and not self.lost:
            self._paused = False
            self.protocol.resume_writing()

    def lose(self, error: Exception | None = None) -> None:
        """The connection ends, by the client's reset or because it was closed."""
        if not self.lost:
            self._closing = self.lost = True
            self._waiting.clear()
            self.protocol.connection_lost(error)

    def turn(self) -> None:
        """A turn of the loop: an end that is due takes place."""
        if self._closing and not self._waiting:
            self.lose()


class ServerInThread:
    """A real server on a loop in a thread of its own, ready when the block is entered.

    Args:
        app: The application.
        options: Fields of `ServerConfig`.
    """

    def __init__(self, app: WSGIApp, **options: Any) -> None:
        self._app = app
        self._options = options
        self._started: threading.Event = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="server of the test")
        self.records: list[ExchangeRecord] = []
        self._arrived = threading.Condition()
        self.server: Server

    @property
    def port(self) -> int:
        """The server's TCP port."""
        return self.server.port

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(PATIENCE)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the server does not stop"
        if self._error is not None:
            raise self._error

    def wait_for_record(self, matches: Callable[[ExchangeRecord], bool]) -> ExchangeRecord:
        """The first finished exchange that matches; waits until there is one."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: any(map(matches, self.records)), PATIENCE), (
                self.records
            )
            return next(filter(matches, self.records))

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        failures: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: failures.append(context))
        stop = asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        hooks = Hooks(on_exchange=self._on_exchange)
        async with open_server(self._app, "127.0.0.1", hooks=hooks, **self._options) as server:
            self.server = server
            self._started.set()
            await stop.wait()
        assert not failures, f"an exception came out of a callback: {failures}"

    def _on_exchange(self, record: ExchangeRecord) -> None:
        with self._arrived:
            self.records.append(record)
            self._arrived.notify_all()


@dataclass
class Raw:
    """What came back over a socket.

    Args:
        data: All bytes.
        reset: The connection ended with a reset, not with an end of file.
    """

    data: bytes = b""
    reset: bool = False


def connect(port: int) -> socket.socket:
    """A client's socket; the caller closes it."""
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def read_to_end(sock: socket.socket) -> Raw:
    """Everything up to the end of the connection."""
    data = bytearray()
    try:
        while piece := sock.recv(65_536):
            data += piece
    except ConnectionResetError:
        return Raw(bytes(data), reset=True)
    return Raw(bytes(data))


def raw_exchange(port: int, data: bytes, *, half_close: bool = True) -> Raw:
    """Send bytes, read to the end.

    Args:
        port: On 127.0.0.1.
        data: What the client sends.
        half_close: Close the sending half behind `data`, as `nc -N` does. Without it the
            server has to end the connection.
    """
    with connect(port) as sock:
        with contextlib.suppress(ConnectionError):  # it may have closed already
            sock.sendall(data)
            if half_close:
                with contextlib.suppress(OSError):  # a server that was cut is gone already
                    sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)
