"""The kinds of clients. Each function is one client's visit; it raises `Broken` or returns.

The good ones and the huge ones check every byte of every answer, and so do the slow ones, as long
as they are within the server's patience. Of the others the server only has to get rid.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from .app import PIECE, pattern
from .wire import Broken, Client, Tally, Target, client_context, leaving, reset

__all__ = ["KINDS", "Kind"]

_MEGABYTE: Final = 1_048_576
_HUGE: Final = 8 * _MEGABYTE

# What the server may say to nonsense. 501 is for a coding that it does not know, 505 for a version.
_REFUSALS: Final = (*range(400, 500), 501, 505)


# -- the good --------------------------------------------------------------------------------


def good(target: Target, rng: Random, tally: Tally) -> None:
    """Up to fifty requests on one connection, each of them timed."""
    with Client(target) as client:
        for _ in range(rng.randint(1, 50)):
            if tally.is_over:
                return
            begun = time.perf_counter()
            goes_on = _ask(client, rng)
            tally.note(time.perf_counter() - begun)
            if not goes_on:
                raise Broken("an answer that closes the connection, though nobody asked for that")
            tally.rest(rng.uniform(0.01, 0.03))


def _ask(client: Client, rng: Random) -> bool:
    seed, choice = rng.randrange(1_000_000), rng.random()
    if choice < 0.5:
        client.send(f"/hello?{seed}")
        return client.expect([b"hello %d" % seed])
    if choice < 0.65:
        body = b"".join(pattern(seed, rng.randint(1, 20_000)))
        client.send("/echo", body=body)
        return client.expect([body])
    if choice < 0.75:
        body = b"".join(pattern(seed, rng.randint(1, 2 * PIECE)))
        client.send_chunked("/echo", [body[:1000], body[1000:]] if len(body) > 1000 else [body])
        return client.expect([body])
    size = rng.randint(1, 2 * PIECE)
    client.send(f"{'/pieces' if choice < 0.9 else '/file'}?{seed},{size}")
    return client.expect(pattern(seed, size))


# -- the slow --------------------------------------------------------------------------------


def slow(target: Target, rng: Random, tally: Tally) -> None:
    """Drips its request, reads its answer slowly, or says nothing for a while."""
    choice = rng.random()
    if choice < 0.3:
        _drip(target, rng, tally)
    elif choice < 0.6:
        with Client(target) as client:
            seed, size = rng.randrange(1_000_000), rng.randint(1, 2 * _MEGABYTE)
            client.send(f"{rng.choice(['/pieces', '/file'])}?{seed},{size}")
            client.expect(pattern(seed, size), pause=0.01)
    elif choice < 0.8:
        with Client(target) as client:
            client.send("/nap?1")
            client.expect([b"hello 1"])
            tally.rest(rng.uniform(0, 3))
    else:
        with leaving(target.dial(), rng):
            tally.rest(rng.uniform(0, 3))


def _drip(target: Target, rng: Random, tally: Tally) -> None:
    """In some seconds, which is within any patience; or not to the end."""
    body = b"x" * 30
    data = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n" + body
    is_whole = rng.random() < 0.7
    if not is_whole:
        data = data[: rng.randrange(len(data))]
    with Client(target) as client:
        for number in range(len(data)):
            client.sock.sendall(data[number : number + 1])
            tally.rest(0.02)
        if is_whole:
            client.expect([body])


# -- those who leave -------------------------------------------------------------------------


def aborting(target: Target, rng: Random, tally: Tally) -> None:
    """Resets at a random byte of its request, or of the answer."""
    with leaving(target.connect(), rng) as sock:
        seed = rng.randrange(1_000_000)
        if rng.random() < 0.5:
            body = b"".join(pattern(seed, 100_000))
            path = rng.choice([b"/echo", b"/count", b"/ignore", b"/nap"])
            data = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" % path
            data += body
            sock.sendall(data[: rng.choice([rng.randrange(80), rng.randrange(len(data))])])
            if rng.random() < 0.5:
                tally.rest(rng.uniform(0, 0.05))
            return
        path = rng.choice([b"/pieces", b"/file"])
        sock.sendall(b"GET %b?%d,1000000 HTTP/1.1\r\nHost: localhost\r\n\r\n" % (path, seed))
        left = rng.choice([rng.randrange(300), rng.randrange(1_000_000)])
        while left > 0:
            left -= len(sock.recv(min(left, PIECE))) or left


# -- those who talk nonsense -----------------------------------------------------------------

_FINE: Final = (
    b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n3;a=b\r\nyou\r\n0\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
    b"GET /hello?1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
)


def garbage(target: Target, rng: Random, tally: Tally) -> None:
    """Random bytes, or HTTP with some wrong: refused with 4xx, or answered, but never a failure."""
    if rng.random() < 0.3:
        data = rng.randbytes(rng.randint(1, 4000))
    else:
        mutable = bytearray(rng.choice(_FINE))
        for _ in range(rng.randint(1, 4)):
            mutable[rng.randrange(len(mutable))] = rng.choice(b"\0\r\n :;/\xff0a\x7f")
        data = bytes(mutable)
    with leaving(target.connect(), rng) as sock:
        sock.sendall(data)
        if not target.tls:
            sock.shutdown(socket.SHUT_WR)
        sock.settimeout(rng.choice([0.05, 0.5]))  # it may well wait for more
        answer = b""
        while len(answer) < 100_000 and (piece := sock.recv(PIECE)):
            answer += piece
            _check_refusal(answer)


def _check_refusal(answer: bytes) -> None:
    """Of the first answer; a request that is still fine gets an ordinary one."""
    words = answer.split(b" ", 2)
    if len(words) < 3:
        return
    if not (words[1] in (b"100", b"200") or int(words[1]) in _REFUSALS):
        raise Broken(f"nonsense was answered with {answer[:60]!r}")


# -- the huge --------------------------------------------------------------------------------


def huge(target: Target, rng: Random, tally: Tally) -> None:
    """Megabytes in either direction, or a head without an end."""
    seed = rng.randrange(1_000_000)
    choice = rng.random()
    if choice < 0.3:
        _upload(target, seed)
    elif choice < 0.6:
        with Client(target) as client:
            client.send(f"{rng.choice(['/pieces', '/file'])}?{seed},{_HUGE}")
            client.expect(pattern(seed, _HUGE))
    elif choice < 0.7:
        with leaving(target.connect(), rng) as sock:
            head = b"POST /ignore HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
            sock.sendall(head % _HUGE)
            for piece in pattern(seed, _HUGE):
                sock.sendall(piece)
    else:
        _endless(target, rng)


def _upload(target: Target, seed: int) -> None:
    crc = 0
    for piece in pattern(seed, _HUGE):
        crc = zlib.crc32(piece, crc)
    with Client(target) as client:
        client.send_chunked("/count", pattern(seed, _HUGE))
        client.expect([b"%d %d" % (_HUGE, crc)])


def _endless(target: Target, rng: Random) -> None:
    """Heads, lines and extensions that never end are refused before they cost memory."""
    start, more = rng.choice(
        [
            (b"GET /", b"x" * 1000),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X-Field: some value or other\r\n" * 30),
            (b"GET / HTTP/1.1\r\nX: ", b"x" * 1000),
            (
                b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1",
                b";ext=" + b"x" * 1000,
            ),
        ]
    )
    with leaving(target.connect(), rng) as sock:
        sock.sendall(start)
        for _ in range(200):
            sock.sendall(more)
        answer = sock.recv(PIECE)
        if not answer.startswith(b"HTTP/1.1 4"):
            raise Broken(f"{start[:40]!r} without an end was answered with {answer[:60]!r}")


# -- those who break TLS ---------------------------------------------------------------------


def broken_tls(target: Target, rng: Random, tally: Tally) -> None:
    """A handshake that is cut, changed, or followed by nonsense; or no handshake at all."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = bytearray(outgoing.read())
    choice = rng.random()
    with leaving(target.dial(), rng) as sock:
        sock.settimeout(0.5)
        if choice < 0.3:
            sock.sendall(hello[: rng.randrange(len(hello))])
            tally.rest(rng.uniform(0, 0.2))
        elif choice < 0.6:
            for _ in range(rng.randint(1, 5)):
                hello[rng.randrange(5, len(hello))] = rng.randrange(256)
            sock.sendall(hello)
            sock.recv(PIECE)
        elif choice < 0.8:
            sock.sendall(hello)
            sock.recv(PIECE)
            sock.sendall(b"\x17\x03\x03\x01\x00" + rng.randbytes(256))
            sock.recv(PIECE)
        elif choice < 0.9:
            sock.sendall(rng.randbytes(rng.randint(1, 500)))
            sock.recv(PIECE)
        else:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            sock.recv(PIECE)


