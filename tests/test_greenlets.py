"""`aserve.greenlets`, with threads in the place of greenlets: what crosses the border, and how."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aserve.errors import ClientDisconnected
from aserve.greenlets import GreenletApp, Hub
from aserve.types import Environ, StartResponse
from aserve.wsgi.file_wrapper import FileWrapper

DEADLINE = 20


def call(app: Callable[..., Any], **environ: Any) -> list[Any]:
    """What a worker thread gets: heads, written pieces and the pieces of the answer, in order."""
    seen: list[Any] = []

    def start(*arguments: Any) -> Callable[[bytes], object]:
        seen.append((arguments, threading.current_thread().name))
        return seen.append

    def work() -> list[Any]:
        environ.setdefault("wsgi.input", io.BytesIO(b"one\ntwo\n"))
        result = GreenletApp(app, hub)(environ, start)
        seen.extend([result] if isinstance(result, FileWrapper) else result)
        if (close := getattr(result, "close", None)) is not None:
            close()
        return seen

    hub = Hub()
    return hub.run(work)


def test_a_list_and_the_body() -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        stream = environ["wsgi.input"]
        assert not stream.closed
        assert threading.current_thread().name == "aserve-loop"  # as its worker is called
        first = stream.readline()
        start_response("200 OK", [("A", "b")])(b"written")
        return [first, *stream]

    (head, where), *rest = call(app)
    assert head == ("200 OK", [("A", "b")])
    assert where == "aserve-loop"
    assert rest == [b"written", b"one\n", b"two\n"]


def test_pieces_come_out_of_one_greenlet_and_are_closed() -> None:
    threads: list[int] = []

    class Pieces:
        def __iter__(self) -> Iterator[bytes]:
            for number in range(3):
                threads.append(threading.get_ident())
                yield b"%d" % number

        def close(self) -> None:
            threads.append(threading.get_ident())

    assert call(lambda environ, start: Pieces()) == [b"0", b"1", b"2"]
    assert len(threads) == 4
    assert len(set(threads)) == 1


def test_a_file_is_handed_through() -> None:
    wrapper = FileWrapper(io.BytesIO(b"all of it"))
    assert call(lambda environ, start: wrapper) == [wrapper]


@pytest.mark.parametrize("error", [LookupError("x"), SystemExit(3), StopIteration("y")])
def test_what_is_raised_arrives(error: BaseException) -> None:
    def fails(environ: Environ, start_response: StartResponse) -> list[bytes]:
        raise error

    with pytest.raises(type(error)) as caught:
        call(fails)
    assert caught.value is error
    assert "fails" in [frame.name for frame in caught.traceback]


def test_an_error_of_the_server_is_raised_in_the_app() -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        with pytest.raises(ClientDisconnected):
            environ["wsgi.input"].read()
        return [b"seen"]

    class Broken(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise ClientDisconnected("the client left")

    assert call(app, **{"wsgi.input": Broken()}) == [b"seen"]


def test_who_asks_behind_the_end_is_refused() -> None:
    told: list[BaseException] = []
    over = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        def late() -> None:
            over.wait(DEADLINE)
            try:
                environ["wsgi.input"].read()
            except ClientDisconnected as error:
                told.append(error)

        thread = threading.Thread(target=late)
        thread.start()
        threads.append(thread)
        return [b"answered"]

    threads: list[threading.Thread] = []

    def work() -> object:
        result = GreenletApp(app, hub)({"wsgi.input": io.BytesIO()}, lambda *_: None)  # type: ignore[arg-type,return-value]
        over.set()
        threads[0].join(DEADLINE)
        return result

    hub = Hub()
    assert hub.run(work) == [b"answered"]
    assert [str(error) for error in told] == ["the request is over"]


def test_an_upgraded_connection() -> None:
    ours, theirs = socket.socketpair()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        sock = environ["werkzeug.socket"]
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(b"switched")
        sock.close()
        return []

    with ours:
        assert call(app, **{"werkzeug.socket": theirs}) == []
        assert theirs.fileno() == -1
        assert ours.makefile("rb").read() == b"switched"


def test_the_main_thread_is_asked_and_told() -> None:
    hub = Hub()
    main = threading.get_ident()

    def work() -> int:
        assert hub.call(threading.get_ident) == main
        with pytest.raises(LookupError):
            hub.call(lambda: {}["x"])
        return threading.get_ident()

    assert hub.run(work) != main
    with pytest.raises(ZeroDivisionError):
        Hub().run(lambda: 1 / 0)
