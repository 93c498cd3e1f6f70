"""`aserve.debug.store`: what is kept, for how long, and whose an id is."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from aserve.debug.store import Dropped, Elsewhere, Store, Unknown


class Item:
    pass


class Clock:
    """Seconds, as a test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def reapers() -> int:
    return sum(thread.name == "aserve-debug-store" for thread in threading.enumerate())


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


@pytest.fixture(autouse=True)
def no_thread_stays() -> object:
    yield
    gc.collect()
    wait_for(lambda: not reapers())
    return None


def test_ids_and_items() -> None:
    store: Store[str] = Store()
    first, second = store.add("one"), store.add("two")
    assert (store.get(first), store.get(second), len(store)) == ("one", "two", 2)
    assert re.fullmatch(rf"{os.getpid():x}\.[\w-]{{6}}\.[\w-]{{22}}", first, re.ASCII)
    assert first.rpartition(".")[0] == second.rpartition(".")[0]
    assert first != second
    store.clear()
    assert len(store) == 0
    with pytest.raises(Dropped):
        store.get(first)


def test_the_oldest_goes_for_a_new_one() -> None:
    store: Store[int] = Store(limit=3)
    keys = [store.add(number) for number in range(5)]
    for key in keys[:2]:
        with pytest.raises(Dropped):
            store.get(key)
    assert [store.get(key) for key in keys[2:]] == [2, 3, 4]
    store.clear()


def test_age() -> None:
    clock = Clock()
    store: Store[str] = Store(seconds=10, clock=clock)
    old = store.add("old")
    clock.now += 6
    new = store.add("new")
    assert store.get(old) == "old"  # that does not make it younger
    clock.now += 4
    with pytest.raises(Dropped):
        store.get(old)
    assert store.get(new) == "new"
    clock.now += 6
    assert len(store) == 0


@pytest.mark.parametrize(
    "key", ["", "x", "1.abcdef", "1.abcdef." + "x" * 21, "zz.abcdef." + "x" * 22,
            "1.abcdef." + "x" * 22 + "\n", "é" * 40]
)  # fmt: skip
def test_what_is_no_id(key: str) -> None:
    with pytest.raises(Unknown):
        Store[str]().get(key)


def test_ids_of_others() -> None:
    store: Store[str] = Store()
    with pytest.raises(Elsewhere) as caught:
        store.get("ff.abcdef." + "x" * 22)
    assert caught.value.pid == 255
    # The number of this process, from before it.
    with pytest.raises(Elsewhere) as caught:
        store.get(f"{os.getpid():x}.abcdef." + "x" * 22)
    assert caught.value.pid == os.getpid()
    owner = store.add("").rpartition(".")[0]
    with pytest.raises(Dropped):
        store.get(f"{owner}." + "x" * 22)
    assert issubclass(Elsewhere, LookupError)
    store.clear()


def test_age_with_nobody_asking() -> None:
    store: Store[Item] = Store(seconds=0.1)
    for _ in range(2):
        assert reapers() == 0
        item = Item()
        gone = weakref.ref(item)
        store.add(item)
        assert reapers() == 1
        del item
        wait_for(lambda: gone() is None)  # noqa: B023  # it is called here
        wait_for(lambda: reapers() == 0)


def test_no_thread_is_left_behind() -> None:
    store: Store[Item] = Store()
    for _ in range(5):
        store.add(Item())
    assert reapers() == 1
    store.clear()
    wait_for(lambda: reapers() == 0)
    store.add(Item())
    store.add(Item())
    assert reapers() == 1
    del store
    wait_for(lambda: reapers() == 0)


def test_finalizers_may_do_anything() -> None:
    store: Store[object] = Store(limit=1)
    added: list[str] = []

    class Adding:
        def __del__(self) -> None:
            # From another thread, which must not find the store locked.
            thread = threading.Thread(target=lambda: added.append(store.add("last words")))
            thread.start()
            thread.join(30)

    store.add(Adding())
    store.add("next")
    assert len(added) == 1
    assert store.get(added[0]) == "last words"
    store.clear()


def test_many_threads() -> None:
    store: Store[int] = Store(limit=5, seconds=0.2)
    wrong: list[object] = []

    def work() -> None:
        for number in range(300):
            key = store.add(number)
            try:
                if store.get(key) != number:
                    wrong.append(number)
            except Dropped:
                pass
            if len(store) > 5:
                wrong.append("too many")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    store.clear()


FORK = """
import os, sys, threading
from aserve.debug.store import Dropped, Elsewhere, Store

class Loud:
    def __del__(self):
        print("finalized in", os.getpid() - first, flush=True)

first = os.getpid()
store = Store()
kept = store.add(Loud())
held = threading.Event()

def hold():
    with store._lock:
        held.set()
        go_on.wait()

go_on = threading.Event()
thread = threading.Thread(target=hold, daemon=True)
thread.start()
held.wait()
if (pid := os.fork()) == 0:
    try:
        try:
            store.get(kept)
        except Elsewhere as error:
            assert error.pid == first
        assert len(store) == 0
        mine = store.add("mine")
        assert store.get(mine) == "mine"
        assert mine.startswith(f"{os.getpid():x}.")
        assert [t.name for t in threading.enumerate()].count("aserve-debug-store") == 1
        store.clear()
        print("child is done", flush=True)
    finally:
        os._exit(0)
os.waitpid(pid, 0)
go_on.set()
thread.join()
assert isinstance(store.get(kept), Loud)
print("parent is done", flush=True)
store.clear()
"""


def test_a_fork_begins_with_nothing() -> None:
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (result.stdout.splitlines(), result.stderr) == (
        ["child is done", "parent is done", "finalized in 0"],
        "",
    )
