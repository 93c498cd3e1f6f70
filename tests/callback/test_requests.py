"""Webhooks and stand-ins: `requests()`, and answers by a function."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import httpx
import pytest

from aserve import CallbackAnswer, CallbackOptions, CallbackRequest, CallbackServer
from aserve.callback import inbox

from ..helpers import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_is_left")

NO_CONTENT = CallbackOptions(answer=lambda request: 204)


@pytest.fixture
async def client(anyio_backend: object) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        yield client


async def test_webhooks_are_handed_out_in_order(client: httpx.AsyncClient) -> None:
    async with CallbackServer("/hook", options=NO_CONTENT) as cb:
        received = cb.requests()
        for number in range(3):
            answer = await client.post(f"{cb.url}?n={number}", json={"number": number})
            assert (answer.status_code, answer.content) == (204, b"")
        with anyio.fail_after(PATIENCE):
            requests = [await anext(received) for _ in range(3)]
    assert [request.json() for request in requests] == [{"number": n} for n in range(3)]
    first = requests[0]
    assert (first.method, first.path, first.query) == ("POST", "/hook", "n=0")
    assert first.headers["content-type"] == "application/json"
    assert first.headers["host"] == f"127.0.0.1:{cb.port}"
    assert first.body == b'{"number":0}'
    assert repr(first) == "CallbackRequest(method='POST', path='/hook')"


async def test_iteration_waits_and_ends_with_the_server(client: httpx.AsyncClient) -> None:
    paths: list[str] = []

    async def collect(received: AsyncIterator[CallbackRequest]) -> None:
        async for request in received:
            paths.append(request.path)
            seen.set()

    seen = anyio.Event()
    async with anyio.create_task_group() as tasks:
        async with CallbackServer() as cb:
            tasks.start_soon(collect, cb.requests())
            await anyio.lowlevel.checkpoint()
            base = cb.url.removesuffix("/callback")
            assert (await client.get(f"{base}/gr%C3%BC%C3%9Fe")).status_code == 404
            with anyio.fail_after(PATIENCE):
                await seen.wait()
    assert paths == ["/grüße"]
    assert [request async for request in cb.requests()] == []


async def test_each_iterator_gets_everything_and_none_is_kept_for_nobody(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "_MOST_WAITING", 2)
    async with CallbackServer("/hook", options=NO_CONTENT) as cb:
        first, second = cb.requests(), cb.requests()
        for _ in range(2):
            await client.post(cb.url)
        refused = await client.post(cb.url)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        for received in (first, second):
            await anext(received)
        del received, second
        gc.collect()
        await client.post(cb.url)
        await anext(first)


async def test_function_answers_or_leaves_it_to_the_server(client: httpx.AsyncClient) -> None:
    def answer(request: CallbackRequest) -> CallbackAnswer | int | None:
        if request.path == "/token":
            return CallbackAnswer(200, '{"access_token": "ü"}', [("Content-Type", "a/json")])
        if request.path == "/text":
            return CallbackAnswer(299, "text", [("Content-Length", "1"), ("X-A", "b")])
        return 418 if request.path == "/teapot" else None

    async with CallbackServer(state="s", options=CallbackOptions(answer=answer)) as cb:
        base = cb.url.removesuffix("/callback")
        token = await client.post(f"{base}/token")
        assert token.json() == {"access_token": "ü"}
        assert token.headers["content-type"] == "a/json"
        text = await client.put(f"{base}/text")
        assert (text.status_code, text.text, text.headers["x-a"]) == (299, "text", "b")
        assert text.headers["content-type"] == "text/plain; charset=utf-8"
        assert (await client.get(f"{base}/teapot")).status_code == 418
        assert (await client.get(f"{base}/other")).status_code == 404
        await client.get(f"{cb.url}?state=s")
        await cb.wait(timeout=PATIENCE)


async def test_host_of_a_tunnel_can_be_allowed(client: httpx.AsyncClient) -> None:
    options = CallbackOptions(answer=lambda request: 204, allowed_hosts=(".tunnel.test",))
    async with CallbackServer(options=options) as cb:
        for host, status in (("a.tunnel.test", 204), ("b.test", 403)):
            assert (await client.post(cb.url, headers={"Host": host})).status_code == status


async def test_what_nobody_reads_is_bounded_in_bytes_too(client: httpx.AsyncClient) -> None:
    """A thousand webhooks of a megabyte each would be a gigabyte."""
    options = CallbackOptions(answer=lambda request: 204, body_limit=2_000_000)
    body = b"x" * 1_000_000
    async with CallbackServer("/hook", options=options) as cb:
        received = cb.requests()
        statuses = [(await client.post(cb.url, content=body)).status_code for _ in range(20)]
        assert statuses == [204] * 16 + [503] * 4
        assert (await anext(received)).body == body
        assert (await client.post(cb.url, content=body)).status_code == 204
