"""A real server in a thread, and a client that sees every byte.

`LiveServer` runs an event loop in a thread of its own; the app is exchanged from test to test
by setting `app`. Nothing here sleeps: whoever waits is woken, or fails at `DEADLINE`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

import uvloop

from aserve import ExchangeRecord, Hooks, Server, open_server
from aserve.server.own_loop import own_loop

from ..certificates import client_context, server_context

App = Callable[[Any, Any], Iterable[bytes]]
T = TypeVar("T")

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "own": own_loop,
    "uvloop": uvloop.new_event_loop,
}

# Seconds; longer than anything here takes. Only a test that fails waits for it.
DEADLINE = 20


def no_app(environ: Any, start_response: Any) -> Iterable[bytes]:
    """What a test forgot to set."""
    raise AssertionError("the test set no app")


class LiveServer:
    """Serves `app` on 127.0.0.1 while the `with` block runs.

    Args:
        app: The first app.
        loop: "asyncio", "uvloop", or "own" for the command's.
        tls: Speak TLS.
        **options: As for `aserve.open_server`.
    """

    def __init__(
        self, app: App = no_app, *, loop: str = "asyncio", tls: bool = False, **options: Any
    ) -> None:
        self.app = app
        self.tls = tls
        self.server: Server
        self.loop: asyncio.AbstractEventLoop
        # The record of each exchange, when it is over.
        self.records: queue.SimpleQueue[ExchangeRecord] = queue.SimpleQueue()
        self._options = {"host": "127.0.0.1", **options}
        self._loop_factory = LOOPS[loop]
        self._ready: Future[None] = Future()
        self._left = threading.Event()
        self.thread = threading.Thread(target=self._run, name="live-server")

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._main())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        context = server_context() if self.tls else None
        hooks = Hooks(on_exchange=self.records.put, ssl_context=context)
        app: App = lambda environ, start: self.app(environ, start)  # noqa: E731
        async with open_server(app, hooks=hooks, **self._options) as self.server:
            self._ready.set_result(None)
            closed = asyncio.ensure_future(self.server.wait_closed())
            ended = asyncio.ensure_future(self._end.wait())
            await asyncio.wait([closed, ended], return_when=asyncio.FIRST_COMPLETED)
            closed.cancel()
            ended.cancel()

    def __enter__(self) -> LiveServer:
        self.thread.start()
        self._ready.result(DEADLINE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self.loop.call_soon_threadsafe(self._end.set)
        self.join()

    def join(self) -> None:
        """Wait until the server is closed and its loop gone."""
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive()

    @property
    def port(self) -> int:
        """The port of 127.0.0.1."""
        return self.server.port

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, seen from the loop thread, turn by turn of the loop."""

        async def watch() -> None:
            async with asyncio.timeout(DEADLINE):
                while not condition():
                    await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(watch(), self.loop).result()

    def record(self) -> ExchangeRecord:
        """The record of the next exchange that ends."""
        return self.records.get(timeout=DEADLINE)

    def connect(self, *, receive_buffer: int | None = None) -> Client:
        """A new connection; use it in a `with` block."""
        return Client(self.port, receive_buffer, tls=self.tls)

    def get(self, path: str = "/", method: str = "GET", *headers: str, body: bytes = b"") -> Answer:
        """One request on a connection of its own."""
        with self.connect() as client:
            client.send(request(path, method, *headers, "Connection: close", body=body))
            return client.answer(method)


def request(path: str = "/", method: str = "GET", *headers: str, body: bytes = b"") -> bytes:
    """The bytes of a request; a body brings its length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: a.example", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*chunks: bytes) -> bytes:
    """A body in the chunked transfer coding."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


@dataclass
class Answer:
    """A response as it came.

    Args:
        status: The status code.
        reason: The reason phrase.
        headers: Names in lower case, in order.
        body: The body, decoded.
        complete: Whether the body has its announced end.
    """

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    complete: bool = True

    def all(self, name: str) -> list[str]:
        """The values of a header field."""
        return [value for key, value in self.headers if key == name.lower()]

    def __getitem__(self, name: str) -> str:
        (value,) = self.all(name)
        return value


class Client:
    """One connection, byte by byte.

    Args:
        port: Of 127.0.0.1.
        receive_buffer: What the kernel may hold for us, in bytes; None for its own choice.
        tls: Speak TLS; then an end without close_notify is an `ssl.SSLEOFError`.
    """

    def __init__(self, port: int, receive_buffer: int | None = None, *, tls: bool = False) -> None:
        self._tls = tls
        self.sock = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if tls:
            self.sock = client_context().wrap_socket(
                self.sock, server_hostname="127.0.0.1", suppress_ragged_eofs=False
            )
        self.sock.settimeout(DEADLINE)
        try:
            self.sock.connect(("127.0.0.1", port))
        except BaseException:
            self.sock.close()
            raise
        self._buffer = bytearray()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def reset(self) -> None:
        """Leave without a good-bye."""
        linger = b"\x01\0\0\0\0\0\0\0"
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.sock.close()

    def _more(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            if self._tls:
                raise ssl.SSLEOFError("reset") from None
            return False
        self._buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    def until(self, mark: bytes) -> bytes:
        """The bytes up to and including `mark`."""
        while mark not in self._buffer:
            assert self._more(), f"{mark!r} did not come, but {bytes(self._buffer)!r}"
        return self._take(self._buffer.index(mark) + len(mark))

    def exactly(self, size: int) -> bytes:
        """So many bytes, or fewer when the connection ends."""
        while len(self._buffer) < size and self._more():
            pass
        return self._take(size)

    def some(self, size: int) -> bytes:
        """What is there, or what comes next: at most `size` bytes, none at the end."""
        if not self._buffer:
            return self.sock.recv(size)
        return self._take(size)

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        while self._more():
            pass
        return self._take(len(self._buffer))

    def head(self) -> Answer:
        """The head of the next response, interim ones included."""
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        _, status, reason = lines[0].split(" ", 2)
        fields = [line.split(":", 1) for line in lines[1:]]
        return Answer(int(status), reason, [(k.lower(), v.strip()) for k, v in fields])

    def chunk(self) -> bytes | None:
        """The next chunk, b"" for the last one, None when the connection ended before it."""
        while b"\r\n" not in self._buffer:
            if not self._more():
                return None
        size = int(self.until(b"\r\n"), 16)
        data = self.exactly(size + 2)
        return data[:-2] if len(data) == size + 2 else None

    def answer(self, method: str = "GET") -> Answer:
        """The next response with its body."""
        found = self.head()
        if method == "HEAD" or found.status < 200 or found.status in (204, 304):
            return found
        if found.all("transfer-encoding"):
            while piece := self.chunk():
                found.body += piece
            found.complete = piece == b""
        elif found.all("content-length"):
            size = int(found["content-length"])
            found.body = self.exactly(size)
            found.complete = len(found.body) == size
        else:
            found.body = self.rest()
        return found


@dataclass
class Log(logging.Handler):
    """What `aserve.error` is told, from any thread."""

    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._new: queue.SimpleQueue[str] = queue.SimpleQueue()

    __hash__ = object.__hash__

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        line = logging.Formatter("%(levelname)s %(message)s").format(record)
        self.lines.append(line)
        self._new.put(line)

    def wait_for(self, pattern: str) -> str:
        """The next line in which the pattern occurs."""
        while True:
            line = self._new.get(timeout=DEADLINE)
            if re.search(pattern, line):
                return line

    def __enter__(self) -> Log:
        logger = logging.getLogger("aserve.error")
        logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("aserve.error").removeHandler(self)
