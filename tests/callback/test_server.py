"""`CallbackServer`: what counts as the answer, who gets it, and what people see."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest

from aserve import (
    AserveError,
    CallbackError,
    CallbackOptions,
    CallbackServer,
    CallbackTimeout,
    ConfigError,
    ListenError,
)

from ..helpers import PATIENCE, connect, read_to_end, request_bytes

pytestmark = pytest.mark.usefixtures("nothing_is_left")

FORM_POST = CallbackOptions(response_mode="form_post")


@pytest.fixture
async def client(anyio_backend: object) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        yield client


def callback_bytes(cb: CallbackServer) -> bytes:
    target = f"/callback?code=1&state={cb.state}".encode()
    return request_bytes(target=target, headers=[(b"Host", b"127.0.0.1")])


async def test_answer_is_returned_and_the_page_says_that_it_is_over(
    client: httpx.AsyncClient,
) -> None:
    pages = []

    async def browse(url: str, **params: str) -> None:
        pages.append(await client.get(url, params=params))

    async with CallbackServer() as cb, anyio.create_task_group() as tasks:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/callback", cb.url)
        tasks.start_soon(lambda: browse(cb.url, code="c1", state=cb.state, scope="a b"))
        params = await cb.wait(timeout=PATIENCE)
        assert params == {"code": "c1", "state": cb.state, "scope": "a b"}
        assert await cb.wait() == params
    (page,) = pages
    assert page.status_code == 200
    assert "You can close this window" in page.text
    assert page.headers["connection"] == "close"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["content-security-policy"].startswith(
        "default-src 'none'; script-src 'none'; style-src 'sha256-"
    )
    assert "c1" not in page.text


async def test_page_is_out_before_the_wait_ends() -> None:
    """The client reads only when the server is gone."""
    async with CallbackServer() as cb:
        sock = connect(cb.port)
        sock.sendall(callback_bytes(cb))
        await cb.wait(timeout=PATIENCE)
    with sock:
        answer = await anyio.to_thread.run_sync(read_to_end, sock)
    assert answer.data.endswith(b"</html>\n")
    assert not answer.reset


async def test_client_that_leaves_at_once_is_no_obstacle() -> None:
    async with CallbackServer() as cb:
        with connect(cb.port) as sock:
            sock.sendall(callback_bytes(cb))
            linger = b"\x01\0\0\0\0\0\0\0"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        assert (await cb.wait(timeout=PATIENCE))["code"] == "1"


async def test_both_addresses_of_this_machine_answer(client: httpx.AsyncClient) -> None:
    for host, shown in (("::1", "[::1]"), ("localhost", "localhost")):
        options = CallbackOptions(host=host)  # type: ignore[arg-type]
        async with CallbackServer("/", state="s", options=options) as cb:
            assert cb.url == f"http://{shown}:{cb.port}/"
            assert (await client.get(cb.url, params={"state": "s"})).status_code == 200
            assert await cb.wait(timeout=PATIENCE) == {"state": "s"}


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/favicon.ico", {}, 404),
        ("GET", "/?code=1&state=right", {}, 404),
        ("GET", "/callback/?code=1&state=right", {}, 404),
        ("GET", "/callback", {}, 400),
        ("GET", "/callback?code=1", {}, 400),
        ("GET", "/callback?code=1&state=", {}, 400),
        ("GET", "/callback?code=1&state=wrong", {}, 400),
        ("GET", "/callback?error=access_denied&state=wrong", {}, 400),
        ("GET", "/callback?code=1&state=%ff%ed%a0%80", {}, 400),
        ("GET", "/callback?code=1&code=2&state=right", {}, 400),
        ("GET", "/callback?state=wrong&state=right", {}, 400),
        ("GET", "/callback?" + "a&" * 101 + "state=right", {}, 400),
        ("HEAD", "/callback?code=1&state=right", {}, 405),
        ("POST", "/callback?code=1&state=right", {}, 405),
        ("OPTIONS", "/callback?code=1&state=right", {"Origin": "http://x.test"}, 405),
        ("GET", "/callback?code=1&state=right", {"Host": "evil.test"}, 403),
        ("GET", "/callback?code=1&state=right", {"Sec-Purpose": "prefetch"}, 503),
        ("GET", "/callback?code=1&state=right", {"Purpose": "prefetch;prerender"}, 503),
    ],
)
async def test_anything_else_is_refused_and_changes_nothing(
    client: httpx.AsyncClient, method: str, target: str, headers: dict[str, str], status: int
) -> None:
    async with CallbackServer(state="right") as cb:
        base = cb.url.removesuffix("/callback")
        answer = await client.request(method, base + target, headers=headers)
        assert answer.status_code == status
        with pytest.raises(CallbackTimeout):
            await cb.wait(timeout=0)
        await client.get(f"{cb.url}?code=2&state=right")
        assert (await cb.wait(timeout=PATIENCE))["code"] == "2"


async def test_connections_without_a_request_are_no_obstacle() -> None:
    async with CallbackServer(state="s") as cb:
        with connect(cb.port), connect(cb.port) as half, connect(cb.port) as sock:
            half.sendall(b"GET /callb")
            sock.sendall(callback_bytes(cb))
            await cb.wait(timeout=PATIENCE)


async def test_second_answer_gets_a_friendly_page_and_no_result(client: httpx.AsyncClient) -> None:
    async with CallbackServer(state="s") as cb:
        for code in ("first", "second"):
            page = await client.get(cb.url, params={"code": code, "state": "s"})
            assert page.status_code == 200
            assert "You can close this window" in page.text
        assert (await cb.wait(timeout=PATIENCE))["code"] == "first"


async def test_refusal_of_the_provider_is_an_error(client: httpx.AsyncClient) -> None:
    async with CallbackServer() as cb:
        told = {
            "error": "access_denied",
            "error_description": "No,\n<b>never</b>",
            "error_uri": "https://provider.test/why",
            "state": cb.state,
        }
        page = await client.get(cb.url, params=told)
        assert "No, &lt;b&gt;never&lt;/b&gt;" in page.text
        with pytest.raises(CallbackError) as caught:
            await cb.wait(timeout=PATIENCE)
    error = caught.value
    assert (error.error, error.uri) == ("access_denied", "https://provider.test/why")
    assert error.description == "No,\n<b>never</b>"
    assert str(error) == "access_denied: No, <b>never</b> (see https://provider.test/why)"


async def test_form_post(client: httpx.AsyncClient) -> None:
    async with CallbackServer(state="s", options=FORM_POST) as cb:
        assert (await client.get(cb.url, params={"state": "s"})).status_code == 405
        assert (await client.post(cb.url, json={"state": "s"})).status_code == 400
        assert (await client.post(cb.url, data={"state": "x"})).status_code == 400
        await client.post(cb.url, data={"code": "Größe +&", "state": "s"})
        assert await cb.wait(timeout=PATIENCE) == {"code": "Größe +&", "state": "s"}


async def test_body_has_a_limit(client: httpx.AsyncClient) -> None:
    options = CallbackOptions(response_mode="form_post", body_limit=20)
    async with CallbackServer(state="s", options=options) as cb:
        answer = await client.post(cb.url, data={"state": "s", "code": "1" * 20})
        assert answer.status_code == 413
        await client.post(cb.url, data={"state": "s"})
        await cb.wait(timeout=PATIENCE)


async def test_time_out_names_the_address_and_the_server_goes_on(
    client: httpx.AsyncClient,
) -> None:
    async with CallbackServer(state="s") as cb:
        with pytest.raises(TimeoutError, match=re.escape(f"{cb.url} within 0.01 s")):
            await cb.wait(timeout=0.01)
        await client.get(cb.url, params={"state": "s"})
        await cb.wait(timeout=PATIENCE)


async def test_several_accounts_at_once(client: httpx.AsyncClient) -> None:
    """One server, and each answer goes to whom it belongs, whatever the order."""
    results: dict[str, str] = {}

    async def sign_in(name: str, state: str) -> None:
        results[name] = (await cb.wait(state, timeout=PATIENCE))["code"]

    async with CallbackServer() as cb:
        states = {"ann": cb.state, "bob": cb.expect(), "cid": cb.expect("chosen")}
        assert len(set(states.values())) == 3
        async with anyio.create_task_group() as tasks:
            for name, state in states.items():
                tasks.start_soon(sign_in, name, state)
            for name in ("cid", "ann", "bob"):
                await client.get(cb.url, params={"code": f"for {name}", "state": states[name]})
    assert results == {"ann": "for ann", "bob": "for bob", "cid": "for cid"}


async def test_several_servers_at_once(client: httpx.AsyncClient) -> None:
    async with CallbackServer() as first, CallbackServer() as second:
        assert first.port != second.port
        for cb, other in ((first, second), (second, first)):
            answer = await client.get(cb.url, params={"code": "1", "state": other.state})
            assert answer.status_code == 400
            await client.get(cb.url, params={"code": cb.url, "state": cb.state})
        for cb in (first, second):
            assert (await cb.wait(timeout=PATIENCE))["code"] == cb.url


async def test_issuer_has_to_be_the_one_that_was_asked(client: httpx.AsyncClient) -> None:
    options = CallbackOptions(issuer="https://right.test")
    async with CallbackServer(state="s", options=options) as cb:
        for iss in ({}, {"iss": "https://wrong.test"}):
            assert (await client.get(cb.url, params={"state": "s", **iss})).status_code == 400
        await client.get(cb.url, params={"state": "s", "iss": "https://right.test"})
        assert (await cb.wait(timeout=PATIENCE))["iss"] == "https://right.test"


async def test_state_need_not_be_checked(client: httpx.AsyncClient) -> None:
    async with CallbackServer(options=CallbackOptions(check_state=False)) as cb:
        assert (await client.get(cb.url)).status_code == 400
        await client.get(cb.url, params={"token": "t"})
        assert await cb.wait(timeout=PATIENCE) == {"token": "t"}


async def test_own_text_and_own_page(client: httpx.AsyncClient) -> None:
    async with CallbackServer(state="s", options=CallbackOptions(text="Go & <eat>.")) as cb:
        assert "Go &amp; &lt;eat&gt;." in (await client.get(f"{cb.url}?state=s")).text
    options = CallbackOptions(redirect="https://shop.test/welcome")
    async with CallbackServer(state="s", options=options) as cb:
        answer = await client.get(f"{cb.url}?state=s")
        assert (answer.status_code, answer.headers["location"]) == (303, options.redirect)
        await cb.wait(timeout=PATIENCE)


async def test_first_free_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        busy, free = taken.getsockname()[1], probe.getsockname()[1]
        probe.close()
        async with CallbackServer(options=CallbackOptions(ports=(busy, free))) as cb:
            assert cb.port == free
        with pytest.raises(ListenError, match=f"none of the ports {busy}, {busy} is free"):
            async with CallbackServer(options=CallbackOptions(ports=(busy, busy))):
                pytest.fail("it must not be entered")
        with pytest.raises(ListenError, match="already in use"):
            async with CallbackServer(options=CallbackOptions(ports=(busy,))):
                pytest.fail("it must not be entered")


@pytest.mark.parametrize("what", ["whole", "query", "bare"])
async def test_pasted_address_counts(what: str) -> None:
    async with CallbackServer() as cb:
        query = f"code=1&state={cb.state}"
        cb.feed({"whole": f" {cb.url}?{query}#x\n", "query": f"?{query}", "bare": query}[what])
        assert (await cb.wait(timeout=PATIENCE))["code"] == "1"
        cb.feed(query)  # once more is no harm


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no parameters"),
        ("http://127.0.0.1/callback", "no parameters"),
        ("http://127.0.0.1/other?code=SECRET&state=right", "does not end with /callback"),
        ("http://127.0.0.1/callback?code=SECRET&state=wrong", "another attempt"),
        ("http://[/callback?code=SECRET&code=SECRET", "no parameters"),
        ("code=SECRET", "another attempt"),
    ],
)
async def test_wrong_address_is_explained_without_its_code(text: str, fault: str) -> None:
    async with CallbackServer(state="right") as cb:
        with pytest.raises(ConfigError, match=fault) as caught:
            cb.feed(text)
        assert "SECRET" not in str(caught.value)
        with pytest.raises(CallbackTimeout):
            await cb.wait(timeout=0)


async def test_refusal_can_be_pasted() -> None:
    async with CallbackServer(state="s") as cb:
        cb.feed("error=access_denied&state=s")
        with pytest.raises(CallbackError, match="access_denied"):
            await cb.wait(timeout=PATIENCE)


async def test_who_waits_is_told_of_the_end() -> None:
    failures: list[AserveError] = []
    waits = anyio.Event()

    async def wait(cb: CallbackServer) -> None:
        waits.set()
        with pytest.raises(AserveError, match="closed before") as caught:
            await cb.wait()
        failures.append(caught.value)

    async with anyio.create_task_group() as tasks:
        async with CallbackServer() as cb:
            tasks.start_soon(wait, cb)
            await waits.wait()
    assert len(failures) == 1
    with pytest.raises(AserveError, match="closed before"):
        await cb.wait()


async def test_cancelling_at_any_moment_leaves_nothing() -> None:
    for turns in range(12):
        async with anyio.create_task_group() as tasks:

            async def program() -> None:
                async with CallbackServer() as cb:
                    await cb.wait()

            tasks.start_soon(program)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    with anyio.move_on_after(0.05) as scope:
        async with CallbackServer() as cb:
            await cb.wait()
    assert scope.cancelled_caught


async def test_browser_is_opened_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    cb = CallbackServer()
    assert await cb.open_browser("https://provider.test/") is False
    monkeypatch.setenv("BROWSER", "true")
    assert await cb.open_browser("file:///etc/passwd") is False


async def test_misuse_is_explained() -> None:
    cb = CallbackServer()
    with pytest.raises(AserveError, match="was not started"):
        _ = cb.url
    async with cb:
        pass
    with pytest.raises(AserveError, match="started once"):
        async with cb:
            pytest.fail("it must not be entered")


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ({"path": "callback"}, "path"),
        ({"path": "//x"}, "path"),
        ({"path": "/a?b"}, "path"),
        ({"path": "/a b"}, "path"),
        ({"path": "/\r\nX: y"}, "path"),
        ({"state": ""}, "state"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], option: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CallbackServer(**arguments)
    assert caught.value.option == option


@pytest.mark.parametrize(
    "wrong",
    [
        {"ports": ()},
        {"ports": (70000,)},
        {"ports": ("80",)},
        {"host": "0.0.0.0"},
        {"response_mode": "fragment"},
        {"redirect": "https://x.test/\r\nSet-Cookie: a"},
        {"body_limit": -1},
    ],
)
def test_wrong_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        CallbackOptions(**wrong)
    assert caught.value.option == next(iter(wrong))
