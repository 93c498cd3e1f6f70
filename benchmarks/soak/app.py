"""The app of the soak: every answer follows from its request, so each byte can be checked."""

from __future__ import annotations

import random
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

__all__ = ["PIECE", "app", "pattern"]

PIECE: Final = 65_536

_BLOCK: Final = random.Random("soak").randbytes(2 * PIECE)
_NAP: Final = 0.02


def pattern(seed: int, size: int) -> Iterator[bytes]:
    """A body in pieces; each seed and each position has other bytes, so nothing can be mixed up."""
    for number in range(0, size, PIECE):
        start = (seed * 31 + number // PIECE * 17) % PIECE
        yield _BLOCK[start : start + min(PIECE, size - number)]


def _asked(environ: WSGIEnvironment) -> tuple[int, int]:
    """Seed and size from the query `SEED,SIZE`."""
    seed, _, size = environ["QUERY_STRING"].partition(",")
    return int(seed), int(size)


def _hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = b"hello " + environ["QUERY_STRING"].encode("latin-1")
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def _nap(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    time.sleep(_NAP)
    return _hello(environ, start_response)


def _echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def _pieces(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return pattern(*_asked(environ))


def _file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    seed, size = _asked(environ)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
    file.writelines(pattern(seed, size))
    file.seek(0)
    start_response("200 OK", [("Content-Length", str(size))])
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
    return wrapped


def _count(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    size = crc = 0
    while piece := environ["wsgi.input"].read(PIECE):
        size += len(piece)
        crc = zlib.crc32(piece, crc)
    start_response("200 OK", [])
    return [b"%d %d" % (size, crc)]


def _ignore(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("413 Content Too Large", [])
    return [b"no"]


_ROUTES: Final = {
    "/hello": _hello, "/nap": _nap, "/echo": _echo, "/pieces": _pieces, "/file": _file,
    "/count": _count, "/ignore": _ignore,
}  # fmt: skip


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """See the routes."""
    view = _ROUTES.get(environ["PATH_INFO"])
    if view is None:
        start_response("404 Not Found", [])
        return [b"no such view"]
    return view(environ, start_response)
