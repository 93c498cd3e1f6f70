"""Serving an app whose threads are greenlets: gevent's or eventlet's, by their monkey patches.

Greenlets live in the thread that has imported the app, and run while it waits in their hub. So that
thread is theirs, and the engine goes to another one:

```text
native thread: the loop ........ and as ever its worker threads
                                   |  GreenletApp(environ, start_response)
                                   |  a call, or the answer to one of the app's     --> mailbox
main thread: the hub <-------------+
    each request is a "thread" of the app's own, that is a greenlet;
    reading the body and `start_response` go back to the worker, which waits for them
```

Nothing here knows gevent or eventlet: on the app's side it uses the standard library as they have
patched it (`threading`, `socket`), on the other one `aserve.native`. So an app behaves as it does
under `flask run`: what it has started at its import runs, and requests take turns where they block.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

from . import native
from .errors import ClientDisconnected
from .forks import close_in_forks, end_if_fork, is_fork
from .types import Environ, StartResponse, WSGIApp
from .wsgi.file_wrapper import FileWrapper

__all__ = ["GreenletApp", "Hub"]

_T = TypeVar("_T")


class _Answer:
    """What became of a call: made on one side, looked at by the other."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._value: Any = None
        self.error: BaseException | None = None

    def find(self) -> None:
        """Make the call."""
        try:
            self._value = self._function()
        except BaseException as error:
            self.error = error

    def get(self) -> Any:
        """Its value, or its exception raised."""
        if self.error is None:
            return self._value
        try:
            raise self.error
        finally:
            self.error = None  # whose traceback leads to here


class Hub:
    """The main thread, as the place of the app's greenlets. Made in it, once `is_patched`."""

    def __init__(self) -> None:
        ours, theirs = native.socket.socketpair()
        theirs.setblocking(False)
        self._wake = theirs
        # Of the patched class: who waits for it lets the greenlets run.
        self._bell = socket.socket(ours.family, ours.type, 0, ours.detach())
        self._messages: deque[Callable[[], object]] = deque()
        close_in_forks(self)

    def close_in_fork(self) -> None:
        """See `aserve.forks.Holder`: what wakes the parent must not be taken away from it."""
        for sock in (self._bell, self._wake):
            native.os.close(sock.fileno())

    def run(self, function: Callable[[], _T]) -> _T:
        """Call `function` in a native thread, and be the hub until it returns. Main thread.

        Raises:
            BaseException: What `function` has raised.
        """
        answer = _Answer(function)
        is_over: list[bool] = []

        def work() -> None:
            answer.find()
            self.post(lambda: is_over.append(True))

        native.threading.Thread(target=work, name="aserve-loop", daemon=True).start()
        try:
            while not is_over:
                self._bell.recv(4096)
                while self._messages:
                    self._messages.popleft()()
        finally:
            self._bell.close()
            self._wake.close()
        value: _T = answer.get()
        return value

    def post(self, message: Callable[[], object]) -> None:
        """Have `message` called in the hub's main greenlet soon; it must not block. Any thread."""
        self._messages.append(message)
        # Full of wake-ups, or closed, which is the end.
        with contextlib.suppress(OSError):
            self._wake.send(b"\0")

    def call(self, function: Callable[[], _T]) -> _T:
        """Have `function` called in the main thread, and wait for it. Another thread."""
        answer = _Answer(function)
        done = native.threading.Event()

        def message() -> None:
            answer.find()
            done.set()

        self.post(message)
        done.wait()
        value: _T = answer.get()
        return value


