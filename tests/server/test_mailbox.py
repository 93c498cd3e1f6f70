"""From worker threads to the loop."""

from __future__ import annotations

import asyncio
import functools
import threading
from time import perf_counter

import pytest

from aserve.server.mailbox import ROUND_SECONDS, Mailbox

from ..helpers import PATIENCE


async def test_messages_of_a_thread_arrive_in_order_on_the_loop_thread() -> None:
    loop_thread = threading.get_ident()
    mailbox = Mailbox(asyncio.get_running_loop())
    seen: list[int] = []
    threads: set[int] = set()
    done = asyncio.Event()

    def receive(number: int) -> None:
        seen.append(number)
        threads.add(threading.get_ident())
        if number == 999:
            done.set()

    def send() -> None:
        for number in range(1000):
            mailbox.post(lambda number=number: receive(number))  # type: ignore[misc]

    worker = threading.Thread(target=send)
    worker.start()
    await done.wait()
    await asyncio.to_thread(worker.join)
    assert seen == list(range(1000))
    assert threads == {loop_thread}


async def test_messages_share_a_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    wakes: list[object] = []
    real = loop.call_soon_threadsafe
    mailbox = Mailbox(loop)
    monkeypatch.setattr(
        loop, "call_soon_threadsafe", lambda callback: (wakes.append(callback), real(callback))
    )
    done = asyncio.Event()
    for _ in range(10):
        mailbox.post(lambda: None)
    mailbox.post(done.set)
    await done.wait()
    assert len(wakes) == 1


async def test_messages_that_take_long_leave_the_loop_its_turns() -> None:
    mailbox = Mailbox(asyncio.get_running_loop())
    seen: list[str] = []

    def take_long(number: int) -> None:
        if number == 0:
            asyncio.get_running_loop().call_soon(seen.append, "a turn of the loop")
        end = perf_counter() + ROUND_SECONDS
        while perf_counter() < end:
            pass
        seen.append(f"message {number}")

    for number in range(3):
        mailbox.post(functools.partial(take_long, number))
    while len(seen) < 4:
        await asyncio.sleep(0)
    assert seen == ["message 0", "a turn of the loop", "message 1", "message 2"]


async def test_a_message_that_posts_again_does_not_keep_the_loop() -> None:
    mailbox = Mailbox(asyncio.get_running_loop())
    count = 0

    def again() -> None:
        nonlocal count
        count += 1
        mailbox.post(again)

    mailbox.post(again)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first = count
    await asyncio.sleep(0)
    assert 0 < first < count <= first + 2
    mailbox._messages.clear()


async def test_a_message_that_fails_is_logged_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mailbox = Mailbox(asyncio.get_running_loop())
    done = asyncio.Event()
    mailbox.post(lambda: 1 / 0)
    mailbox.post(done.set)
    await done.wait()
    assert "ZeroDivisionError" in caplog.text


def test_a_closed_loop_swallows_what_nobody_waits_for() -> None:
    """A view that outlives its server must not fail for that."""
    loop = asyncio.new_event_loop()
    mailbox = Mailbox(loop)
    loop.close()
    mailbox.post(lambda: None)
    assert not mailbox._messages


def test_ctrl_c_in_a_message_loses_none_of_the_others() -> None:
    loop = asyncio.new_event_loop()
    mailbox = Mailbox(loop)
    done = asyncio.Event()

    def interrupt() -> None:
        raise KeyboardInterrupt

    mailbox.post(interrupt)
    mailbox.post(done.set)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.run_until_complete(asyncio.wait_for(done.wait(), PATIENCE))
    loop.close()