def ragged_tls(target: Target, rng: Random, tally: Tally) -> None:
    """A fine handshake, and then an end without a good-bye, or bytes that are not TLS."""
    sock = target.connect()
    assert isinstance(sock, ssl.SSLSocket)
    try:
        with contextlib.suppress(OSError):
            sock.sendall(b"GET /hello?1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if rng.random() < 0.5:
                sock.recv(PIECE)
            raw = socket.socket(fileno=sock.detach())
            with contextlib.suppress(OSError), raw:
                raw.sendall(rng.randbytes(rng.randint(0, 50)))
    finally:
        reset(sock)


@dataclass(frozen=True, slots=True)
class Kind:
    """Clients that behave alike; a process of their own.

    Args:
        visits: What each client does, one of them at random.
        targets: "http", "https" or both, taken in turns.
        clients: How many there are at a time.
        pause: Seconds between two visits of a client, on average. Bounded, so that the machine
            is not saturated: the time until a good client is answered would tell nothing then.
    """

    visits: tuple[Callable[[Target, Random, Tally], None], ...]
    targets: tuple[str, ...]
    clients: int
    pause: float


_BOTH: Final = ("http", "https")

KINDS: Final = {
    "good": Kind((good,), ("http",), 4, 0.02),
    "good, TLS": Kind((good,), ("https",), 2, 0.1),
    "slow": Kind((slow,), _BOTH, 12, 0.2),
    "aborting": Kind((aborting,), _BOTH, 4, 0.1),
    "garbage": Kind((garbage,), _BOTH, 4, 0.1),
    "huge": Kind((huge,), _BOTH, 2, 1.0),
    "broken TLS": Kind((broken_tls, ragged_tls), ("https",), 2, 0.1),
}
