"""`StreamBody`: what `wsgi.input` is for bodies that stream. One thread feeds, one reads."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aserve.errors import ClientDisconnected
from aserve.wsgi.body import StreamBody

# Longer than any of this takes; only a test that fails waits for it.
DEADLINE = 10


class Stream:
    """A body and what it told the server."""

    def __init__(self, *pieces: bytes, high_water: int = 1 << 20, eof: bool = True) -> None:
        self.first_reads = 0
        self.resumes = 0
        self.wanted = threading.Event()
        self.body = StreamBody(high_water, self._first_read, self._resume)
        for piece in pieces:
            self.body.feed(piece)
        if eof:
            self.body.feed_eof()

    def _first_read(self) -> None:
        self.first_reads += 1
        self.wanted.set()

    def _resume(self) -> None:
        self.resumes += 1


@pytest.fixture
def reader() -> Iterator[Callable[..., Future[Any]]]:
    """Call something in another thread: `reader(body.read, 5)` is its future."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


# Each case is what the standard library's file would give.
CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("read()", lambda body: body.read()),
    ("read(None)", lambda body: body.read(None)),
    ("read(-1)", lambda body: body.read(-1)),
    ("read(0)", lambda body: body.read(0)),
    ("read(1)", lambda body: body.read(1)),
    ("read(7)", lambda body: body.read(7)),
    ("read(1000)", lambda body: body.read(1000)),
    ("readline()", lambda body: body.readline()),
    ("readline(None)", lambda body: body.readline(None)),
    ("readline(0)", lambda body: body.readline(0)),
    ("readline(2)", lambda body: body.readline(2)),
    ("readline(1000)", lambda body: body.readline(1000)),
    ("readlines()", lambda body: body.readlines()),
    ("readlines(None)", lambda body: body.readlines(None)),
    ("readlines(0)", lambda body: body.readlines(0)),
    ("readlines(3)", lambda body: body.readlines(3)),
    ("list()", list),
]


@given(
    pieces=st.lists(
        st.binary(min_size=1, max_size=12) | st.sampled_from([b"\n", b"a\nb", b"\r\n"])
    ),
    calls=st.lists(st.sampled_from(CALLS), max_size=12),
)
def test_reads_like_a_file(
    pieces: list[bytes], calls: list[tuple[str, Callable[[Any], Any]]]
) -> None:
    """B42: every method gives what `io.BytesIO` gives, however the bytes are cut."""
    body, model = Stream(*pieces).body, io.BytesIO(b"".join(pieces))
    for name, call in calls:
        assert call(body) == call(model), name
    assert body.read() == model.read()
    assert body.read() == b""
    assert body.readline() == b""


@pytest.mark.parametrize(("name", "call"), CALLS)
def test_each_call_alone(name: str, call: Callable[[Any], Any]) -> None:
    """B42: also without a size, no call waits for more than the body."""
    pieces = [b"a\nb", b"c\r\n", b"\n\nd"]
    assert call(Stream(*pieces).body) == call(io.BytesIO(b"".join(pieces)))


def test_read_waits_for_all_it_was_asked_for(reader: Callable[..., Future[Any]]) -> None:
    stream = Stream(eof=False)
    answer = reader(stream.body.read, 6)
    assert stream.wanted.wait(DEADLINE)
    for piece in (b"ab", b"cd", b"efgh"):
        stream.body.feed(piece)
    assert answer.result(DEADLINE) == b"abcdef"
    assert stream.body.read(2) == b"gh"


def test_read_ends_with_the_body(reader: Callable[..., Future[Any]]) -> None:
    stream = Stream(b"ab", eof=False)
    answer = reader(stream.body.read)
    assert stream.wanted.wait(DEADLINE)
    stream.body.feed_eof()
    assert answer.result(DEADLINE) == b"ab"


def test_first_read_is_told_once(reader: Callable[..., Future[Any]]) -> None:
    """B55: that is the moment for 100 Continue."""
    stream = Stream(eof=False)
    assert stream.first_reads == 0
    answer = reader(stream.body.read)
    assert stream.wanted.wait(DEADLINE)
    stream.body.feed(b"a")
    stream.body.feed(b"b")
    stream.body.feed_eof()
    assert answer.result(DEADLINE) == b"ab"
    assert stream.body.read() == b""
    assert stream.first_reads == 1


