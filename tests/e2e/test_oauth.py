"""Whole flows: Chromium, an authorization server, libraries that people use, and the command."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from requests_oauthlib import OAuth2Session

import aserve
from aserve import CallbackError, CallbackOptions, CallbackServer, ServerThread

from .conftest import DEADLINE, Start
from .provider import make_provider


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "trio":
        return "trio", {}
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """The URL of an authorization server."""
    with ServerThread(make_provider(), "127.0.0.1") as server:
        yield server.url


@pytest.fixture
def browser(chromium: str, tmp_path: Path) -> list[str]:
    """Chromium as a command that shows a page, and ends."""
    return [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
    ]  # fmt: skip


def show(browser: list[str], url: str) -> str:
    """The page at the end of all redirects."""
    done = subprocess.run(
        [*browser, url], capture_output=True, text=True, timeout=2 * DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("mode", ["query", "ask", "form_post"])
async def test_authlib_with_pkce(browser: list[str], provider: str, mode: str) -> None:
    pages: list[str] = []

    async def browse(url: str) -> None:
        pages.append(await anyio.to_thread.run_sync(show, browser, url))

    session = AuthlibSession(
        "shop", code_challenge_method="S256", token_endpoint_auth_method="none"
    )
    verifier = "v" * 43
    options = CallbackOptions(response_mode="form_post" if mode == "form_post" else "query")
    async with anyio.create_task_group() as tasks:
        async with CallbackServer(options=options) as cb:
            session.redirect_uri = cb.url
            url, state = session.create_authorization_url(
                f"{provider}/authorize",
                state=cb.state,
                code_verifier=verifier,
                **({"response_mode": mode} if mode != "query" else {}),
            )
            tasks.start_soon(browse, url)
            params = await cb.wait(timeout=2 * DEADLINE)
        assert state == params["state"]

    def fetch() -> dict[str, Any]:
        with session:
            token: dict[str, Any] = session.fetch_token(
                f"{provider}/token", code=params["code"], code_verifier=verifier
            )
        return token

    token = await anyio.to_thread.run_sync(fetch)
    assert token["access_token"] == "token of shop"
    if mode == "query":
        assert "You can close this window" in pages[0]


def test_requests_oauthlib_in_a_program_that_is_not_async(
    browser: list[str], provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")  # this provider speaks plain HTTP
    session = OAuth2Session("shop", pkce="S256")

    def authorize(cb: CallbackServer) -> None:
        session.redirect_uri = cb.url
        url, _ = session.authorization_url(f"{provider}/authorize", state=cb.state)
        assert "You can close this window" in show(browser, url)

    with session:
        params = aserve.wait_for_callback(authorize, timeout=2 * DEADLINE)
        token = session.fetch_token(
            f"{provider}/token", code=params["code"], include_client_id=True
        )
    assert token["access_token"] == "token of shop"


async def test_refusal(browser: list[str], provider: str) -> None:
    async with anyio.create_task_group() as tasks:
        async with CallbackServer() as cb:
            query = f"response_type=code&client_id=refused&state={cb.state}"
            url = f"{provider}/authorize?{query}&redirect_uri={cb.url}"
            tasks.start_soon(anyio.to_thread.run_sync, show, browser, url)
            with pytest.raises(CallbackError, match=r"access_denied: The person said no\."):
                await cb.wait(timeout=2 * DEADLINE)


def test_command_as_a_shell_script_uses_it(browser: list[str], provider: str, start: Start) -> None:
    """As GitHub's command line does it: the browser opens, and the program goes on."""
    url = f"{provider}/authorize?response_type=code&client_id=shop"
    command = start(
        "callback",
        "--timeout", str(2 * DEADLINE),
        "--open", url + "&redirect_uri={redirect_uri}&state={state}",
        BROWSER=shlex.join(browser) + " %s",
    )  # fmt: skip
    assert command.wait() == 0
    assert command.process.stdout is not None
    # What the browser says on its standard output is not in it.
    params = json.loads(command.process.stdout.read())
    assert params.keys() == {"code", "state"}
    assert params["code"] not in command.errors
    assert len(params["state"]) >= 43
