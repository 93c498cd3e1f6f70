"""A browser, a server with pages, and a visit that fails when the page complains."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect, sync_playwright

from aserve.debug.model import Problem, RequestView
from aserve.debug.page import render

from .. import samples
from .site import Site, site

__all__ = ["Visit", "console_of"]

# Generous: the machine may be busy. What is expected comes in milliseconds.
expect.set_options(timeout=20_000)

Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.fail("no Chromium on PATH: install the package `chromium`; .ci/run does it")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[Site]:
    with site() as running:
        yield running


@pytest.fixture
def visit(browser: Browser, server: Site) -> Iterator[Visit]:
    """Show a problem; fails at the end when the page complained about anything."""
    contexts = []
    complaints: list[str] = []

    def refuse(dialog: Dialog) -> None:
        complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def function(
        problem: Problem | None = None,
        request: RequestView | None = samples.REQUEST,
        *,
        width: int = 1400,
        height: int = 900,
        before: Callable[[Page], object] = lambda page: None,
        browser_settings: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Page:
        shown = samples.simple() if problem is None else problem
        told = replace(samples.SETTINGS, **settings)
        server.pages["/"] = lambda: render(shown, request, told)
        context = browser.new_context(
            viewport={"width": width, "height": height}, **(browser_settings or {})
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("dialog", refuse)
        before(page)
        page.goto(f"{server.url}/")
        return page

    yield function
    for context in contexts:
        context.close()
    assert [text for text in complaints if "ERR_CONNECTION_REFUSED" not in text] == []
    assert server.wrong == []


def console_of(page: Page, frame: int = 4) -> Any:
    page.locator(f'[data-frame="{frame}"] .tools [data-do="console"]').click()
    return page.locator(f'[data-frame="{frame}"] .console')
