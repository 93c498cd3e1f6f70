"""What pages of other origins can do to a server on this machine, tried in a real browser.

Names that lead to 127.0.0.1 are what an attacker's DNS would say; nothing leaves the machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

from ..e2e.conftest import Start
from .asking import ask

APP = """
def app(environ, start_response):
    word = "SECRET"
    raise LookupError(word)
"""
EVIL = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html")])
    return [b"<!doctype html><title>evil</title><body></body>"]
"""
RULES = "MAP *.example 127.0.0.1"

# Everything that a page may try without a click of the person. Returns what it could read.
ATTACK = """
async ([url, token]) => {
  const read = [];
  const note = async (how, work) => {
    try { const text = await work(); if (text) read.push(how + ": " + text); } catch (error) {}
  };
  const get = (path, options) => fetch(url + path, options).then(answer => answer.text());
  const json = {"Content-Type": "application/json", "X-Aserve-Debug": token};
  await note("fetch", () => get("/"));
  await note("fetch html", () => get("/", {headers: {Accept: "text/html"}}));
  await note("no-cors", () => get("/", {mode: "no-cors"}));
  await note("cookies", () => get("/", {credentials: "include"}));
  await note("changed", () => get("/.aserve/changed", {headers: {"X-Aserve-Reload": token}}));
  await note("command", () => get("/.aserve/debug/command",
      {method: "POST", headers: json, body: '{"do": "alive"}'}));
  await note("simple command", () => get("/.aserve/debug/command",
      {method: "POST", mode: "no-cors", body: '{"do": "alive"}'}));
  await note("console", () => get("/console"));
  await note("frame", () => new Promise(resolve => {
    const frame = document.createElement("iframe");
    frame.onload = () => { try { resolve(frame.contentDocument.body.innerText); }
                           catch (error) { resolve(""); } };
    frame.src = url + "/";
    document.body.append(frame);
  }));
  for (const [tag, name] of [["script", "src"], ["img", "src"], ["link", "href"]])
    await note(tag, () => new Promise(resolve => {
      const node = document.createElement(tag);
      if (tag == "link") node.rel = "stylesheet";
      node.onload = () => resolve("it was loaded");
      node.onerror = () => resolve("");
      node[name] = url + "/";
      document.head.append(node);
    }));
  await note("WebSocket", () => new Promise(resolve => {
    const socket = new WebSocket(url.replace("http", "ws") + "/");
    socket.onopen = () => resolve("it is open");
    socket.onerror = () => resolve("");
  }));
  return read;
}
"""


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    arguments = [f"--host-resolver-rules={RULES}"]
    arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


def _serve(folder: Path, start: Start, app: str) -> int:
    (folder / "app.py").write_text(app)
    child = start("app.py", "--port", "0", "--reload", "--debug-console")
    return int(child.wait_for(r"http://localhost:(\d+)\b[^\n]*(ready in|shows)")[1])


@pytest.mark.parametrize("app", [APP, "SECRET = 1 / 0\n"], ids=["debugger", "error page"])
def test_a_page_of_another_origin(browser: Browser, tmp_path: Path, start: Start, app: str) -> None:
    port = _serve(tmp_path, start, app)
    html = ask(port, "Accept: text/html").text
    assert "SECRET" in html
    token = re.search(r'"(?:X-Aserve-Reload|token)": ?"([\w-]{16,})"', html)
    assert token is not None
    (tmp_path / "evil.py").write_text(EVIL)
    attacker = start("evil.py", "--port", "0", "--no-reload", "--allowed-host", "*").port
    page = browser.new_page()
    for name in ("evil.example", "127.0.0.1"):  # another site, and only another port
        page.goto(f"http://{name}:{attacker}/")
        for target in ("localhost", "127.0.0.1"):
            read = page.evaluate(ATTACK, [f"http://{target}:{port}", token[1]])
            assert read == [], (name, target)
    page.close()


@pytest.mark.parametrize("app", [APP, "SECRET = 1 / 0\n"], ids=["debugger", "error page"])
def test_a_name_that_leads_here(browser: Browser, tmp_path: Path, start: Start, app: str) -> None:
    """DNS rebinding: to the browser it is the same origin, so only the server can say no."""
    port = _serve(tmp_path, start, app)
    page = browser.new_page()
    # The answer that refuses it lets its page ask for nothing; one that was there before may.
    page.goto(f"http://rebound.example:{port}/")
    with pytest.raises(Error, match="Failed to fetch"):
        page.evaluate("fetch('/')")
    page.close()
    page = browser.new_context(bypass_csp=True).new_page()
    page.goto(f"http://rebound.example:{port}/")
    for path in ("/", "/console", "/.aserve/changed", "/.aserve/debug/command"):
        status, text = page.evaluate(
            "path => fetch(path).then(async answer => [answer.status, await answer.text()])", path
        )
        assert (status, "SECRET" in text) == (403, False), path
    page.context.close()


def test_the_page_of_an_error_loads_itself_again(
    browser: Browser, tmp_path: Path, start: Start
) -> None:
    """Its own script and style are not what the policy forbids."""
    port = _serve(tmp_path, start, "SECRET = 1 / 0\n")
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"http://localhost:{port}/")
    assert "ZeroDivisionError" in page.inner_text("body")
    assert page.evaluate("getComputedStyle(document.querySelector('mark')).borderRadius") == "3.2px"
    (tmp_path / "app.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/html')])\n"
        "    return [b'<p id=fixed>fixed</p>']\n"
    )
    page.wait_for_selector("#fixed")
    assert not [text for text in complaints if "Content Security Policy" in text], complaints
    page.close()
