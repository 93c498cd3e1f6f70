"""The recipe for Playwright, with the browser that the system has."""

from __future__ import annotations

import shutil

import pytest

from .conftest import Run

pytest_plugins = ["pytester"]


@pytest.fixture
def chromium() -> str:
    """The path of a Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return path
    pytest.fail("no Chromium on PATH: install the package `chromium`; .ci/run does it")


def test_a_browser_by_playwright(project: Run, chromium: str) -> None:
    result = project(f"""
from playwright.sync_api import sync_playwright
from shop import app

def test_in_a_browser(aserve_server):
    server = aserve_server(app, https=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path={chromium!r}, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(ignore_https_errors=True)
        page.goto(f"{{server.url}}/cart")
        assert page.inner_text("body") == "/cart"
        page.goto(f"{{server.url}}/broken")
        browser.close()
    assert "GET /broken 500" in map(str, server.requests)
""")
    result.assert_outcomes(passed=1)
