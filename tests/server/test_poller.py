"""Connections at rest: parked by one thread, taken by another, never by two."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from aserve.server.poller import AVAILABLE, Poller

from ..helpers import PATIENCE

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="there is no epoll here")


class _Item:
    def __init__(self, sock: socket.socket) -> None:
        self.fd = sock.fileno()
        self.registered = False

    can_wait = False

    def run(self) -> None: ...

    def overdue(self) -> None: ...

    def is_over(self) -> bool:
        return False

    def drop(self) -> None: ...


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_data_hands_the_item_out_once(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    item = _Item(ours)
    assert poller.park(item)
    assert poller.wait(0) is None
    theirs.send(b"x")
    assert poller.wait(PATIENCE) == [item]
    theirs.send(b"y")
    assert poller.wait(0) is None  # it is the taker's now, whatever comes
    assert not poller.reclaim(item)
    assert poller.park(item)
    assert poller.wait(PATIENCE) == [item]  # what came meanwhile is told of at once


def test_reclaimed_is_silent_and_can_be_parked_again(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    item = _Item(ours)
    poller.park(item)
    assert poller.reclaim(item)
    assert not poller.reclaim(item)
    theirs.send(b"x")
    assert poller.wait(0) is None
    poller.park(item)
    assert poller.wait(PATIENCE) == [item]


def test_the_end_of_a_connection_is_an_event(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    item = _Item(ours)
    poller.park(item)
    theirs.close()
    assert poller.wait(PATIENCE) == [item]


def test_interrupt_ends_the_wait_that_is_under_way_or_the_next(poller: Poller) -> None:
    poller.interrupt()
    assert poller.wait(PATIENCE) == []
    assert poller.wait(0) is None
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(poller.wait(PATIENCE)))
    thread.start()
    poller.interrupt()
    thread.join(PATIENCE)
    assert found == [[]]


def test_nothing_is_parked_when_it_is_shut(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    item = _Item(pair[0])
    assert not poller.is_shut()
    poller.shut()
    assert poller.is_shut()
    assert not poller.park(item)
    pair[1].send(b"x")
    assert poller.wait(0) is None


def test_a_connection_that_was_reclaimed_and_closed_meanwhile_is_left_alone(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    """The worker parks just when the loop has cut the connection."""
    ours, theirs = pair
    item = _Item(ours)
    poller.park(item)
    theirs.send(b"x")
    assert poller.wait(PATIENCE) == [item]
    ours.close()
    assert poller.park(item)
    assert poller.wait(0) is None


def test_two_threads_never_get_the_same(poller: Poller) -> None:
    """One takes by waiting, the other by reclaiming; each item ends up with exactly one."""
    pairs = [socket.socketpair() for _ in range(200)]
    items = [_Item(ours) for ours, _ in pairs]
    for item in items:
        poller.park(item)
    waited: list[object] = []
    reclaimed: list[object] = []

    def wait() -> None:
        while (found := poller.wait(PATIENCE)) != []:
            waited.extend(found or ())

    thread = threading.Thread(target=wait)
    thread.start()
    for item, (_, theirs) in zip(items, pairs, strict=True):
        theirs.send(b"x")
        if poller.reclaim(item):
            reclaimed.append(item)
    poller.interrupt()
    thread.join(PATIENCE)
    assert sorted(map(id, waited + reclaimed)) == sorted(map(id, items))
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


class _Snatching:
    """An epoll that lets the loop reclaim the item as soon as it is in the table."""

    def __init__(self, poller: Poller, item: _Item) -> None:
        self._poller, self._real, self._item = poller, poller._epoll, item
        self.snatched = 0

    def _snatch(self) -> None:
        if self._item.fd in self._poller._parked:
            self.snatched += self._poller.reclaim(self._item)

    def register(self, fd: int, events: int) -> None:
        self._snatch()
        self._real.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        self._snatch()
        self._real.modify(fd, events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_an_item_may_be_reclaimed_while_it_is_being_parked(
    poller: Poller, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reclaims it at that moment owns it, and may park it again."""
    ours, theirs = pair
    item = _Item(ours)
    real = poller._epoll
    for turn in range(2):
        snatching = _Snatching(poller, item)
        monkeypatch.setattr(poller, "_epoll", snatching)
        assert poller.park(item)
        assert snatching.snatched == 1, turn
        monkeypatch.setattr(poller, "_epoll", real)
        assert not poller.reclaim(item)
        theirs.send(b"x")
        assert poller.park(item)
        assert poller.wait(PATIENCE) == [item]


class _Epoll:
    """Counts the looks at a real epoll that did not sleep, and those that did."""

    def __init__(self, real: select.epoll) -> None:
        self._real = real
        self.looks = self.sleeps = 0

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        if timeout:
            self.sleeps += 1
        else:
            self.looks += 1
        return self._real.poll(timeout, maxevents)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.mark.parametrize(("processors", "spins"), [({0, 1}, True), ({0}, False)])
def test_it_looks_for_a_moment_before_it_sleeps(
    monkeypatch: pytest.MonkeyPatch, processors: set[int], spins: bool
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: processors)
    monkeypatch.setattr("aserve.server.poller.SPIN_SECONDS", 0.02)
    poller = Poller()
    epoll = _Epoll(poller._epoll)
    monkeypatch.setattr(poller, "_epoll", epoll)
    try:
        assert poller.wait(0) is None
        assert (epoll.looks, epoll.sleeps) == (1, 0)
        assert poller.wait(0.001) is None
        assert (epoll.looks > 2, epoll.sleeps) == (spins, 1)
    finally:
        poller.close()


def test_what_comes_while_it_looks_is_handed_out_without_sleeping(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr("aserve.server.poller.SPIN_SECONDS", PATIENCE)
    poller = Poller()
    epoll = _Epoll(poller._epoll)
    monkeypatch.setattr(poller, "_epoll", epoll)
    ours, theirs = pair
    item = _Item(ours)
    poller.park(item)
    sender = threading.Timer(0.02, theirs.send, [b"x"])
    sender.start()
    try:
        assert poller.wait(PATIENCE) == [item]
        assert epoll.sleeps == 0
    finally:
        sender.join()
        poller.close()
