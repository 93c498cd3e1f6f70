"""The error page in a real browser: what it asks the server, and what it makes of the answers."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from aserve.debug.page import render_console

from .. import samples
from .conftest import Visit, console_of
from .site import Site, refusal, value


def test_variables_of_libraries_and_parts(visit: Visit, server: Site) -> None:
    bad = "<img src=x onerror=alert(1)>"
    tries = itertools.count()
    server.answers |= {
        "locals": lambda asked: (
            refusal("busy")
            if next(tries) == 0
            else {"values": [value("self", bad, bad, can_expand=True), value(bad, bad)]}
        ),
        "expand": lambda asked: (
            {"values": [value(".one", "1"), value(".two", "2", can_expand=True)]}
            if len(asked["path"]) < 3
            else {"values": []}
        ),
    }
    page = visit()
    page.locator(".run summary").first.click()
    frame = page.locator('[data-frame="1"]')
    frame.locator("summary").first.click()
    variables = frame.locator(".locals > summary")
    variables.click()
    expect(frame.locator(".trouble")).to_have_text("said the server: busy")
    variables.click()
    expect(frame.locator(".trouble")).to_have_count(0)
    variables.click()
    expect(frame.locator("td.text").first).to_have_text(bad)
    first = frame.locator('[data-do="expand"]').first
    first.click()
    expect(frame.locator(".parts th", has_text=".one")).to_be_visible()
    frame.locator('.parts [data-do="expand"]').click()
    expect(frame.locator('.parts .parts [data-do="expand"]')).to_be_visible()
    frame.locator('.parts .parts [data-do="expand"]').click()
    expect(frame.locator(".parts .parts .parts")).to_have_text("Nothing.")
    paths = [(asked["frame"], asked["path"]) for asked in server.of("expand")]
    assert paths == [(1, ["self"]), (1, ["self", 1]), (1, ["self", 1, 1])]
    expect(first).to_have_attribute("aria-expanded", "true")
    first.click()
    expect(frame.locator(".parts")).to_have_count(0)
    expect(first).to_have_attribute("aria-expanded", "false")
    # Those that came with the page are asked for by name.
    page.locator('.chosen [data-do="expand"]').first.click()
    expect(page.locator(".chosen .parts th", has_text=".one")).to_be_visible()
    assert server.of("expand")[-1]["path"] == ["order"]
    assert server.of("expand")[-1]["report"] == "report-1"


def test_opening_in_an_editor(visit: Visit, server: Site) -> None:
    server.answers["open"] = lambda asked: {} if asked["frame"] == 4 else refusal("no-editor")
    page = visit()
    page.get_by_role("button", name="Open shop/views.py:38 in the editor").click()
    expect(page.locator('.chosen [data-do="open"]')).to_have_text("Opened")
    page.locator('[data-frame="3"] [data-do="open"]').click()
    expect(page.locator('[data-frame="3"] .trouble')).to_have_text("said the server: no-editor")
    assert visit(has_editor=False).locator('[data-do="open"]:visible').count() == 0


def test_pin(visit: Visit, server: Site) -> None:
    left = iter([2, 1])
    server.answers |= {
        "show-pin": {"printed": True},
        "unlock": lambda asked: {} if asked["pin"] == "123-456-789" else refusal(
            "wrong-pin", left=next(left)
        ),
    }  # fmt: skip
    page = visit()
    console = console_of(page)
    field = console.get_by_label("PIN")
    expect(field).to_be_focused()
    status = console.locator(".status")
    expect(status).to_contain_text("terminal")
    field.fill("1")
    field.press("Enter")
    expect(status).to_contain_text("2 tries are left")
    console.get_by_role("button", name="Unlock").click()
    expect(status).to_contain_text("1 try is left")
    other = console_of(page, 3)
    field.fill(" 123-456-789 ")
    field.press("Enter")
    expect(console.locator("textarea")).to_be_focused()
    expect(other.locator("textarea")).to_be_visible()
    assert len(server.of("show-pin")) == 2
    assert page.url == f"{server.url}/"


def test_pin_that_is_locked(visit: Visit, server: Site) -> None:
    server.answers |= {"show-pin": {"printed": False}, "unlock": refusal("locked")}
    console = console_of(visit())
    expect(console.locator(".status")).to_contain_text("no terminal")
    console.get_by_label("PIN").fill("1")
    console.get_by_label("PIN").press("Enter")
    expect(console.locator(".status")).to_contain_text("locked")
    # It can be unlocked again, from a terminal.
    expect(console.get_by_label("PIN")).to_be_editable()
    expect(console.get_by_label("PIN")).to_have_attribute("aria-invalid", "true")


def test_no_console_where_there_is_none(visit: Visit, server: Site) -> None:
    page = visit(can_eval=False)
    expect(page.locator('[data-do="open"]').first).to_be_visible()
    assert page.locator('[data-do="console"]:visible').count() == 0
    page.keyboard.press("c")
    page.keyboard.press("j")
    assert page.locator(".console").count() == 0


def run(asked: dict[str, Any]) -> dict[str, Any]:
    code = asked["code"]
    if code.startswith("for") and not code.endswith("\n"):
        return {"output": "", "more": True}
    return {"output": f"<b>{code}</b>\n", "more": False}


def test_console(visit: Visit, server: Site) -> None:
    server.answers["eval"] = run
    page = visit(is_unlocked=True)
    console = console_of(page)
    field, output = console.locator("textarea"), console.get_by_role("log")
    expect(field).to_be_focused()
    page.keyboard.type("item")
    page.keyboard.press("Enter")
    expect(output).to_have_text(">>> item<b>item</b>")
    page.keyboard.type("for x in item:")
    page.keyboard.press("Enter")
    expect(field).to_have_value("for x in item:\n    ")
    expect(console.locator(".mark-of-prompt")).to_have_text(">>>\n...")
    page.keyboard.type("x")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("    y")
    page.keyboard.press("Enter")
    expect(field).to_have_value("for x in item:\n    x\n    y\n    ")
    page.keyboard.press("Enter")
    expect(field).to_have_value("")
    codes = [asked["code"] for asked in server.of("eval")]
    assert codes[-1] == "for x in item:\n    x\n    y\n"
    assert {asked["frame"] for asked in server.of("eval")} == {4}
    page.keyboard.press("ArrowUp")
    expect(field).to_have_value("for x in item:\n    x\n    y")
    page.reload()
    field = console_of(page).locator("textarea")
    expect(field).to_be_focused()
    for key, text in (("Up", "for x in item:\n    x\n    y"), ("Down", ""), ("Up", None)):
        page.keyboard.press(f"Arrow{key}")
        if text is not None:
            expect(field).to_have_value(text)
    for _ in range(4):
        page.keyboard.press("ArrowUp")
    expect(field).to_have_value("item")


def test_completion(visit: Visit, server: Site) -> None:
    def complete(asked: dict[str, Any]) -> dict[str, Any]:
        text = asked["text"]
        start = max(text.rfind(" "), text.rfind("(")) + 1
        names = [name for name in ("item.keys", "item.key_of", "other") if name.startswith(
            text[start:])]  # fmt: skip
        return {"matches": names, "start": start}

    server.answers["complete"] = complete
    page = visit(is_unlocked=True)
    console = console_of(page)
    field = console.locator("textarea")
    field.fill('"😀" + f(it)')
    field.press("ArrowLeft")
    field.press("Tab")
    expect(field).to_have_value('"😀" + f(item.key)')
    expect(console.locator(".matches")).to_have_text("item.keys   item.key_of")
    page.keyboard.type("s")
    expect(console.locator(".matches")).to_be_hidden()
    field.press("Tab")
    expect(field).to_have_value('"😀" + f(item.keys)')
    field.fill("x")
    field.press("Tab")  # no matches: nothing happens
    expect(field).to_be_focused()
    field.fill("")
    field.press("Tab")  # an empty prompt is left
    expect(field).not_to_be_focused()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("dropped", "not kept any more"),
        ("gone", "loaded anew"),
        ("elsewhere", "Another process"),
        ("no-eval", "cannot be run from here"),
        ("bad-request", "said the server: bad-request"),
    ],
)
def test_errors_of_the_console(visit: Visit, server: Site, error: str, text: str) -> None:
    server.answers["eval"] = refusal(error)
    console = console_of(visit(is_unlocked=True))
    console.locator("textarea").fill("item")
    console.locator("textarea").press("Enter")
    expect(console.locator(".error")).to_contain_text(text)
    assert len(server.of("eval")) == (21 if error == "elsewhere" else 1)


def test_another_process_is_asked_again(visit: Visit, server: Site) -> None:
    tries = itertools.count()
    server.answers["eval"] = lambda asked: refusal("elsewhere") if next(tries) < 5 else run(asked)
    console = console_of(visit(is_unlocked=True))
    console.locator("textarea").fill("item")
    console.locator("textarea").press("Enter")
    expect(console.get_by_role("log")).to_have_text(">>> item<b>item</b>")


def test_pin_is_asked_for_again_when_the_cookie_is_old(visit: Visit, server: Site) -> None:
    server.answers |= {"eval": refusal("pin"), "show-pin": {"printed": True}, "unlock": {}}
    console = console_of(visit(is_unlocked=True))
    field = console.locator("textarea")
    field.fill("item")
    field.press("Enter")
    pin = console.get_by_label("PIN")
    expect(pin).to_be_focused()
    server.answers["eval"] = run
    pin.fill("1")
    pin.press("Enter")
    expect(field).to_be_focused()  # behind the answer; until then it is hidden, with its text
    expect(field).to_have_value("item")  # nothing that was typed is lost
    field.press("Enter")
    expect(console.get_by_role("log")).to_have_text(">>> item<b>item</b>")


def test_app_that_was_loaded_anew(visit: Visit, server: Site) -> None:
    page = visit(is_unlocked=True)
    console = console_of(page)
    banner = page.locator("#banner")
    expect(banner).to_be_hidden()
    server.answers["alive"] = {"run": "run-2", "kept": False}
    expect(banner).to_contain_text("The app has been loaded anew")
    expect(console.locator(".error")).to_contain_text("gone")
    expect(console.locator("textarea")).to_be_disabled()
    expect(page.locator('[data-frame="3"] [data-do="console"]')).to_be_disabled()
    expect(page.locator(".chosen .source")).to_be_visible()
    server.pages["/"] = lambda: "<h1>It works</h1>"
    page.get_by_role("button", name="Retry the request").click()
    expect(page.locator("h1")).to_have_text("It works")


@pytest.mark.parametrize("answer", ["<h1>SyntaxError</h1>", '{"other": 1}'])
def test_app_that_cannot_be_loaded(visit: Visit, server: Site, answer: str) -> None:
    page = visit()
    expect(page.locator("#banner")).to_be_hidden()
    server.answers["alive"] = answer
    expect(page.locator("#banner")).to_contain_text("The app cannot be loaded")
    expect(page.get_by_role("button", name="Show the page")).to_be_visible()
    server.answers["alive"] = {"run": "run-1", "kept": True}
    expect(page.locator("#banner")).to_be_hidden()


def test_report_that_was_dropped(visit: Visit, server: Site) -> None:
    page = visit(is_unlocked=True)
    console = console_of(page)
    server.answers["alive"] = {"run": "run-1", "kept": False}
    expect(console.locator(".error")).to_contain_text("not kept any more")
    expect(page.locator("#banner")).to_be_hidden()


def test_server_that_is_gone(visit: Visit, server: Site) -> None:
    page = visit()
    expect(page.locator("#banner")).to_be_hidden()
    server.server_close()
    expect(page.locator("#banner")).to_contain_text("does not answer")
    expect(page.locator(".chosen .source")).to_be_visible()


# Time runs as the test says, and timers a hundred times as fast; how long they were is noted.
FAST = """
window.delays = [];
window.now = 0;
performance.now = () => window.now;
window.slow = window.setTimeout;
window.setTimeout = (call, delay, ...rest) => {
  if (call.name === "watch") delays.push(delay);
  return slow(call, delay / 100, ...rest);
};
window.turn = (away) => {
  Object.defineProperty(document, "hidden", { value: away, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
};
"""


def until(page: Page, condition: str) -> None:
    """Wait; Playwright's own way is forbidden by the policy of the page."""
    look = f"const look = () => {condition} ? resolve() : slow(look, 5); look()"
    page.evaluate(f"() => new Promise((resolve) => {{ {look} }})")


def test_how_often_the_page_asks(visit: Visit, server: Site) -> None:
    page = visit(before=lambda page: page.add_init_script(FAST))
    until(page, "delays.length > 5")
    assert page.evaluate("new Set(delays).size === 1 && delays[0] === 1000")
    page.evaluate("now = 61_000")
    until(page, "delays.at(-1) === 5000")
    page.evaluate("turn(true)")
    # What was under way is answered by then: the delays are those of the fast timers.
    count = "new Promise((resolve) => setTimeout(() => resolve(delays.length), 20_000))"
    assert page.evaluate(count) == page.evaluate(count)
    page.evaluate("turn(false)")
    until(page, "delays.at(-1) === 1000")


def test_console_page(visit: Visit, server: Site) -> None:
    server.answers["eval"] = run
    page = visit()
    told = replace(samples.SETTINGS, is_unlocked=True)
    server.pages["/console"] = lambda: render_console(told)
    page.goto(f"{server.url}/console")
    page.locator("textarea").fill("1")
    page.locator("textarea").press("Enter")
    expect(page.get_by_role("log")).to_have_text(">>> 1<b>1</b>")
    assert server.of("eval")[0]["frame"] == 0


def test_parts_ask_for_the_pin_one_time(visit: Visit, server: Site) -> None:
    """Also behind a cancelled question, and behind a wrong one."""
    is_open = False

    def unlock(asked: dict[str, Any]) -> dict[str, Any]:
        nonlocal is_open
        is_open = asked["pin"] == "1234"
        return {} if is_open else refusal("wrong-pin", left=9)

    def parts(asked: dict[str, Any]) -> dict[str, Any]:
        return {"values": [value(".one", "1")]} if is_open else refusal("pin")

    server.answers |= {"expand": parts, "unlock": unlock, "show-pin": {"printed": True}}
    page = visit(is_unlocked=False)
    first = page.locator('.chosen [data-do="expand"]').first
    first.click()
    dialog = page.get_by_role("dialog", name="This needs the PIN")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(".chosen .parts")).to_have_text("This needs the PIN.")
    first.click()
    first.click()
    dialog.get_by_label("PIN").fill("0000")
    dialog.get_by_label("PIN").press("Enter")
    expect(dialog.get_by_role("status")).to_contain_text("9 tries are left")
    expect(dialog.get_by_label("PIN")).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("PIN").fill("1234")
    dialog.get_by_label("PIN").press("Enter")
    expect(page.locator(".chosen .parts")).to_contain_text(".one")
    expect(dialog).to_be_hidden()


def test_the_keyboard_leaves_a_console_with_text(visit: Visit, server: Site) -> None:
    server.answers |= {"complete": {"matches": ["order"], "start": 0}}
    page = visit(is_unlocked=True)
    console = console_of(page)
    field = console.locator("textarea")
    field.fill("ord")
    field.press("Escape")
    field.press("Tab")
    expect(field).not_to_be_focused()
    expect(field).to_have_value("ord")
    assert not server.of("complete")
    field.press_sequentially("e")
    field.press("Tab")
    expect(field).to_have_value("order")
