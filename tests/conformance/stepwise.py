"""What makes an app go on step by step, and count its steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .pep3333 import answering
from .wsgi_server import DEADLINE, LiveServer


class Gate:
    """The app waits here until the test opens it."""

    def __init__(self) -> None:
        self._reached = threading.Semaphore(0)
        self._open = threading.Semaphore(0)

    def wait(self) -> None:
        """In the app: tell the test, and wait for it."""
        self._reached.release()
        assert self._open.acquire(timeout=DEADLINE), "the test never opened the gate"

    def reached(self) -> None:
        """In the test: wait until the app is here."""
        assert self._reached.acquire(timeout=DEADLINE), "the app never came here"

    def open(self) -> None:
        """In the test: let the app go on, one time."""
        self._open.release()


class Body:
    """An iterable that counts its steps and its `close`."""

    def __init__(self, make: Callable[[], Iterable[bytes]]) -> None:
        self._make = make
        self.steps = 0
        self.closes = 0
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        for item in self._make():
            self.steps += 1
            yield item

    def close(self) -> None:
        self.closes += 1
        self.closed.set()

    def app(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """Answers with this body."""
        start_response("200 OK", [])
        return self

    def assert_closed_once(self, live: LiveServer) -> None:
        """Wait for `close`, and for another request through the same pool."""
        assert self.closed.wait(DEADLINE)
        live.app = answering([b"alive"])
        assert live.get().body == b"alive"
        assert self.closes == 1
