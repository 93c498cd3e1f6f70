"""What the supervisor answers while there is nothing else to serve; `content` is what it says.

A few lines of HTTP of its own: one request per connection, whose body is not read. The page waits
in a request of its own for the next change, and then loads itself again; by then the connection
waits for the next generation like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ..hosts import Hosts, is_this_machine, may_show, refusal
from .asked import Asked, read
from .child import settle
from .content import Content, answer_of

if TYPE_CHECKING:
    import ssl  # a Python may have been built without it

__all__ = ["NO_ROOM", "Page"]

_LONGEST_HEAD: Final = 65_536
_HEAD_SECONDS: Final = 10.0
# Behind the answer, how long a client that still sends its body may go on.
_LINGER_SECONDS: Final = 2.0
# Tabs that wait; a person has fewer, and another one than the oldest has just been opened.
_MOST_WAITING: Final = 200
# Without a descriptor for another connection, how long it waits in the backlog.
_NO_ROOM_SECONDS: Final = 0.1
NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class _PlainStream:
    """A connection without TLS; it can be given away as long as nothing was answered."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    async def wait(self) -> None:
        """Until there is something to read."""
        readable = self._loop.create_future()
        self._loop.add_reader(self.sock.fileno(), settle, readable)
        try:
            await readable
        finally:
            if self.sock.fileno() >= 0:
                self._loop.remove_reader(self.sock.fileno())

    async def read(self) -> bytes:
        # Not `sock_recv`: it takes the bytes before the task that waits for them has its turn, and
        # if the connection is given away in between, they are lost.
        while True:
            with contextlib.suppress(BlockingIOError):
                return self.sock.recv(_LONGEST_HEAD)
            await self.wait()

    async def wait_for_end(self) -> None:
        """Until the client has gone; what it sends is of no interest."""
        while await self.read():
            pass

    async def write_last(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)
        self.sock.shutdown(socket.SHUT_WR)

    async def close(self) -> None:
        self.sock.close()

    def detach(self) -> int:
        # At once: the open file lives on in another process, and the number comes again here.
        self._loop.remove_reader(self.sock.fileno())
        return self.sock.detach()


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

    async def wait_for_end(self) -> None:
        while await self.read():
            pass

    async def write_last(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Page:
    """Accepts on the supervisor's sockets from `open` to `close`.

    Args:
        content: What to answer, and whom.
        context: Speak TLS.
        own: Hosts for which it is said what has happened.
        hosts: Which ones are answered for at all; None for all.
        is_for_all: Whether other machines are told what has happened, too.
    """

    def __init__(
        self,
        content: Content,
        context: ssl.SSLContext | None,
        own: Hosts,
        hosts: Hosts | None,
        *,
        is_for_all: bool,
    ) -> None:
        self._is_for_all = is_for_all
        self._content = content
        self._own = own
        self._hosts = hosts
        self._context = context
        self._changed = asyncio.Event()
        self._sockets: Sequence[socket.socket] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent: dict[asyncio.Task[None], _PlainStream] = {}
        self._heads: dict[asyncio.Task[None], bytes] = {}
        # Tabs that wait for a change, the oldest first.
        self._waiting: dict[asyncio.Task[None], None] = {}

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
            Descriptors of connections that were not answered, and what they have sent: the next
            process has to answer them. The caller owns them.
        """
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        self._sockets = ()
        self._changed.set()
        left = []
        for task, stream in self._silent.items():
            left.append((stream.detach(), self._heads.get(task, b"")))
            task.cancel()
        self._silent.clear()
        return left

    def _accept(self, sock: socket.socket) -> None:
        try:
            client, _ = sock.accept()
        except OSError as error:
            if error.errno in NO_ROOM:
                self._make_room(sock)
            return
        client.setblocking(False)
        self._begin(client, b"")

    def _make_room(self, sock: socket.socket) -> None:
        """There are no descriptors left: the tab that has waited longest asks again a little later.

        Meanwhile nobody is told that somebody wants to come in: it would be told without end.
        """
        self._end_oldest()
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock.fileno())
        loop.call_later(_NO_ROOM_SECONDS, self._accept_again, sock)

    def _end_oldest(self) -> None:
        if self._waiting:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.cancel()

    def _accept_again(self, sock: socket.socket) -> None:
        if sock in self._sockets:  # else it was closed meanwhile
            asyncio.get_running_loop().add_reader(sock.fileno(), self._accept, sock)

    def _begin(self, sock: socket.socket, data: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(_peer_of(sock)))
        self._silent[task] = _PlainStream(sock)
        self._heads[task] = data
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._silent.pop(task, None)
        self._heads.pop(task, None)
        self._waiting.pop(task, None)

    async def _answer(self, peer: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        plain = self._silent[task]
        stream: _PlainStream | _TLSStream = plain
        try:
            if self._context is not None:
                # Until it speaks it can be given away, and from then on it cannot.
                async with asyncio.timeout(_HEAD_SECONDS):
                    await plain.wait()
                del self._silent[task]
                stream = await _TLSStream.make(plain.sock, self._context)
            async with asyncio.timeout(_HEAD_SECONDS):
                while b"\r\n\r\n" not in self._heads[task]:
                    piece = await stream.read()
                    self._heads[task] += piece
                    if not piece or len(self._heads[task]) > _LONGEST_HEAD:
                        return
            asked = read(self._heads[task])
            if not self._content.is_for(asked):
                # The next generation's; until then nobody reads more of it.
                await self._changed.wait()
                return
            self._silent.pop(task, None)
            answer = await self._answer_in_time(asked, peer, stream)
            if answer is None:
                return
            async with asyncio.timeout(_HEAD_SECONDS):
                await stream.write_last(answer)
            # Closing over what the client still sends would take the answer from it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_SECONDS):
                    while await stream.read():
                        pass
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            await stream.close()

    async def _answer_in_time(
        self, asked: Asked, peer: str, stream: _PlainStream | _TLSStream
    ) -> bytes | None:
        """The answer; None when it is one that waits, and the client has left before."""
        if not self._content.is_waiting(asked):
            return await self._answer_to(asked, peer)
        task = asyncio.current_task()
        assert task is not None
        self._waiting[task] = None
        if len(self._waiting) > _MOST_WAITING:
            self._end_oldest()
        answering = asyncio.ensure_future(self._answer_to(asked, peer))
        leaving = asyncio.ensure_future(stream.wait_for_end())
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            return answering.result() if answering.done() else None
        finally:
            self._waiting.pop(task, None)
            for each in (answering, leaving):
                each.cancel()
            # Reading has to be over before anybody else reads.
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _answer_to(self, asked: Asked, peer: str) -> bytes:
        if asked.host is None:
            return answer_of("400 Bad Request", b"The Host header is missing or repeated.\n")
        if self._hosts is not None and not self._hosts.allow(asked.host):
            return answer_of("403 Forbidden", refusal(asked.host))
        scheme = "http" if self._context is None else "https"
        is_shown = self._own.allow(asked.host) and may_show(asked.field, scheme)
        is_told = self._is_for_all or is_this_machine(peer)
        return await self._content.answer(
            asked, self._changed, is_shown=is_shown, is_told=is_told, peer=peer
        )


def _peer_of(sock: socket.socket) -> str:
    """As REMOTE_ADDR says it; a client of a Unix socket is of this machine."""
    try:
        name = sock.getpeername()
    except OSError:
        return ""  # it has gone
    return str(name[0]) if isinstance(name, tuple) else "<local>"
