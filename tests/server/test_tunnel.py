"""`aserve.server.tunnel`: connections that the app takes for itself."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aserve
from aserve.events import ExchangeRecord
from aserve.server.tunnel import FrameMeter
from aserve.types import Environ, StartResponse

from ..helpers import no_time_passes

DEADLINE = 20
UPGRADE = b"GET /%b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


class App:
    """Echoes until the end on `/echo`, answers on every other path."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.heard = bytearray()
        self.returned = threading.Event()
        self.must_close = True
        self.held: socket.socket | None = None

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        sock = environ.get("werkzeug.socket")
        path = environ["PATH_INFO"]
        if path == "/echo":
            assert isinstance(sock, socket.socket)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(SWITCHING)
            while data := sock.recv(1000):
                self.heard += data
                sock.sendall(data)
            self.ended.set()
            raise ConnectionError("as flask-sock does")
        if path == "/listen":  # reads before it writes
            assert sock is not None
            data = sock.makefile("rb").readline()
            sock.sendall(SWITCHING + data)
            return []
        if path == "/thread":  # who writes last is a thread of its own
            assert sock is not None
            sock.sendall(SWITCHING)

            def answer() -> None:
                while data := sock.recv(1000):
                    self.heard += data
                self.returned.wait(DEADLINE)
                self.held = sock
                sock.sendall(b"\x88\x02\x03\xe8")
                if self.must_close:
                    sock.close()

            threading.Thread(target=answer).start()
            return []
        if path == "/fails":
            assert sock is not None
            sock.sendall(SWITCHING)
            raise LookupError("in the middle")
        start_response("200 OK", [("Content-Length", "3")])
        return [b"no\n" if sock is None else b"yes"]


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def records() -> list[ExchangeRecord]:
    return []


@pytest.fixture
def server(app: App, records: list[ExchangeRecord]) -> Iterator[aserve.ServerThread]:
    hooks = aserve.Hooks(on_exchange=records.append)
    with aserve.ServerThread(app, "127.0.0.1", hooks=hooks, threads=1, grace=2) as made:
        yield made


def connect(server: aserve.ServerThread) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)


def read(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := sock.recv(min(size - len(data), 65_536))):
        data += piece
    return bytes(data)


@pytest.mark.parametrize("ahead", [b"", b"sent along with the head"])
def test_an_echo(
    app: App, server: aserve.ServerThread, records: list[ExchangeRecord], ahead: bytes
) -> None:
    with connect(server) as client:
        client.sendall(UPGRADE % (b"echo", b"echo") + ahead)
        assert read(client, len(SWITCHING) + len(ahead)) == SWITCHING + ahead
        client.sendall(b"hello")
        assert read(client, 5) == b"hello"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b""
    assert app.ended.wait(DEADLINE)
    server.shutdown()
    (record,) = records
    assert (record.status_code, record.complete, record.client_left) == (101, True, False)
    assert record.body_sent == len(SWITCHING) + len(ahead) + 5


def test_one_that_reads_first(server: aserve.ServerThread) -> None:
    with connect(server) as client:
        client.sendall(UPGRADE % (b"listen", b"x") + b"a li")
        client.sendall(b"ne\n")
        assert client.makefile("rb").read() == SWITCHING + b"a line\n"


def test_much_at_once_in_both_directions(server: aserve.ServerThread) -> None:
    data = bytes(range(256)) * 20_000
    with connect(server) as client:
        client.sendall(UPGRADE % (b"echo", b"echo"))
        assert read(client, len(SWITCHING)) == SWITCHING
        sending = threading.Thread(target=client.sendall, args=(data,))
        sending.start()
        assert read(client, len(data)) == data
        sending.join(DEADLINE)


def test_an_upgrade_that_is_not_taken(server: aserve.ServerThread) -> None:
    """It is answered, and the connection goes on."""
    with connect(server) as client:
        for upgrade in (b"websocket", b"h2c"):
            client.sendall(UPGRADE % (b"other", upgrade))
            assert b"HTTP/1.1 200" in (answer := client.recv(1000))
            assert answer.endswith(b"yes")
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(1000).endswith(b"no\n")


