"""The transport that can be set aside, beside what asyncio's own does."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aserve.server.own_loop import own_loop
from aserve.server.transport import SocketTransport

from ..helpers import PATIENCE

BIG = b"x" * 4_000_000  # more than the two sockets hold


class _Protocol(asyncio.Protocol):
    def __init__(self) -> None:
        self.events: list[str] = []
        self.data = b""
        self.keep_open = False
        self.error: BaseException | None = None
        self.changed = asyncio.Event()
        self.on_data: Callable[[bytes], None] = lambda _: None

    def _note(self, event: str) -> None:
        self.events.append(event)
        self.changed.set()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._note("data")
        self.on_data(data)

    def eof_received(self) -> bool:
        self._note("eof")
        return self.keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self._note("lost")

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    async def until(self, event: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while event not in self.events:
                self.changed.clear()
                await self.changed.wait()


class _Wire:
    """A transport with its protocol, and the client's socket."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = socket.create_connection(listener.getsockname())
            sock, peername = listener.accept()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        sock.setblocking(False)
        self.client.setblocking(False)
        self.loop = asyncio.get_running_loop()
        self.protocol = _Protocol()
        self.transport = SocketTransport(self.loop, sock, peername, self.protocol)

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.client, data)

    async def receive(self, size: int) -> bytes:
        data = b""
        async with asyncio.timeout(PATIENCE):
            while len(data) < size and (piece := await self.loop.sock_recv(self.client, 65_536)):
                data += piece
        return data

    def reset(self) -> None:
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.close()


@asynccontextmanager
async def wire() -> AsyncIterator[_Wire]:
    wire = _Wire()
    try:
        yield wire
    finally:
        wire.transport.abort()
        await wire.protocol.until("lost")
        wire.client.close()
        assert wire.protocol.events.count("lost") == 1


async def test_it_reads_only_when_it_is_told_to() -> None:
    async with wire() as w:
        assert not w.transport.is_reading()
        w.transport.resume_reading()
        w.transport.resume_reading()
        await w.send(b"a")
        await w.protocol.until("data")
        w.transport.pause_reading()
        assert not w.transport.is_reading()
        await w.send(b"b")
        # The loop does not look: another thread may read.
        async with asyncio.timeout(PATIENCE):
            while (data := _read(w.transport)) is None:
                await asyncio.sleep(0)
        assert data == b"b"
        assert w.protocol.data == b"a"


def _read(transport: SocketTransport) -> bytes | None:
    try:
        data: bytes = transport.get_extra_info("socket").recv(10)
    except BlockingIOError:
        return None
    return data


async def test_addresses() -> None:
    async with wire() as w:
        assert w.transport.get_extra_info("peername") == w.client.getsockname()
        assert w.transport.get_extra_info("sockname") == w.client.getpeername()


async def test_what_the_client_does_not_take_waits_and_holds_the_protocol_back() -> None:
    async with wire() as w:
        w.transport.set_write_buffer_limits(high=1000, low=100)
        assert w.transport.get_write_buffer_limits() == (100, 1000)
        w.transport.write(b"")
        w.transport.write(BIG)
        w.transport.write(b"end")
        assert w.protocol.events == ["pause"]
        assert w.transport.get_write_buffer_size() > 1000
        assert await w.receive(len(BIG) + 3) == BIG + b"end"
        assert w.protocol.events == ["pause", "resume"]
        assert w.transport.get_write_buffer_size() == 0


async def test_a_lower_limit_counts_at_once() -> None:
    async with wire() as w:
        w.transport.set_write_buffer_limits(high=len(BIG) * 2)
        w.transport.write(BIG)
        assert w.protocol.events == []
        w.transport.set_write_buffer_limits(high=0)
        assert w.protocol.events == ["pause"]