class _Request:
    """One request: a greenlet of the app's, and the worker thread that waits for it.

    The worker asks the greenlet (`ask`: the app, the next piece, `close`), and while it waits
    answers what the greenlet, or any other of the app's, asks it (`tell`).
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._name = native.threading.current_thread().name
        self._todo: deque[_Answer | None] = deque()  # for the greenlet
        self._has_todo: threading.Event  # the patched one, made in the hub
        self._asked: deque[Callable[[], bool]] = deque()  # for the worker
        self._is_asked = native.threading.Semaphore(0)
        self._is_over = False
        hub.post(self._begin)

    # -- the worker's thread -------------------------------------------------------------

    def ask(self, function: Callable[[], Any]) -> Any:
        """Have `function` called in the greenlet; returns and raises what it does."""
        answer = _Answer(function)
        self._hub.post(functools.partial(self._give, answer))
        while True:
            self._is_asked.acquire()
            if self._asked.popleft()():
                return answer.get()

    def end(self) -> None:
        """The greenlet may end, and who still asks is refused. Idempotent."""
        if self._is_over:
            return
        self._is_over = True
        self._hub.post(functools.partial(self._give, None))
        self._refuse()

    # -- the hub's thread ----------------------------------------------------------------

    def _begin(self) -> None:
        self._has_todo = threading.Event()
        # As the app would make one, so it is what the app takes a thread for.
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _give(self, answer: _Answer | None) -> None:
        self._todo.append(answer)
        self._has_todo.set()

    def _work(self) -> None:
        while True:
            self._has_todo.wait()
            self._has_todo.clear()
            while self._todo:
                answer = self._todo.popleft()
                if answer is None:
                    return
                answer.find()
                end_if_fork(answer.error)
                self._asked.append(lambda: True)
                self._is_asked.release()

    def _refuse(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._asked.popleft()()

    def tell(self, function: Callable[[], _T]) -> _T:
        """Have `function` called in the worker; the greenlet waits, and others run.

        Raises:
            ClientDisconnected: The request is over.
        """
        done = threading.Event()

        def unless_over() -> _T:
            if self._is_over:
                raise ClientDisconnected("the request is over")
            return function()

        answer = _Answer(unless_over)

        def message() -> bool:
            answer.find()
            self._hub.post(done.set)
            return False

        if is_fork():
            raise ClientDisconnected("the request is the parent's")
        self._asked.append(message)
        self._is_asked.release()
        if self._is_over:  # looked at behind `append`; who ends it looks at what is asked
            self._refuse()
        done.wait()
        value: _T = answer.get()
        return value


class GreenletApp:
    """An app in front of its greenlets; called in worker threads.

    Args:
        app: The application, to be called in greenlets of the hub.
        hub: Where they live.
    """

    def __init__(self, app: WSGIApp, hub: Hub) -> None:
        self._app = app
        self._hub = hub

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333; what is returned has to be closed, and gives its pieces one by one."""
        request = _Request(self._hub)
        environ = {**environ, "wsgi.input": _Input(environ["wsgi.input"], request)}
        if (offered := environ.get("werkzeug.socket")) is not None:
            environ["werkzeug.socket"] = _Socket(offered)

        def start(*arguments: Any) -> Callable[[bytes], object]:
            end_if_fork()
            write = request.tell(lambda: start_response(*arguments))
            return lambda data: request.tell(lambda: write(data))

        try:
            result = request.ask(lambda: self._app(environ, start))
        except BaseException:
            _end(request, environ)
            raise
        if isinstance(result, list | tuple | FileWrapper):
            _end(request, environ)
            return result
        return _Pieces(result, request, environ)


def _end(request: _Request, environ: Environ) -> None:
    request.end()
    # Who holds the environment does not hold an upgraded connection.
    environ.pop("werkzeug.socket", None)


class _Pieces:
    """What the app has returned, piece by piece out of its greenlet. Worker thread."""

    def __init__(self, result: Iterable[bytes], request: _Request, environ: Environ) -> None:
        self._result = result
        self._request = request
        self._environ = environ
        self._pieces: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = self._request.ask(self._next)
        if piece is _END:
            raise StopIteration
        return piece  # type: ignore[no-any-return]

    def _next(self) -> Any:
        if self._pieces is None:
            self._pieces = iter(self._result)
        return next(self._pieces, _END)

    def close(self) -> None:
        """Close what the app has returned, as PEP 3333 wants it."""
        try:
            if (close := getattr(self._result, "close", None)) is not None:
                self._request.ask(close)
        finally:
            _end(self._request, self._environ)


_END: Final = object()


class _Input:
    """`wsgi.input` for greenlets: the worker reads."""

    def __init__(self, stream: Any, request: _Request) -> None:
        self._stream = stream
        self._request = request

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._stream, name)
        if not callable(method):
            return method
        return lambda *arguments: self._request.tell(lambda: method(*arguments))

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line


class _Socket:
    """`environ["werkzeug.socket"]` for greenlets: with its first use a socket of theirs."""

    def __init__(self, offered: Any) -> None:
        self._offered = offered
        self._socket: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._socket is None:
            family, kind = self._offered.family, self._offered.type
            self._socket = socket.socket(family, kind, 0, self._offered.detach())
        return getattr(self._socket, name)

    def setsockopt(self, *arguments: Any) -> None:
        """Options of TCP, which a pair of sockets does not have, are left out."""
        if arguments and arguments[0] != socket.IPPROTO_TCP:
            self.__getattr__("setsockopt")(*arguments)

    def close(self) -> None:
        """The app is done with it. Idempotent."""
        if self._socket is not None:
            self._socket.close()