def test_a_failure_behind_the_switch(
    server: aserve.ServerThread, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(server) as client:
        client.sendall(UPGRADE % (b"fails", b"x"))
        assert client.makefile("rb").read() == SWITCHING  # and no 500 in it
    server.shutdown()
    assert "LookupError: in the middle" in caplog.text


def test_its_thread_does_not_count(server: aserve.ServerThread) -> None:
    """There is one thread, twenty connections that keep theirs, and plain requests between."""
    clients = []
    for _ in range(20):
        clients.append(connect(server))
        clients[-1].sendall(UPGRADE % (b"echo", b"echo"))
        assert read(clients[-1], len(SWITCHING)) == SWITCHING
        with connect(server) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert plain.recv(1000).endswith(b"no\n")
    for client in clients:
        client.sendall(b"x")
        assert read(client, 1) == b"x"
        client.close()


def test_a_client_that_vanishes(app: App, server: aserve.ServerThread) -> None:
    client = connect(server)
    client.sendall(UPGRADE % (b"echo", b"echo"))
    assert read(client, len(SWITCHING)) == SWITCHING
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()  # with a reset
    assert app.ended.wait(DEADLINE)


def test_at_the_end_the_client_is_told_to_go(app: App, server: aserve.ServerThread) -> None:
    with connect(server) as client:
        client.sendall(UPGRADE % (b"echo", b"echo"))
        assert read(client, len(SWITCHING)) == SWITCHING
        client.sendall(b"\x81\x02hi")  # the app writes a whole frame
        assert read(client, 4) == b"\x81\x02hi"
        ending = threading.Thread(target=server.shutdown)
        ending.start()
        assert read(client, 4) == b"\x88\x02\x03\xe9"  # 1001, going away
        client.shutdown(socket.SHUT_WR)
        ending.join(DEADLINE)
    assert app.ended.is_set()


def test_nothing_of_the_app_follows_that(app: App, server: aserve.ServerThread) -> None:
    with connect(server) as client:
        client.sendall(UPGRADE % (b"echo", b"echo"))
        assert read(client, len(SWITCHING)) == SWITCHING
        ending = threading.Thread(target=server.shutdown)
        ending.start()
        assert read(client, 4) == b"\x88\x02\x03\xe9"
        client.sendall(b"\x88\x02\x03\xe9")  # which the app would echo
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
        ending.join(DEADLINE)
    assert app.heard == b"\x88\x02\x03\xe9"


@pytest.mark.parametrize("must_close", [True, False])
def test_a_thread_of_the_apps_writes_last(
    app: App, server: aserve.ServerThread, must_close: bool
) -> None:
    """The view has returned: the thread reads the end, answers, and has a second to close."""
    app.must_close = must_close
    with connect(server) as client:
        with no_time_passes():
            client.sendall(UPGRADE % (b"thread", b"echo"))
            assert read(client, len(SWITCHING)) == SWITCHING
            app.returned.set()
            assert read(client, 4) == b"\x88\x02\x03\xe8"
            assert app.held is not None
            if must_close:
                assert client.recv(100) == b""
            else:  # it is waited for
                app.held.sendall(b"more")
                assert read(client, 4) == b"more"
        assert client.recv(100) == b""
    app.held.close()


def test_at_the_end_no_frame_is_broken_up(app: App, server: aserve.ServerThread) -> None:
    with connect(server) as client:
        client.sendall(UPGRADE % (b"echo", b"echo"))
        assert read(client, len(SWITCHING)) == SWITCHING
        client.sendall(b"\x82\x05par")
        assert read(client, 5) == b"\x82\x05par"
        server.shutdown(grace=0)
        assert client.recv(100) == b""


async def talk_over_tls(port: int, data: bytes) -> bytes:
    """Send it all and read as much; of one thread, for two may not share an SSL object."""
    context = ssl._create_unverified_context()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(UPGRADE % (b"echo", b"echo") + data)
    answer = await reader.readexactly(len(SWITCHING) + len(data))
    writer.close()
    await writer.wait_closed()
    return answer


def test_over_tls(app: App) -> None:
    hooks = aserve.Hooks(ssl_context="adhoc")
    with aserve.ServerThread(app, "127.0.0.1", hooks=hooks) as server:
        answer = asyncio.run(talk_over_tls(server.port, b"ahead" + bytes(100_000)))
    head, _, echoed = answer.partition(b"\r\n\r\n")
    assert head + b"\r\n\r\n" == SWITCHING
    assert (echoed[:5], len(echoed), any(echoed[5:])) == (b"ahead", 100_005, False)


def frame(size: int, mask: bool) -> bytes:
    lengths: list[Callable[[], bytes]] = [
        lambda: bytes([size]),
        lambda: b"\x7e" + size.to_bytes(2),
        lambda: b"\x7f" + size.to_bytes(8),
    ]
    head = bytearray(b"\x82" + lengths[(size > 125) + (size > 65_535)]())
    if mask:
        head[1] |= 0x80
        head += b"mask"
    return bytes(head) + bytes(size)


@given(
    st.lists(st.tuples(st.integers(0, 200) | st.sampled_from([65_535, 70_000]), st.booleans())),
    st.data(),
)
def test_frames_are_followed(frames: list[tuple[int, bool]], data: Any) -> None:
    """However the bytes are cut: the end of each frame is known, and no other place."""
    meter = FrameMeter()
    assert not meter.is_between_frames
    meter.feed(SWITCHING[:20])
    assert not meter.is_between_frames
    meter.feed(SWITCHING[20:])
    assert (meter.status_code, meter.is_between_frames) == (101, True)
    for size, mask in frames:
        whole = frame(size, mask)
        cut = data.draw(st.integers(0, len(whole)))
        meter.feed(whole[:cut])
        assert meter.is_between_frames == (cut in (0, len(whole)))
        meter.feed(whole[cut:])
        assert meter.is_between_frames


def test_an_answer_that_is_no_switch_has_no_frames() -> None:
    meter = FrameMeter()
    meter.feed(b"HTTP/1.1 400 Bad Request\r\n\r\nbody")
    assert (meter.status_code, meter.is_between_frames) == (400, False)


def test_the_body_of_an_upgrade_is_not_counted_for_ever(
    app: App, server: aserve.ServerThread
) -> None:
    collected = server.server.collected
    before = collected._left
    with connect(server) as client:
        head = UPGRADE[:-2] % (b"echo", b"echo") + b"Content-Length: 60000\r\n\r\n"
        client.sendall(head + bytes(60_000))
        assert read(client, len(SWITCHING)) == SWITCHING
        assert collected._left == before
