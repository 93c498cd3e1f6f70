"""The servers, each in a process of its own: `python -m benchmarks.lifecycle.candidates NAME`.

For each line on standard input a server is started, asked once, and stopped; a line with the two
durations in seconds goes to standard output. Runs in the environment of the peers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

__all__ = ["CANDIDATES"]

_HOST: Final = "127.0.0.1"
_GET: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
# Small beside any of the starts, and long enough to leave the processor to the server.
_PAUSE: Final = 0.0005


def hello(environ: Any, start_response: Any) -> Iterable[bytes]:
    """The app of all of them."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def ask(port: int) -> None:
    """One request; tried again while nobody listens."""
    while True:
        try:
            client = socket.create_connection((_HOST, port))
            break
        except ConnectionRefusedError:
            time.sleep(_PAUSE)
    with client:
        client.sendall(_GET)
        answer = b""
        while piece := client.recv(65_536):
            answer += piece
    assert answer.endswith(b"hello"), answer


@contextlib.contextmanager
def _aserve_thread() -> Iterator[int]:
    import aserve

    with aserve.ServerThread(hello, _HOST) as server:
        yield server.port


@contextlib.contextmanager
def _werkzeug() -> Iterator[int]:
    from werkzeug.serving import make_server

    server = make_server(_HOST, 0, hello, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@contextlib.contextmanager
def _pytest_httpserver() -> Iterator[int]:
    from pytest_httpserver import HTTPServer

    server = HTTPServer(host=_HOST, port=0)
    server.expect_request("/").respond_with_data("hello")
    server.start()
    yield server.port
    server.stop()


@contextlib.contextmanager
def _uvicorn() -> Iterator[int]:
    import uvicorn
    from a2wsgi import WSGIMiddleware

    config = uvicorn.Config(WSGIMiddleware(hello), host=_HOST, port=0, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(_PAUSE)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@contextlib.contextmanager
def _hypercorn() -> Iterator[int]:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    with socket.create_server((_HOST, 0)) as probe:  # it does not tell a port that it has picked
        port = probe.getsockname()[1]
    config = Config()
    config.bind = [f"{_HOST}:{port}"]
    config.loglevel = "CRITICAL"
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def work() -> None:
        loop.run_until_complete(serve(hello, config, mode="wsgi", shutdown_trigger=stop.wait))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield port
    loop.call_soon_threadsafe(stop.set)
    thread.join()


def _turn(serving: Callable[[], contextlib.AbstractContextManager[int]]) -> tuple[float, float]:
    started = time.perf_counter()
    with serving() as port:
        ask(port)
        answered = time.perf_counter()
    return answered - started, time.perf_counter() - answered


def _block_turn() -> tuple[float, float]:
    """In a loop that runs already, as in an async test."""
    import aserve

    async def turn() -> tuple[float, float]:
        started = time.perf_counter()
        async with aserve.open_server(hello, _HOST) as server:
            await asyncio.to_thread(ask, server.port)
            answered = time.perf_counter()
        return answered - started, time.perf_counter() - answered

    return asyncio.run(turn())


CANDIDATES: Final[dict[str, Callable[[], tuple[float, float]]]] = {
    "aserve.ServerThread": lambda: _turn(_aserve_thread),
    "aserve.open_server": _block_turn,
    "werkzeug": lambda: _turn(_werkzeug),
    "pytest-httpserver": lambda: _turn(_pytest_httpserver),
    "uvicorn": lambda: _turn(_uvicorn),
    "hypercorn": lambda: _turn(_hypercorn),
}


def main() -> None:
    """Serve a turn for each line."""
    logging.disable()  # Werkzeug's access log
    turn = CANDIDATES[sys.argv[1]]
    for _ in sys.stdin:
        print(*turn(), flush=True)


if __name__ == "__main__":
    main()
