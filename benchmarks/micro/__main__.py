"""Processor time per request, layer by layer: `python -m benchmarks.micro [--rounds N]`.

Each layer is run by itself in one thread, with what the layer above would hand it, so the
figures add up to a request without the kernel's network and without changes of threads. Then
comes all of it over a socket pair; what the loop alone takes to be told of a socket; and the real
server, with its loop and its workers, asked one request at a time and 32 at a time. What these
rows have more than the one over the socket pair is what loop and threads cost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import socket
import statistics
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from queue import SimpleQueue
from time import process_time
from typing import Any, Final

from aserve import Server, open_server
from aserve.config import Limits
from aserve.events import Request, Response
from aserve.http.h1 import H1Connection
from aserve.http.head import parse_head
from aserve.server.clock import Clock
from aserve.server.own_loop import own_loop
from aserve.server.read_side import READ_SIZE
from aserve.wsgi.environ import build_environ
from aserve.wsgi.response import ResponseWriter

from .. import common
from ..http.apps import HELLO, hello
from ..http.scenarios import BROWSER

_ROUNDS: Final = 7
# Long enough for the clock: 20,000 times 1 us is 20 ms.
_REPEAT: Final = 20_000

_PLAIN: Final = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
_BROWSER: Final = (
    _PLAIN[:-2] + b"".join(f"{name}: {value}\r\n".encode() for name, value in BROWSER) + b"\r\n"
)
_TEMPLATE: Final[dict[str, Any]] = {
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "50000",
    "SERVER_SOFTWARE": "aserve",
}


class _Sink:
    """Takes the response and keeps nothing."""

    response: Response

    def whole(self, response: Response, body: bytes) -> None:
        self.response = response

    def head(self, response: Response) -> None: ...

    def data(self, data: bytes) -> None: ...

    def file(self, descriptor: int, offset: int, size: int) -> int | None:
        return None

    def end(self) -> None: ...


def _layers() -> dict[str, Callable[[], object]]:
    """Each layer as a function that does it `_REPEAT` times."""
    limits, clock = Limits(), Clock()
    sink = _Sink()
    request = parse_head(_PLAIN, limits.limit_request_fields)
    browser = parse_head(_BROWSER, limits.limit_request_fields)

    def environ(request: Request) -> dict[str, Any]:
        return build_environ(request, _TEMPLATE, io.BytesIO())

    def parse_anew(head: bytes) -> None:
        parse_head.__wrapped__(head, limits.limit_request_fields)

    def environ_anew() -> None:
        browser.derived = None
        environ(browser)

    def run() -> None:
        ResponseWriter(sink, is_head=False).run(hello, environ(request))

    environ(request)
    run()
    response = sink.response
    h1 = H1Connection(limits, clock.date_line)

    def protocol() -> None:
        h1.receive_data(_PLAIN)
        h1.send_whole(response, HELLO)
        h1.next_cycle()

    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def network() -> None:
        theirs.send(_PLAIN)
        ours.recv(READ_SIZE)
        ours.send(_PLAIN)
        theirs.recv(READ_SIZE)

    def everything() -> None:
        theirs.send(_PLAIN)
        events = h1.receive_data(ours.recv(READ_SIZE))
        assert isinstance(events[0], Request)
        ResponseWriter(sink, is_head=False).run(hello, environ(events[0]))
        ours.send(h1.send_whole(sink.response, HELLO))
        h1.next_cycle()
        theirs.recv(READ_SIZE)

    async def turns() -> None:
        """One loop, in which a socket is readable in each turn."""
        done = asyncio.Event()
        left = _REPEAT

        def read() -> None:
            nonlocal left
            ours.recv(READ_SIZE)
            left -= 1
            if left:
                theirs.send(_PLAIN)
            else:
                done.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(ours, read)
        theirs.send(_PLAIN)
        await done.wait()
        loop.remove_reader(ours)

    def loop_turns() -> None:
        with asyncio.Runner(loop_factory=own_loop) as runner:
            runner.run(turns())

    once: dict[str, Callable[[], object]] = {
        "parse a head, seen before": lambda: parse_head(_PLAIN, limits.limit_request_fields),
        "parse a head, new": lambda: parse_anew(_PLAIN),
        "parse a head of 18 browser fields, new": lambda: parse_anew(_BROWSER),
        "environ, seen before": lambda: environ(request),
        "environ of 18 browser fields, new": environ_anew,
        "environ, app and response writer": run,
        "protocol: parse, response head, next cycle": protocol,
        "recv and send, both ends": network,
        "all of it over a socket pair, both ends": everything,
    }
    turn = "one turn of the loop, with send and recv"
    return {**{name: _repeated(function) for name, function in once.items()}, turn: loop_turns}


@contextlib.contextmanager
def _server() -> Iterator[int]:
    """The server on a loop of its own in a thread; its port."""
    ready: SimpleQueue[Server] = SimpleQueue()

    async def main() -> None:
        async with open_server(hello, "127.0.0.1") as server:
            ready.put(server)
            await server.wait_closed()

    def run() -> None:
        with asyncio.Runner(loop_factory=own_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    server = ready.get()
    try:
        yield server.port
    finally:
        server.shutdown(0)
        thread.join()


def _asker(stack: contextlib.ExitStack, port: int, connections: int) -> Callable[[], object]:
    """Sends a request on each of so many connections and reads the answers, again and again."""
    socks = [
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        for _ in range(connections)
    ]

    def ask() -> None:
        for _ in range(_REPEAT // connections):
            for sock in socks:
                sock.send(_PLAIN)
            for sock in socks:
                sock.recv(READ_SIZE)

    return ask


def _repeated(function: Callable[[], object]) -> Callable[[], object]:
    def repeat() -> None:
        for _ in range(_REPEAT):
            function()

    return repeat


def _measure(function: Callable[[], object]) -> float:
    """Microseconds of processor time of the whole process, for one of `_REPEAT` times."""
    started = process_time()
    function()
    return (process_time() - started) / _REPEAT * 1e6


def main() -> int:
    """Print the table and keep it as JSON; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.micro", description="What each layer of the engine costs."
    )
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"turns each ({_ROUNDS})")
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(_server())
        layers = {
            **_layers(),
            "the server, 1 request at a time, both ends": _asker(stack, port, 1),
            "the server, 32 requests at a time, both ends": _asker(stack, port, 32),
        }
        # Turn by turn, because the machine's speed drifts; the first round warms up.
        for number in range(rounds + 1):
            for name, function in layers.items():
                figure = _measure(function)
                if number:
                    times.setdefault(name, []).append(figure)
    about = {**common.machine(), "rounds": rounds}
    print(", ".join(f"{name} {value}" for name, value in about.items()), "\n")
    print("| layer | us of CPU, median | lowest |\n|---|---:|---:|")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} |")
    common.RESULTS.mkdir(exist_ok=True)
    path = common.RESULTS / f"micro-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps({"about": about, "us": times}, indent=1) + "\n", "utf-8")
    print(f"\nsaved: {path.relative_to(common.ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