def test_bytes_that_are_there_need_no_first_read() -> None:
    stream = Stream(b"ab")
    assert stream.body.read(2) == b"ab"
    assert stream.first_reads == 0


def test_back_pressure() -> None:
    """The sender is paused at the mark and resumed once, at half of it."""
    stream = Stream(high_water=4, eof=False)
    assert stream.body.feed(b"abc")
    assert not stream.body.feed(b"d")
    assert stream.body.read(1) == b"a"
    assert stream.resumes == 0
    assert stream.body.read(1) == b"b"
    assert stream.resumes == 1
    assert stream.body.read(2) == b"cd"
    assert stream.resumes == 1
    assert stream.body.feed(b"e")


def test_error_comes_behind_the_bytes_and_stays() -> None:
    """B65: the app learns that the client left where it reads."""
    stream = Stream(b"ab\ncd", eof=False)
    stream.body.fail(ClientDisconnected("gone"))
    assert stream.body.readline() == b"ab\n"
    assert stream.body.read(2) == b"cd"
    for read in (stream.body.read, stream.body.readline, stream.body.readlines):
        with pytest.raises(ClientDisconnected, match="gone"):
            read()


def test_error_wakes_the_reader(reader: Callable[..., Future[Any]]) -> None:
    stream = Stream(eof=False)
    answer = reader(stream.body.read)
    assert stream.wanted.wait(DEADLINE)
    stream.body.fail(ClientDisconnected("gone"))
    with pytest.raises(ClientDisconnected):
        answer.result(DEADLINE)


def test_error_behind_the_end_means_nothing() -> None:
    """A client may leave once all of its body is here."""
    stream = Stream(b"ab")
    stream.body.fail(ClientDisconnected("gone"))
    assert stream.body.read() == b"ab"
    assert stream.body.read() == b""


def test_close_leaves_the_connection_alone() -> None:
    stream = Stream(b"ab")
    stream.body.close()
    assert stream.body.read() == b"ab"


class Waiter:
    """Whoever may use the thread meanwhile."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.is_waiting = threading.Event()

    def waits(self) -> None:
        self.told.append("waits")
        self.is_waiting.set()

    def goes_on(self) -> None:
        self.told.append("goes on")


@pytest.mark.parametrize("end", ["data", "eof", "error"])
def test_who_waits_for_long_says_so(reader: Callable[..., Future[Any]], end: str) -> None:
    waiter = Waiter()
    body = StreamBody(100, lambda: None, lambda: None, waiter=waiter)
    read = reader(body.read, 3)
    assert waiter.is_waiting.wait(DEADLINE)
    assert waiter.told == ["waits"]
    if end == "data":
        body.feed(b"abc")
    elif end == "eof":
        body.feed_eof()
    else:
        body.fail(ClientDisconnected("gone"))
    if end == "error":
        with pytest.raises(ClientDisconnected):
            read.result(DEADLINE)
    else:
        assert read.result(DEADLINE) == (b"abc" if end == "data" else b"")
    assert waiter.told == ["waits", "goes on"]


def test_who_waits_for_a_moment_says_nothing(
    reader: Callable[..., Future[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aserve.wsgi.body._PATIENCE_SECONDS", DEADLINE)
    waiter, wanted = Waiter(), threading.Event()
    body = StreamBody(100, wanted.set, lambda: None, waiter=waiter)
    read = reader(body.read, 3)
    assert wanted.wait(DEADLINE)
    body.feed(b"abc")
    assert read.result(DEADLINE) == b"abc"
    assert waiter.told == []


def test_waiting_needs_nobody_who_wants_to_know(
    reader: Callable[..., Future[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aserve.wsgi.body._PATIENCE_SECONDS", 0)
    stream = Stream(eof=False)
    read = reader(stream.body.read, 3)
    waiters: Any = stream.body._changed._waiters  # type: ignore[attr-defined]
    while not waiters:
        assert not read.done()
    stream.body.feed(b"abc")
    assert read.result(DEADLINE) == b"abc"
