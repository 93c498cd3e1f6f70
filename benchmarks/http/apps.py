"""The applications, as small as they can be: what is measured is the server around them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

HELLO = b"Hello, World!"
_CHUNK = b"x" * 100
CHUNKS = 1000
SLEEP = 0.05  # seconds
# What browsers and gunicorn's and Werkzeug's file wrappers use or multiply.
_BLOCK = 65_536


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer 13 bytes."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(HELLO)))])
    return [HELLO]


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Answer 1,000 items of 100 bytes without a length; each one has to be sent at once."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(CHUNKS):
        yield _CHUNK


def echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the request's body."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else HELLO
    start_response(
        "200 OK",
        [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))],
    )
    return [body]


def upload(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Read the request's body in blocks and answer its size."""
    left = int(environ.get("CONTENT_LENGTH") or 0)
    size = 0
    while left and (block := environ["wsgi.input"].read(min(left, _BLOCK))):
        size += len(block)
        left -= len(block)
    body = b"%d" % size
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def mixed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer at once, but for `/slow` after 50 ms of sleep."""
    if environ["PATH_INFO"] == "/slow":
        time.sleep(SLEEP)
    return hello(environ, start_response)


def slow(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer after 50 ms of sleep, as a view does that waits for a database."""
    time.sleep(SLEEP)
    return hello(environ, start_response)


class _Endless:
    def __iter__(self) -> _Endless:
        return self

    def __next__(self) -> bytes:
        return _CHUNK

    def close(self) -> None:
        with Path(os.environ["BENCHMARK_FILE"]).open("a") as file:
            file.write(f"{time.monotonic()}\n")


def endless(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer until the client leaves, and note in `BENCHMARK_FILE` when `close` was called."""
    if environ["PATH_INFO"] != "/endless":
        return hello(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return _Endless()


def send_file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the file that `BENCHMARK_FILE` names, by the server's file wrapper if it has one."""
    file = Path(os.environ["BENCHMARK_FILE"]).open("rb")  # noqa: SIM115 - the wrapper closes it
    size = os.fstat(file.fileno()).st_size
    start_response(
        "200 OK",
        [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))],
    )
    if wrapper := environ.get("wsgi.file_wrapper"):
        wrapped: Iterable[bytes] = wrapper(file, _BLOCK)
        return wrapped
    return iter(lambda: file.read(_BLOCK), b"")
