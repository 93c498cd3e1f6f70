"""A server that shares an event loop with a program leaves it to the program."""

from __future__ import annotations

import asyncio
import gc
import http.client
import sys
import threading
from collections.abc import Callable, Iterable
from time import thread_time

import pytest

import aserve
from aserve.types import Environ, StartResponse

# Seconds of processor time. What the system or the interpreter's lock adds is not the
# server's doing, and differs from machine to machine, so it is not counted; nor is the garbage
# of all the other tests. Somebody who traces each line (coverage, a debugger) pays for it.
LONGEST = 0.002 if sys.gettrace() is None else 0.010

# A page fault or a guest that the host has set aside counts as processor time too. What the
# server does itself, it does in each round: the first good one tells.
ROUNDS = 6

CLIENTS, REQUESTS = 8, 60


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    size = len(environ["wsgi.input"].read())
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/pieces":
        return (b"x" * 1000 for _ in range(100))
    if environ["PATH_INFO"] == "/large":
        return [b"x" * 500_000]
    return [b"%d" % size]


def load(port: int) -> None:
    """Small, long, slow and fast, each way."""
    for _ in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for number in range(REQUESTS // 2):
            path = ("/", "/pieces", "/large")[number % 3]
            body = b"x" * (0, 10, 300_000)[number // 3 % 3]
            connection.request("POST" if body else "GET", path, body)
            connection.getresponse().read()
        connection.close()


async def longest_callback(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[float, Callable[[], str]]:
    """The processor time of the longest callback under load, and what it was."""
    longest: tuple[float, Callable[[], str]] = (0.0, str)
    run: Callable[[asyncio.Handle], None] = asyncio.Handle._run

    def measured(handle: asyncio.Handle) -> None:
        nonlocal longest
        started = thread_time()
        run(handle)
        duration = thread_time() - started
        if duration > longest[0]:
            longest = (duration, handle.__repr__)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", measured)
        gc.disable()
        threads = [threading.Thread(target=load, args=(port,)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        gc.enable()
    return longest


async def test_no_callback_holds_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each callback of the server is done within 2 ms; and another task has its turns."""

    async def tick() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    turns = 0
    async with aserve.open_server(app, host="127.0.0.1") as server:
        await asyncio.to_thread(load, server.port)  # lazy imports, first threads
        other = asyncio.create_task(tick())
        rounds: list[str] = []
        for _ in range(ROUNDS):
            duration, show = await longest_callback(server.port, monkeypatch)
            rounds.append(f"{duration:.4f} s: {show()}")
            if duration < LONGEST:
                break
        other.cancel()
    assert turns > 10
    assert duration < LONGEST, rounds
