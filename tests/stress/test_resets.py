"""Clients that reset at any byte, of their request or of the answer, hurt nobody else."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ..certificates import client_context
from ..conformance.wsgi_server import Client, LiveServer, chunked, request
from .conftest import LONG

# Of a TLS connection every so many bytes, because each costs a handshake.
STEP = 1 if LONG else 8

PIECE = b"0123456789abcdef" * 500
PIECES = 6

LINGER_ZERO = b"\x01\0\0\0\0\0\0\0"


def app(environ: Any, start_response: Any) -> Any:
    """Echo, and answers of several pieces, made in each of the ways that there are."""
    path = environ["PATH_INFO"]
    if path == "/pieces":
        start_response("200 OK", [])
        return (PIECE for _ in range(PIECES))
    if path == "/write":
        write = start_response("200 OK", [])
        for _ in range(PIECES):
            write(PIECE)
        return []
    if path == "/file":
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
        file.write(PIECE * PIECES)
        file.seek(0)
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file)
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [body]


class Good:
    """A client beside them, on one connection that lives through it all."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._number = 0

    def ask(self) -> None:
        """Each time with another body, and every byte has to come back."""
        self._number += 1
        body = b"good %d " % self._number * 50
        self._client.send(request("/", "POST", body=body))
        answer = self._client.answer()
        assert (answer.status, answer.body) == (200, body)


@pytest.fixture(params=[False, True], ids=["plain", "TLS"])
def live(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[LiveServer]:
    """Ends with nobody inside, no thread at work, and nothing in the log that tells of an error."""
    caplog.set_level(logging.INFO)
    with LiveServer(app, tls=request.param) as live:
        yield live
        live.until(lambda: not live.server.roster)
        live.until(lambda: not live.server.pool.running())
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert "Traceback" not in caplog.text


def wire_bytes(live: LiveServer, data: bytes) -> bytes:
    """What a client sends to have `data` arrive: the same, or its handshake and its records."""
    if not live.tls:
        return data
    sent = b""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", live.port)) as sock:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                sock.sendall(piece := outgoing.read())
                sent += piece
                incoming.write(sock.recv(65_536))
            else:
                break
        tls.write(data)
        sent += outgoing.read()
    return sent


def send_and_reset(live: LiveServer, data: bytes, cut: int) -> None:
    """Reset behind so many bytes of what a client of this server sends."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", live.port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        if not live.tls:
            sock.sendall(data[:cut])
            return
        is_ready = False
        while cut > 0:
            try:
                tls.write(data) if is_ready else tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            else:
                if is_ready:
                    sock.sendall(outgoing.read()[:cut])
                    return
                is_ready = True
                continue
            piece = outgoing.read()[:cut]
            cut -= len(piece)
            sock.sendall(piece)
            if cut > 0:
                incoming.write(sock.recv(65_536))


@pytest.mark.parametrize("coding", ["none", "length", "chunked"])
def test_at_each_byte_of_the_request(live: LiveServer, coding: str) -> None:
    data = {
        "none": request("/pieces"),
        "length": request("/", "POST", body=b"x" * 40),
        "chunked": request("/", "POST", "Transfer-Encoding: chunked") + chunked(b"abc", b"defg"),
    }[coding]
    size = len(wire_bytes(live, data))
    with live.connect() as client:
        good = Good(client)
        for cut in range(0, size + 1, STEP if live.tls else 1):
            send_and_reset(live, data, cut)
            good.ask()


@pytest.mark.parametrize("path", ["/pieces", "/write", "/file"])
def test_behind_each_piece_of_the_answer(live: LiveServer, path: str) -> None:
    places = [0, 1, 5, *range(20, 200, 20), *range(200, len(PIECE) * PIECES, len(PIECE) // 2)]
    with live.connect() as client:
        good = Good(client)
        for place in places:
            # Little room for what has come, so that much of the answer is not sent yet.
            leaver = live.connect(receive_buffer=4096)
            leaver.send(request(path))
            assert len(leaver.exactly(place)) == place
            leaver.reset()
            good.ask()


def test_many_at_a_time(live: LiveServer) -> None:
    """Each in a thread, at random, so that resets come in the middle of whatever is done."""

    def leave(rng: random.Random) -> None:
        for _ in range(200 if LONG else 25):
            with contextlib.suppress(OSError):
                leaver = live.connect(receive_buffer=4096)
                try:
                    leaver.send(request(rng.choice(["/pieces", "/write", "/file"])))
                    leaver.exactly(rng.randrange(len(PIECE) * PIECES))
                finally:
                    leaver.reset()

    leavers = [threading.Thread(target=leave, args=(random.Random(n),)) for n in range(4)]
    for leaver in leavers:
        leaver.start()
    with live.connect() as client:
        good = Good(client)
        while any(leaver.is_alive() for leaver in leavers):
            good.ask()
