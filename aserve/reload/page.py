"""What the supervisor answers while there is nothing else to serve: the page that says why.

A few lines of HTTP of its own: one request per connection, whose body is not read. The page waits
in a request of its own for the next change, and then loads itself again; by then the connection
waits for the next generation like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import secrets
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from .child import settle

if TYPE_CHECKING:
    import ssl  # a Python may have been built without it

__all__ = ["ErrorPage"]

_LONGEST_HEAD: Final = 65_536
_HEAD_SECONDS: Final = 10.0
# Behind the answer, how long a client that still sends its body may go on.
_LINGER_SECONDS: Final = 2.0

_STYLE: Final = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;"
    "margin:3rem auto;padding:0 1rem}h1{font-size:1.3rem}pre{overflow-x:auto;padding:1rem;"
    "border:1px solid #8886;border-left:4px solid #c33;font-size:.875rem;line-height:1.45}"
    "p{opacity:.8}"
)


class _PlainStream:
    """A connection without TLS; it can be given away as long as nothing was answered."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def read(self) -> bytes:
        # Not `sock_recv`: it takes the bytes before the task that waits for them has its turn, and
        # if the connection is given away in between, they are lost.
        while True:
            with contextlib.suppress(BlockingIOError):
                return self._sock.recv(_LONGEST_HEAD)
            readable = self._loop.create_future()
            self._loop.add_reader(self._sock.fileno(), settle, readable)
            try:
                await readable
            finally:
                if self._sock.fileno() >= 0:
                    self._loop.remove_reader(self._sock.fileno())

    async def write_last(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)
        self._sock.shutdown(socket.SHUT_WR)

    async def close(self) -> None:
        self._sock.close()

    def detach(self) -> int:
        # At once: the open file lives on in another process, and the number comes again here.
        self._loop.remove_reader(self._sock.fileno())
        return self._sock.detach()


class _TLSStream:
    """A connection with TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def make(cls, sock: socket.socket, context: ssl.SSLContext) -> _TLSStream:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_LONGEST_HEAD)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, sock, ssl=context, ssl_handshake_timeout=_HEAD_SECONDS
        )
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def read(self) -> bytes:
        return await self._reader.read(_LONGEST_HEAD)

    async def write_last(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def detach(self) -> None:
        return None


class ErrorPage:
    """Accepts on the supervisor's sockets from `open` to `close`.

    Args:
        report: "summary", and perhaps "advice" and "traceback".
        command: What was typed, for the page.
        context: Speak TLS.
    """

    def __init__(
        self, report: dict[str, Any], command: str, context: ssl.SSLContext | None
    ) -> None:
        self._report = report
        self._command = command
        self._context = context
        self._token = secrets.token_urlsafe(16)
        self._changed = asyncio.Event()
        self._sockets: Sequence[socket.socket] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent: dict[asyncio.Task[None], _PlainStream | _TLSStream] = {}
        self._heads: dict[asyncio.Task[None], bytes] = {}

    def open(self, sockets: Sequence[socket.socket]) -> None:
        """Begin to accept. One at a time: who is let in when it closes would be lost."""
        self._sockets = sockets
        for sock in sockets:
            sock.setblocking(False)
            asyncio.get_running_loop().add_reader(sock.fileno(), self._accept, sock)

    def adopt(self, number: int, data: bytes) -> None:
        """Answer on a connection that an old process has left.

        Args:
            number: Its descriptor; owned from here on.
            data: What was read of its next request.
        """
        sock = socket.socket(fileno=number)
        sock.setblocking(False)
        self._begin(sock, data)

    def close(self) -> list[tuple[int, bytes]]:
        """Accept nothing more; answer who waits for the change.

        Returns:
            Descriptors of connections that have not sent a request yet, and what they have sent:
            the next process has to answer them. The caller owns them.
        """
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        self._changed.set()
        left = []
        for task, stream in self._silent.items():
            number = stream.detach()
            if number is not None:
                left.append((number, self._heads.get(task, b"")))
                task.cancel()
        self._silent.clear()
        return left

    def _accept(self, sock: socket.socket) -> None:
        try:
            client, _ = sock.accept()
        except OSError:
            return
        client.setblocking(False)
        self._begin(client, b"")

    def _begin(self, sock: socket.socket, data: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(sock, data))
        if self._context is None:
            self._silent[task] = _PlainStream(sock)
        self._heads[task] = data
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._silent.pop(task, None)
        self._heads.pop(task, None)

    async def _answer(self, sock: socket.socket, data: bytes) -> None:
        task = asyncio.current_task()
        assert task is not None
        stream: _PlainStream | _TLSStream | None = self._silent.get(task)
        try:
            if stream is None:
                assert self._context is not None
                stream = await _TLSStream.make(sock, self._context)
            async with asyncio.timeout(_HEAD_SECONDS):
                while b"\r\n\r\n" not in self._heads[task]:
                    piece = await stream.read()
                    self._heads[task] += piece
                    if not piece or len(self._heads[task]) > _LONGEST_HEAD:
                        return
            self._silent.pop(task, None)
            await stream.write_last(await self._respond(self._heads[task]))
            # Closing over what the client still sends would take the answer from it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_SECONDS):
                    while await stream.read():
                        pass
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            if stream is not None:
                await stream.close()
            else:
                sock.close()

    async def _respond(self, head: bytes) -> bytes:
        line, _, fields = head.partition(b"\r\n")
        words = line.split(b" ")
        method, target = (words[0], words[1]) if len(words) == 3 else (b"", b"")
        if target == f"/.aserve/changed?{self._token}".encode():
            await self._changed.wait()
            return _response("204 No Content", "text/plain", b"")
        is_page = b"text/html" in _field(fields, b"accept")
        text = self._html() if is_page else self._plain()
        body = text.encode("utf-8", "backslashreplace")
        kind = "text/html" if is_page else "text/plain"
        response = _response("500 Internal Server Error", kind, body)
        return response[: -len(body)] if method == b"HEAD" else response

    def _plain(self) -> str:
        parts = [self._report.get(name) for name in ("traceback", "summary", "advice")]
        return "\n".join(str(part).rstrip("\n") for part in parts if part) + "\n"

    def _html(self) -> str:
        summary = html.escape(str(self._report["summary"]))
        advice = html.escape(str(self._report.get("advice") or ""))
        trace = html.escape(str(self._report.get("traceback") or ""))
        command = html.escape(self._command)
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{summary}</title>'
            f"<style>{_STYLE}</style><h1>{summary}</h1>"
            + (f"<p>{advice}</p>" if advice else "")
            + (f"<pre>{trace}</pre>" if trace else "")
            + f"<p>Served by <code>{command}</code>. "
            "Save the fix, and this page loads itself again.</p>"
            "<script>const again=()=>location.reload();"
            f'fetch("/.aserve/changed?{self._token}",{{cache:"no-store"}}).then(again,'
            "()=>setTimeout(again,1000))</script></html>\n"
        )


def _field(fields: bytes, name: bytes) -> bytes:
    for line in fields.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value
    return b""


def _response(status: str, kind: str, body: bytes) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nServer: aserve\r\nContent-Type: {kind}; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    ).encode() + body
