"""Processor time per request, layer by layer: `python -m benchmarks.micro [--rounds N]`.

Each layer is run by itself in one thread, with what the layer above would hand it, so the
figures add up to a request without the kernel's network and without changes of threads. The
last rows are the real thing, over a socket pair, for comparison.
"""

from __future__ import annotations

import argparse
import io
import json
import socket
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from time import process_time
from typing import Any, Final

from aserve.config import Limits
from aserve.events import Request, Response
from aserve.http.h1 import H1Connection
from aserve.http.head import parse_head
from aserve.server.clock import Clock
from aserve.server.transport import READ_SIZE
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
    """Each layer as a function that does it once."""
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

    return {
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


def _measure(function: Callable[[], object]) -> float:
    started = process_time()
    for _ in range(_REPEAT):
        function()
    return (process_time() - started) / _REPEAT * 1e6


def main() -> int:
    """Print the table and keep it as JSON; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.micro", description="What each layer of the engine costs."
    )
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"turns each ({_ROUNDS})")
    rounds = parser.parse_args().rounds
    layers = _layers()
    times: dict[str, list[float]] = {name: [] for name in layers}
    # Turn by turn, because the machine's speed drifts; the first round warms up.
    for number in range(rounds + 1):
        for name, function in layers.items():
            figure = _measure(function)
            if number:
                times[name].append(figure)
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
