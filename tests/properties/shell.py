"""The shell around the protocol, with everything around it replaced by hands that a test moves.

The connection, the exchange, the response writer and the request body are the real ones. The
transport, the mailbox, the pool and the timers do nothing by themselves. An application runs in
a real thread, but only while the test waits for it: `Worker.settle` returns when the thread wants
a command, waits for the loop, or has ended. So one thread runs at any time, and a walk can be
repeated step by step.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, cast

from aserve.config import ServerConfig
from aserve.events import ExchangeRecord
from aserve.server.buffers import Buffers
from aserve.server.connection import Connection
from aserve.server.exchange import Exchange
from aserve.server.gate import Collected, Gate
from aserve.server.patience import Patience, shortest
from aserve.server.server import Server
from aserve.server.transport import SocketTransport
from aserve.server.wheel import Wheel
from aserve.types import Environ, StartResponse

from ..helpers import DATE, PATIENCE, MemoryTransport

__all__ = ["CONFIG", "Shell", "Worker"]

CONFIG = ServerConfig(send_buffer=1024, body_buffer=64, drain_body=200)


class Worker:
    """A thread in which an exchange runs; `give` makes its application do one thing.

    Args:
        exchange: From the pool's queue.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.stage = "new"  # then "called", "body", "closed"
        self.sent = b""  # what the application has made of the response
        self.closed = 0  # how often the body was
        self.is_late = False  # told to answer behind a stop
        self.bodies = 0
        self.error: BaseException | None = None
        self._changed = threading.Condition()
        self._waits = False  # for a command
        self._blocked_at: object = None  # until the loop does something
        self._done = False
        self._commands: SimpleQueue[tuple[str, int]] = SimpleQueue()
        # The two places where a worker may wait for the loop say so.
        exchange.outbox._space = _Event(self)
        if exchange.stream is not None:
            exchange.stream._changed = _Condition(self)
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def number(self) -> int:
        """Of the request, which is its path."""
        return int(self.exchange.request.path[1:])

    @property
    def waits(self) -> bool:
        """Whether the application wants a command."""
        return self._waits

    @property
    def done(self) -> bool:
        """Whether the exchange's `run` has returned."""
        return self._done

    def start(self) -> None:
        """Begin; returns when it can go no further by itself."""
        self._thread.start()
        self.settle()

    def give(self, command: str, size: int = 0) -> None:
        """Have the application do something; returns when it can go no further by itself."""
        assert self._waits
        self._waits = False
        self._commands.put((command, size))
        self.settle()

    def settle(self) -> None:
        """Wait until the thread waits."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: self._waits or self._blocked_at is not None or self._done, PATIENCE
            ), f"request {self.number} neither goes on nor waits"

    def join(self) -> None:
        """The thread has ended."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"request {self.number} never ends"
        if self.error is not None:
            raise self.error

    # -- in the thread

    def _run(self) -> None:
        _current.worker = self
        try:
            self.exchange.run()
        except BaseException as error:
            self.error = error
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def command(self) -> tuple[str, int]:
        """The next thing to do."""
        with self._changed:
            self._waits = True
            self._changed.notify_all()
        return self._commands.get(timeout=PATIENCE)

    def block(self, place: object) -> None:
        """The thread begins to wait for the loop."""
        with self._changed:
            self._blocked_at = place
            self._changed.notify_all()

    def is_at(self, place: object) -> bool:
        """Whether it is there that the thread waits."""
        return self._blocked_at is place

    def release(self, place: object) -> None:
        """The loop lets the thread go on if it is there that it waits."""
        with self._changed:
            if self._blocked_at is place:
                self._blocked_at = None


