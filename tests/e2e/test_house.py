"""Every page that aserve shows, in Chromium: of one house, for every screen and everybody.

The debugger's, the console, the reloader's two, the callback's and the demo's. What axe-core finds
is looked for in light and dark, on a wide window and on a telephone.
"""

from __future__ import annotations

import http.client
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import DEADLINE, Child, Start, starter

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text("utf-8")
expect.set_options(timeout=20_000)

APP = """
import os, time
from flask import Flask, render_template

app = Flask(__name__)

def total(prices):
    return sum(prices) / len(prices)

@app.get("/error")
def basket():
    order = {"owner": "Ada", "prices": []}
    a_name_that_is_rather_long_for_a_variable = "x" * 200
    try:
        total(order["prices"])
    except ZeroDivisionError as error:
        text = "The order cannot be shown,\\n" + "for its customer has gone. " * 30
        raise ValueError(text) from error

@app.get("/template")
def template():
    return render_template("cart.html")
"""
SLOW = "import pathlib, time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.01)\n"
CALLBACK = """
import asyncio, sys
from aserve import CallbackServer

async def main():
    async with CallbackServer("/callback") as server:
        print(f"aserve: callback on {server.url}, ready in 0 ms", file=sys.stderr, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
WINDOWS = [(1280, 900), (360, 780)]


class House:
    """Servers with all pages.

    Args:
        folder: Of their apps.
        start: Starts processes.
    """

    def __init__(self, folder: Path, start: Start) -> None:
        self.folder, self._start = folder, start
        (folder / "app.py").write_text(APP)
        self.opened = folder / "opened"
        editor = folder / "editor"
        editor.write_text(f'#!/bin/sh\necho "$@" >> {self.opened}\n')
        editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
        variables = {"ASERVE_EDITOR": f"{editor} {{file}}:{{line}}", "ASERVE_DEBUG_PIN": "2468"}
        site = start("app.py", "--port", "0", "--no-reload", "--debug-console", **variables)
        (folder / "broken.py").write_text("import yamll\n" + "x = 1\n" * 20)
        broken = start("broken.py", "--port", "0", "--reload", **variables)
        (folder / "slow.py").write_text(SLOW)
        self.slow = start("slow.py", "--port", "0", "--reload", **variables)
        demo = start("demo", "--port", "0")
        callback = start(sys.executable, "-c", CALLBACK, raw=True)
        self.urls = {
            "debugger": f"{site.url}/error",
            "template": f"{site.url}/template",
            "console": f"{site.url}/console",
            "reloader": f"http://localhost:{_waiting(broken)}/",
            "loading": f"http://localhost:{_loading(self.slow)}/",
            "demo": f"{demo.url}/",
            "callback": f"{callback.url}?code=1&state=wrong",
        }


def _waiting(child: Child) -> str:
    return child.wait_for(r"Until then http://[^:]+:(\d+) shows")[1]


def _loading(child: Child) -> str:
    # It says nothing of its address before it serves, so the system is asked for it.
    child.wait_for("still being loaded")
    for line in Path(f"/proc/{child.pid}/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_, inode = line.split()[:10]
        links = (Path(f"/proc/{child.pid}/fd")).iterdir()
        if state == "0A" and any(str(link.readlink()) == f"socket:[{inode}]" for link in links):
            return str(int(local.partition(":")[2], 16))
    pytest.fail("it listens on nothing")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    with starter(folder, XDG_STATE_HOME=str(folder)) as start:
        yield House(folder, start)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Any]:
    contexts = []

    def function(url: str, size: tuple[int, int] = (1280, 900), **settings: Any) -> Page:
        viewport: Any = {"width": size[0], "height": size[1]}
        context = browser.new_context(viewport=viewport, **settings)
        contexts.append(context)
        page = context.new_page()
        page.goto(url)
        return page

    yield function
    for context in contexts:
        context.close()


def violations(page: Page) -> list[str]:
    page.evaluate(AXE)  # not as a script of the page: its policy allows none
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{each['id']}: {[node['target'] for node in each['nodes']]}" for each in found]


PAGES = ("debugger", "template", "console", "reloader", "loading", "demo", "callback")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", WINDOWS)
def test_nobody_is_kept_out(
    house: House, visit: Any, name: str, scheme: str, size: tuple[int, int]
) -> None:
    page = visit(house.urls[name], size, color_scheme=scheme)
    assert violations(page) == []
    if name == "debugger":
        # Those that are asked for when they are opened need the PIN.
        page.evaluate(
            "document.querySelectorAll('details:not([data-lazy])')"
            ".forEach(one => { one.open = true })"
        )
        assert violations(page) == []
        page.get_by_role("button", name="Keyboard shortcuts").click()
        assert violations(page) == []
    if name == "console":
        field = page.locator(".console").get_by_label("PIN")
        field.fill("2468")
        field.press("Enter")
        page.locator("textarea").fill("1 / 0")
        page.locator("textarea").press("Enter")
        expect(page.get_by_role("log")).to_contain_text("ZeroDivisionError")
        assert violations(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_telephone_lays_it_out_for_itself(house: House, visit: Any, name: str) -> None:
    page = visit(house.urls[name], (360, 780), is_mobile=True, has_touch=True)
    assert page.evaluate("innerWidth") == 360
    assert page.evaluate("document.scrollingElement.scrollWidth") == 360
    metas = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('meta[name]')]"
        ".map(one => [one.name, one.content]))"
    )
    assert metas == {
        "viewport": "width=device-width, initial-scale=1", "color-scheme": "light dark",
    }  # fmt: skip
    small = page.evaluate(
        "[...document.querySelectorAll('button, summary, input, .outline a')]"
        ".filter(one => one.checkVisibility()).map(one => one.getBoundingClientRect())"
        ".filter(box => box.height && (box.height < 24 || box.width < 24)).length"
    )
    assert small == 0


def test_all_have_the_same_look(house: House, visit: Any) -> None:
    looks = set()
    for name in PAGES:
        page = visit(house.urls[name])
        looks.add(page.evaluate(
            "(({fontFamily, color}, {backgroundColor}) => fontFamily + color + backgroundColor)"
            "(getComputedStyle(document.body), getComputedStyle(document.documentElement))"
        ))  # fmt: skip
    assert len(looks) == 1


def test_the_reloader_opens_the_editor_by_the_keyboard(house: House, visit: Any) -> None:
    page = visit(house.urls["reloader"])
    expect(page.locator(".advice")).to_contain_text("-m pip install yamll")
    expect(page.locator(".failing")).to_have_text("import yamll\n")
    button = page.get_by_role("button", name=re.compile("^Open broken.py:1 "))
    for _ in range(10):
        page.keyboard.press("Tab")
        if button.evaluate("one => one === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(button).to_have_text("Opened")
    assert house.opened.read_text() == f"{house.folder / 'broken.py'}:1\n"
    # Whoever else has the page cannot fill the screen with windows.
    expect(button).to_have_text("Open in editor")
    token = page.evaluate("JSON.parse(document.getElementById('settings').textContent).token")
    fetch = (
        "([token, to]) => fetch(to, {method: 'POST', headers: {'X-Aserve-Reload': token}})"
        ".then(answer => answer.status)"
    )
    statuses = [page.evaluate(fetch, [token, "/.aserve/open?0"]) for _ in range(3)]
    assert statuses.count(429) >= 2
    assert page.evaluate(fetch, [token, "/.aserve/open?9"]) == 404
    assert page.evaluate(fetch, [token, "/.aserve/open?../../etc/passwd"]) == 404
    assert page.evaluate(fetch, ["guess", "/.aserve/open?0"]) == 403


def test_without_a_script(house: House, visit: Any) -> None:
    page = visit(house.urls["console"], java_script_enabled=False)
    expect(page.locator("main")).to_contain_text("The console needs JavaScript")
    page = visit(house.urls["reloader"], java_script_enabled=False)
    expect(page.locator(".failing")).to_be_visible()
    expect(page.locator("body")).to_contain_text("cannot load itself again without JavaScript")
    assert page.locator("button:visible").count() == 0


def test_frames_beside_the_code(house: House, visit: Any) -> None:
    page = visit(house.urls["debugger"], (1600, 900))
    outline = page.get_by_role("navigation", name="Frames")
    expect(outline).to_be_visible()
    side, main = outline.bounding_box(), page.locator(".chosen").bounding_box()
    assert side["x"] + side["width"] <= main["x"]
    outline.get_by_role("link").last.click()
    expect(page.locator(":target")).to_be_in_viewport()
    expect(outline.locator("[aria-current]")).to_have_count(1)
    expect(visit(house.urls["debugger"], (1200, 900)).locator(".outline")).to_be_hidden()


def test_paper_is_light_and_complete(house: House, visit: Any) -> None:
    page = visit(house.urls["debugger"], color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == (
        "rgb(247, 247, 245)"
    )
    expect(page.locator(".actions, .tools, .outline").first).to_be_hidden()
    # What is folded on a screen is there.
    headers = page.locator(".facts .values").first
    assert headers.evaluate("one => one.getBoundingClientRect().height") > 0
    assert (
        page.locator(".run .frame").first.evaluate("one => one.getBoundingClientRect().height") > 0
    )


def test_colours_of_the_reader(house: House, visit: Any) -> None:
    """In forced colours nothing is drawn behind words."""
    page = visit(house.urls["debugger"], forced_colors="active")
    assert page.evaluate("CSS.highlights.size") == 0
    behind = page.locator("mark").first.evaluate("one => getComputedStyle(one).backgroundColor")
    assert behind.endswith(", 0)")


def test_a_tab_that_has_gone_leaves_nothing(house: House) -> None:
    """Each one waits in a request of its own, which ends with it."""
    port = int(house.urls["reloader"].rpartition(":")[2].rstrip("/"))
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    asked.request("GET", "/", headers={"Accept": "text/html", "Host": "localhost"})
    token = re.search(r'"token": "([\w-]+)"', asked.getresponse().read().decode())
    asked.close()
    assert token is not None
    pid = _holder_of(port)
    before = _wait_for(pid, lambda count: True)
    waiting = []
    for _ in range(50):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        fields = {"Host": "localhost", "X-Aserve-Reload": token[1]}
        connection.request("GET", "/.aserve/changed", headers=fields)
        waiting.append(connection)
    _wait_for(pid, lambda count: count >= before + 50)
    for connection in waiting:
        connection.close()
    _wait_for(pid, lambda count: count <= before)


def _wait_for(pid: int, is_right: Callable[[int], bool]) -> int:
    """Until a process has so many descriptors open; nothing tells of that."""
    deadline = time.monotonic() + DEADLINE
    while not is_right(count := sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())):
        assert time.monotonic() < deadline, count
        time.sleep(0.01)
    return count


def _holder_of(port: int) -> int:
    """The supervisor: the process that listens there and has been started first."""
    wanted = f":{port:04X}"
    inodes = {
        line.split()[9]
        for name in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(name).read_text().splitlines()[1:]
        if line.split()[1].endswith(wanted) and line.split()[3] == "0A"
    }
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            links = [str(link.readlink()) for link in (folder / "fd").iterdir()]
        except OSError:
            continue
        if any(f"socket:[{inode}]" in links for inode in inodes):
            found.append(int(folder.name))
    return min(found)
