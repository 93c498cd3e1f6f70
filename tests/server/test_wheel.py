"""The wheel by itself, turned by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from aserve.server.wheel import FAR, Wheel


class Item:
    """Notes when it is looked at."""

    def __init__(self, *answers: int) -> None:
        self.due = -1
        self.looks: list[int] = []
        self._answers = list(answers)

    def look(self, now: int) -> int:
        self.looks.append(now)
        return self._answers.pop(0) if self._answers else 0


class Turner:
    """A wheel and the timer that turns it."""

    def __init__(self, shortest: float = 0, needed: int = 1_000_000) -> None:
        self.timers: list[tuple[float, Callable[[], object]]] = []
        self.left = needed
        self.turned = 0
        loop = SimpleNamespace(call_later=self._call_later)
        self.wheel = Wheel(
            cast(asyncio.AbstractEventLoop, loop), shortest, self._is_needed, self._on_turn
        )

    def _call_later(self, seconds: float, callback: Callable[[], object]) -> Any:
        self.timers.append((seconds, callback))
        return SimpleNamespace(cancel=self.timers.clear)

    def _is_needed(self) -> bool:
        self.left -= 1
        return self.left > 0

    def _on_turn(self) -> None:
        self.turned += 1

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.timers.pop()[1]()


def test_an_item_is_looked_at_when_it_is_due_and_as_it_says_then() -> None:
    turner = Turner()
    item = Item(3, 0)
    turner.wheel.start()
    turner.wheel.file(item, 5)
    turner.turn(5)
    assert item.looks == []
    turner.turn(5 + FAR)
    assert item.looks == [6, 10]
    assert turner.turned == 10 + FAR


def test_an_item_can_be_looked_at_earlier_and_not_later() -> None:
    turner = Turner()
    item = Item()
    turner.wheel.start()
    turner.wheel.file(item, 50)
    turner.wheel.hasten(item, 60)
    turner.wheel.hasten(item, 0)
    turner.wheel.hasten(item, 2)
    turner.turn(50)
    assert item.looks == [3]


def test_who_has_ended_is_held_nowhere() -> None:
    turner = Turner()
    item = Item()
    turner.wheel.file(item, 9)
    turner.wheel.file(item, 5)
    turner.wheel.forget(item)
    turner.wheel.forget(item)
    assert not any(turner.wheel._slots)
    turner.wheel.start()
    turner.turn(20)
    assert item.looks == []


def test_an_item_that_two_threads_have_filed_is_looked_at_once() -> None:
    turner = Turner()
    item = Item(100, 100)
    turner.wheel.start()
    turner.wheel.file(item, 5)
    stale = set(turner.wheel._slots[6])
    turner.wheel.file(item, 8)
    turner.wheel._slots[6].update(stale)  # the other thread had read `due` before
    turner.turn(20)
    assert item.looks == [9]
    assert sum(map(len, turner.wheel._slots)) == 1


def test_an_item_that_was_missed_is_seen_a_revolution_later() -> None:
    turner = Turner()
    item = Item()
    turner.wheel.start()
    turner.wheel.file(item, 1)
    slot = turner.wheel._slots[2]
    slot.clear()
    turner.turn(2)
    slot.add(item)  # its thread was stopped in the middle of `file`
    turner.turn(127)
    assert item.looks == []
    turner.turn()
    assert item.looks == [130]


def test_one_that_fails_does_not_stop_the_wheel(caplog: pytest.LogCaptureFixture) -> None:
    turner = Turner()
    broken, item = Item(), Item()
    broken.look = lambda now: 1 // 0  # type: ignore[method-assign]
    turner.wheel.start()
    for one in (broken, item):
        turner.wheel.file(one, 1)
    turner.turn(5)
    assert item.looks == [2]
    assert "ZeroDivisionError" in caplog.text


def test_it_turns_while_it_is_needed() -> None:
    turner = Turner(needed=3)
    turner.wheel.start()
    turner.wheel.start()
    assert len(turner.timers) == 1
    turner.turn(3)
    assert not turner.timers
    assert not turner.wheel.is_turning
    turner.wheel.start()
    turner.wheel.stop()
    assert not turner.timers


@pytest.mark.parametrize(("shortest", "seconds"), [(0, 1.0), (30, 1.0), (5, 1.0), (0.5, 0.1)])
def test_a_turn_is_a_fifth_of_the_shortest_time(shortest: float, seconds: float) -> None:
    turner = Turner(shortest)
    turner.wheel.start()
    assert turner.timers[0][0] == pytest.approx(seconds)
    assert turner.wheel.turns(shortest) == (shortest and round(shortest / seconds))
    assert turner.wheel.seconds(3) == pytest.approx(3 * seconds)


def test_no_time_passes_under_a_debugger(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    attached: list[object] = [object()]
    pydevd = SimpleNamespace(get_global_debugger=lambda: attached[0])
    monkeypatch.setitem(sys.modules, "pydevd", cast(Any, pydevd))
    turner = Turner()
    turner.wheel.start()
    turner.turn(5)
    assert (turner.wheel.now, turner.turned) == (0, 0)
    attached[0] = None
    turner.turn(5)
    assert (turner.wheel.now, turner.turned) == (5, 5)