class _Event(threading.Event):
    """Where a worker waits for space in the outbox."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def set(self) -> None:
        self._worker.release(self)
        super().set()

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._worker.block(self)
            if self.is_set():
                self._worker.release(self)
        return super().wait(PATIENCE)


class _Condition(threading.Condition):
    """Where a worker waits for the request's body."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(threading.Lock())
        self._worker = worker

    def wait(self, timeout: float | None = None) -> bool:
        self._worker.block(self)
        return super().wait(PATIENCE)

    def notify_all(self) -> None:
        self._worker.release(self)
        super().notify_all()


_current = threading.local()


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Does what its worker is told."""
    worker: Worker = _current.worker
    worker.stage = "called"
    headers = [("X-Number", str(worker.number))]
    while True:
        command, size = worker.command()
        if command == "read":
            environ["wsgi.input"].read(size)
        elif command == "raise":
            raise RuntimeError("the application was told to fail")
        elif command == "whole":
            worker.sent = _payload(worker.number, size)
            start_response("200 OK", [*headers, ("Content-Length", str(size))])
            return _List(worker)
        else:
            start_response("200 OK", headers)
            return _Body(worker, environ)


def _payload(number: int, size: int) -> bytes:
    return bytes([ord("A") + number % 26]) * size


class _List:
    """A body of one piece, with a `close`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        worker.bodies += 1

    def __iter__(self) -> Any:
        return iter([self._worker.sent])

    def close(self) -> None:
        self._worker.closed += 1


class _Body:
    """A body that comes as it is told."""

    def __init__(self, worker: Worker, environ: Environ) -> None:
        self._worker = worker
        self._environ = environ
        worker.stage = "body"
        worker.bodies += 1

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        worker = self._worker
        while True:
            command, size = worker.command()
            if command == "read":
                self._environ["wsgi.input"].read(size)
            elif command == "raise":
                raise RuntimeError("the application was told to fail")
            elif command == "yield":
                data = _payload(worker.number, size)
                worker.sent += data
                return data
            else:
                raise StopIteration

    def close(self) -> None:
        self._worker.stage = "closed"
        self._worker.closed += 1


class DirectTransport(MemoryTransport):
    """One over which a worker may send, and stops on its way for as long as the test likes.

    It stops twice: while it makes the bytes, and when the kernel is about to take them.
    """

    is_plain = True
    send_now = SocketTransport.send_now
    is_sending = SocketTransport.is_sending

    def __init__(self, protocol: asyncio.Protocol, extra: dict[str, Any] | None = None) -> None:
        super().__init__(protocol, extra)
        self._is_sending = False
        self._sock = self
        self._sizes: SimpleQueue[int] = SimpleQueue()

    @property
    def _buffer(self) -> bytearray:
        return self._waiting

    def stop(self) -> int:
        """In the worker: wait until the test lets it go on; returns what it was told."""
        worker: Worker = _current.worker
        worker.block(self)
        return self._sizes.get(timeout=PATIENCE)

    def let_go(self, worker: Worker, size: int) -> None:
        """Have a worker go on. The kernel takes so many bytes at most; -1 is an error."""
        worker.release(self)
        self._sizes.put(size)
        worker.settle()

    def send(self, data: bytes) -> int:
        """The kernel."""
        size = self.stop()
        if size < 0:
            raise BrokenPipeError
        self.received += data[:size]
        return len(data[:size])

    def lose(self, error: Exception | None = None) -> None:
        assert not self._is_sending  # as `SocketTransport` has it: see tests/server
        super().lose(error)