@pytest.mark.parametrize("size", [1, len(BIG)])
async def test_close_sends_what_waits(size: int) -> None:
    async with wire() as w:
        w.transport.write(BIG[:size])
        w.transport.close()
        w.transport.close()
        w.transport.resume_reading()
        assert w.transport.is_closing()
        assert not w.transport.is_reading()
        assert len(await w.receive(size + 1)) == size
        await w.protocol.until("lost")
        w.transport.write(b"too late")


@pytest.mark.parametrize("size", [1, len(BIG)])
async def test_end_of_file_comes_behind_what_waits(size: int) -> None:
    async with wire() as w:
        assert w.transport.can_write_eof()
        w.transport.write(BIG[:size])
        w.transport.write_eof()
        assert len(await w.receive(size + 1)) == size
        w.transport.resume_reading()  # the other half is still open
        await w.send(b"a")
        await w.protocol.until("data")


async def test_abort_throws_away_what_waits() -> None:
    async with wire() as w:
        w.transport.write(BIG)
        w.transport.abort()
        assert w.transport.get_write_buffer_size() == 0
        assert w.protocol.events == ["pause"]  # `connection_lost` comes in a turn of its own
        assert len(await w.receive(len(BIG))) < len(BIG)
        assert w.protocol.error is None


@pytest.mark.parametrize("keep_open", [True, False])
async def test_the_clients_end_of_file(keep_open: bool) -> None:
    async with wire() as w:
        w.protocol.keep_open = keep_open
        w.transport.resume_reading()
        w.client.shutdown(socket.SHUT_WR)
        await w.protocol.until("eof")
        assert w.transport.is_closing() is not keep_open
        if keep_open:
            w.transport.write(b"answer")
            assert await w.receive(6) == b"answer"


@pytest.mark.parametrize("act", ["read", "write", "end"])
async def test_a_reset_ends_it(act: str) -> None:
    async with wire() as w:
        w.reset()
        if act == "read":
            w.transport.resume_reading()
        elif act == "write":
            w.transport.write(b"x")
        else:
            w.transport.write_eof()
        await w.protocol.until("lost")
        assert isinstance(w.protocol.error, OSError)


async def test_a_reset_while_bytes_wait_ends_it() -> None:
    async with wire() as w:
        w.transport.write(BIG)
        w.reset()
        await w.protocol.until("lost")
        assert isinstance(w.protocol.error, OSError)


async def test_a_failure_of_the_protocol_is_logged_and_cuts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: bytes) -> None:
        raise ValueError("ours")

    async with wire() as w:
        w.protocol.on_data = fail
        w.transport.resume_reading()
        await w.send(b"a")
        await w.protocol.until("lost")
    assert "in the middle of a request, which is cut" in caplog.text
    assert "ValueError: ours" in caplog.text


def test_what_ends_in_the_same_turn_is_never_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a loop of the server's own; and what goes on is watched from its end."""
    watched: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        add_reader = loop.add_reader

        def note(fd: int, *rest: Any) -> None:
            watched.append(fd)
            add_reader(fd, *rest)

        monkeypatch.setattr(loop, "add_reader", note)
        for ends in (True, False):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.setblocking(False)
                protocol = _Protocol()
                transport = SocketTransport(loop, ours, "", protocol)
                transport.resume_reading()
                if ends:
                    transport.close()
                theirs.send(b"hello")
                await protocol.until("lost" if ends else "data")
                assert watched == ([] if ends else [ours.fileno()])
                transport.abort()
                await protocol.until("lost")

    with asyncio.Runner(loop_factory=own_loop) as runner:
        runner.run(main())


def test_a_socket_that_cannot_be_watched_is_cut_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the loop of the server's own was about to sleep."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, "no space left for watches")

        monkeypatch.setattr(loop, "add_reader", fail)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            protocol = _Protocol()
            SocketTransport(loop, ours, "", protocol).resume_reading()
            await protocol.changed.wait()  # without a timer, which would wake the loop
            assert isinstance(protocol.error, OSError)

    with asyncio.Runner(loop_factory=own_loop) as runner:
        runner.run(main())
