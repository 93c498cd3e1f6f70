"""Codes and tokens appear in no log, whatever goes wrong."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import anyio
import httpx
import pytest

import aserve
from aserve import CallbackAnswer, CallbackOptions, CallbackRequest, CallbackServer

from ..helpers import PATIENCE, connect, raw_exchange, request_bytes


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"debug": True}


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    # The client of the test logs its own addresses.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def fail(request: CallbackRequest) -> CallbackAnswer | int | None:
    raise LookupError("on purpose")


def answer_badly(request: CallbackRequest) -> CallbackAnswer | int | None:
    return CallbackAnswer(200, b"", [("X-Bad\n", "x")])


def answer_with_text(request: CallbackRequest) -> Any:
    return "hello"


def answer_too_early(request: CallbackRequest) -> int:
    return 103


def leave(request: CallbackRequest) -> CallbackAnswer | int | None:
    raise SystemExit


@pytest.mark.parametrize("answer", [fail, answer_badly, answer_with_text, answer_too_early, leave])
async def test_function_that_fails(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with CallbackServer(options=CallbackOptions(answer=answer)) as cb:
        async with httpx.AsyncClient() as client:
            done = await client.get(f"{cb.url}?code=SECRET&state={cb.state}")
    assert done.status_code == 500
    assert "GET /callback: the callback server failed" in caplog.text
    assert "SECRET" not in caplog.text + done.text
    assert cb.state not in caplog.text


async def test_everyday_life(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async with CallbackServer() as cb:
        async with httpx.AsyncClient() as client:
            for state in ("wrong", cb.state, cb.state):
                await client.get(f"{cb.url}?code=SECRET&state={state}")
        for target in (b"/callback?code=SECRET x", b"/callback?" + b"SECRET" * 20_000):
            for headers in ([], [(b"Host", b"SECRET SECRET")], [(b"Content-Length", b"SECRET")]):
                await asyncio.to_thread(
                    raw_exchange, cb.port, request_bytes(b"GET", target, headers)
                )
        params = await cb.wait(timeout=PATIENCE)
    assert params["code"] == "SECRET"
    out, err = capfd.readouterr()
    assert "SECRET" not in caplog.text + out + err
    assert cb.state not in caplog.text + out + err


async def test_body_that_never_arrives(caplog: pytest.LogCaptureFixture) -> None:
    options = CallbackOptions(response_mode="form_post")
    headers = [
        (b"Host", b"localhost"),
        (b"Content-Type", b"application/x-www-form-urlencoded"),
        (b"Content-Length", b"100000"),
    ]
    body = b"code=SECRET" * 8000
    async with CallbackServer(options=options) as cb:
        with connect(cb.port) as sock:
            sock.sendall(request_bytes(b"POST", b"/callback", headers, body))
    assert "SECRET" not in caplog.text


async def test_slow_function_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """The server tells what it waits for when it stops; that names the request."""
    entered, may_end = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def answer(request: CallbackRequest) -> int:
        loop.call_soon_threadsafe(entered.set)
        assert may_end.wait(PATIENCE)
        return 204

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            may_end.set()

    handler = Told(logging.INFO)
    logging.getLogger("aserve.error").addHandler(handler)
    try:
        async with anyio.create_task_group() as tasks, httpx.AsyncClient() as client:
            async with CallbackServer(options=CallbackOptions(answer=answer)) as cb:
                tasks.start_soon(client.get, f"{cb.url}?code=SECRET")
                await entered.wait()
    finally:
        logging.getLogger("aserve.error").removeHandler(handler)
    assert "Waiting up to" in caplog.text
    assert "SECRET" not in caplog.text


def test_errors_and_objects_show_none() -> None:
    request = CallbackRequest("GET", "/callback", "code=SECRET", {"cookie": "SECRET"}, b"SECRET")
    answer = CallbackAnswer(200, "SECRET")
    server = CallbackServer(state="SECRET")
    assert "SECRET" not in repr((request, answer, server))
    assert aserve.CallbackRequest is CallbackRequest