class _Timer:
    def __init__(self, callback: Callable[..., object]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Shell:
    """A real `Connection`, its transport, and what a server would do for it.

    Args:
        files: Whether the application may send files past the transport.
        direct: Whether a worker may send an answer, as over a plain socket.
    """

    def __init__(self, *, files: bool = False, direct: bool = False) -> None:
        self.mailbox: deque[Callable[[], object]] = deque()
        self.queue: deque[Exchange] = deque()
        self.workers: list[Worker] = []
        self.timers: list[_Timer] = []
        self.records: list[ExchangeRecord] = []
        self.connections = 0
        self.posted = self.left = 0  # how often something was, into the mailbox
        self.wheel = Wheel(
            cast(asyncio.AbstractEventLoop, SimpleNamespace(call_later=self._call_later)),
            shortest(CONFIG), is_needed=lambda: False, on_turn=lambda: None,
        )  # fmt: skip
        self.server = SimpleNamespace(
            patience=Patience(CONFIG, self.wheel),
            gate=Gate(self.mailbox.append),
            collected=Collected(),
            buffers=Buffers(),
            config=CONFIG,
            app=app,
            environ={},
            is_draining=False,
            meeting=None,
            is_shut=False,
            hand_over=None,
            is_observed=True,
            clock=SimpleNamespace(date_line=self._date_line),
            mailbox=SimpleNamespace(post=self._post, leave=self._leave, deliver=self._deliver),
            pool=SimpleNamespace(
                submit=self.queue.append,
                waiting=0,
                is_ticking=True,
                grow=lambda: True,
                shrink=lambda: None,
            ),
            loop=SimpleNamespace(call_later=self._call_later),
            roster=SimpleNamespace(add=lambda _: self._count(1), discard=lambda _: self._count(-1)),
            observe=lambda make: self.records.append(make()),
        )
        self.connection = Connection(cast(Server, self.server))
        # A real socket, but closed: what the shell does to it fails as on a connection that ended.
        # With TLS in between, files are not sent past the transport.
        with socket.socket() as sock:
            extra = {"sslcontext": None if files else True, "socket": sock}
        kind = DirectTransport if direct else MemoryTransport
        self.transport = kind(self.connection, extra)
        self.connection.connection_made(self.transport)
        if direct:
            self.connection._answers._direct = cast(SocketTransport, self.transport)

    @property
    def sender(self) -> Worker | None:
        """Who has stopped in the middle of a `send_now`."""
        found = [one for one in self.workers if one.is_at(self.transport)]
        assert len(found) < 2
        return found[0] if found else None

    def _date_line(self) -> bytes:
        if isinstance(self.transport, DirectTransport) and hasattr(_current, "worker"):
            self.transport.stop()
        return DATE

    def _post(self, message: Callable[[], object]) -> None:
        self.posted += 1
        self.mailbox.append(message)

    def _leave(self, message: Callable[[], object]) -> None:
        self.left += 1
        self.mailbox.append(message)

    def _deliver(self) -> None:
        for _ in range(len(self.mailbox)):
            self.mailbox.popleft()()

    def _count(self, change: int) -> None:
        self.connections += change

    def _call_later(self, _: float, callback: Callable[..., object]) -> asyncio.TimerHandle:
        timer = _Timer(callback)
        self.timers.append(timer)
        return cast(asyncio.TimerHandle, timer)

    def settle(self) -> None:
        """Let the threads go as far as they can."""
        for worker in self.workers:
            worker.settle()

    def work(self) -> None:
        """A thread of the pool takes the next job."""
        worker = Worker(self.queue.popleft())
        self.workers.append(worker)
        worker.start()

    def deliver_post(self) -> None:
        """The loop runs the next message from the workers."""
        self.mailbox.popleft()()
        self.settle()

    def fire_timer(self) -> None:
        """The time of the lingering close is over."""
        for timer in list(self.timers):  # callbacks may set further ones
            if not timer.cancelled:
                timer.cancelled = True
                timer.callback()
        self.settle()

    def finish(self) -> None:
        """The client is gone; everything comes to its end."""
        while (sender := self.sender) is not None:
            cast(DirectTransport, self.transport).let_go(sender, 0)
        self.transport.lose()
        self.settle()
        while self.mailbox:
            self.deliver_post()
        while self.queue:
            self.work()
        for worker in self.workers:
            while not worker.done:
                worker.give("stop")
            worker.join()
        while self.mailbox:
            self.deliver_post()
