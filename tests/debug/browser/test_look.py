"""The error page in a real browser, under its own policy: what is seen, copied and pressed."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from aserve.debug.model import Problem, SourceLine, Value

from .. import samples
from .conftest import Visit, console_of
from .site import Site, value

OPEN = "() => document.querySelectorAll('details').forEach(one => { one.open = true })"


def test_page_is_one_request(visit: Visit, server: Site) -> None:
    asked: list[str] = []
    page = visit(
        samples.chained(), before=lambda page: page.on("request", lambda r: asked.append(r.url))
    )
    expect(page.locator("html.live")).to_be_attached()
    urls = {url for url in asked if not url.startswith("data:")}
    assert urls <= {f"{server.url}/", f"{server.url}{samples.SETTINGS.command_url}"}
    assert page.title() == "jinja2.exceptions.UndefinedError: The order cannot be shown:"


@pytest.mark.parametrize(("width", "height"), [(360, 800), (1400, 900)])
def test_what_is_seen_first(visit: Visit, width: int, height: int) -> None:
    page = visit(samples.simple(), width=width, height=height)
    expect(page.locator("h1")).to_be_in_viewport(ratio=1)
    expect(page.locator(".chosen .failing")).to_be_in_viewport()


def test_without_a_script(visit: Visit) -> None:
    page = visit(samples.chained(), browser_settings={"java_script_enabled": False})
    expect(page.locator(".chosen .source")).to_be_visible()
    expect(page.locator(".chosen .locals table")).to_be_visible()
    assert page.locator("button:visible").count() == 0
    page.locator(".run > details > summary").click()
    library = page.locator(".run .frame").first
    expect(library.locator(".source")).to_be_hidden()
    library.locator("summary").first.click()
    expect(library.locator(".source")).to_be_visible()
    assert page.locator("[data-lazy]:visible, #banner:visible, .console:visible").count() == 0


@pytest.mark.parametrize("problem", [samples.chained(), samples.grouped()])
@pytest.mark.parametrize("width", [360, 700, 1600])
def test_no_width_scrolls_the_page(
    visit: Visit, server: Site, problem: Problem, width: int
) -> None:
    server.answers["locals"] = {"values": [value("x" * 100, "y" * 1000)]}
    page = visit(problem, width=width)
    page.evaluate(OPEN)
    expect(page.locator(".wait")).to_have_count(0)
    wide = page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
    assert wide <= 0
    source = page.locator(".source").first
    assert source.evaluate("e => getComputedStyle(e).overflowX") == "auto"


# The contrast of each text with what is behind it, by WCAG 2.
CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = parse(colour).map(
      (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (parse(colour)[3] === 255) return colour;
    }
  };
  const poor = [];
  const look = (element, pseudo) => {
    const back = pseudo === "::before" ? getComputedStyle(element, pseudo).backgroundColor : "";
    const [one, two] = [getComputedStyle(element, pseudo).color,
      parse(back || "#0000")[3] === 255 ? back : behind(element)].map(light);
    const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (contrast < 4.5) poor.push(`${element.className || element.tagName} ${pseudo ?? ""} ` +
      contrast.toFixed(2));
  };
  let count = 0;
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!element.checkVisibility() || element.disabled) continue;
    if (hasText) { count += 1; look(element); }
    if (element.matches(".line")) {
      look(element, "::before");
      if (hasText) for (const name of CSS.highlights.keys()) look(element, `::highlight(${name})`);
    }
  }
  if (count < 100) poor.push("too few texts: " + count);
  return [...new Set(poor)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("problem", [samples.chained(), samples.grouped()])
def test_contrast(visit: Visit, server: Site, problem: Problem, scheme: str) -> None:
    server.answers["locals"] = {"values": [value("x", "y")]}
    server.answers["alive"] = {"run": "run-2", "kept": False}
    page = visit(problem, browser_settings={"color_scheme": scheme})
    page.evaluate(OPEN)
    expect(page.locator("#banner")).to_be_visible()
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (ground == "rgb(20, 22, 26)") == (scheme == "dark")
    assert page.evaluate(CONTRAST) == []


def test_code_is_coloured(visit: Visit) -> None:
    text = 'the end of a docstring"""\nif x in f"{y}" + \'in\':  # not in "this"\n    return 1.5'
    frame = samples.user_frame(1, source=samples.source(text, 1), line=3, mark=None)
    page = visit(Problem(type="E", message="", places=(frame,)))
    found = page.evaluate(
        "Object.fromEntries([...CSS.highlights].map(([name, ranges]) =>"
        " [name, [...ranges].map(String)]))"
    )
    assert found == {
        "comment": ['# not in "this"'],
        "string": ['the end of a docstring"""', 'f"{y}"', "'in'"],
        "keyword": ["if", "in", "return"],
        "number": ["1.5"],
    }


def test_numbers_of_lines_are_not_selected(visit: Visit) -> None:
    page = visit()
    selected = page.locator(".chosen .source").evaluate(
        "e => { getSelection().selectAllChildren(e); return getSelection().toString() }"
    )
    expected = "\n".join(line.text for line in samples.user_frame(0).source)
    assert selected.strip("\n") == expected


def test_keys(visit: Visit) -> None:
    page = visit(samples.chained())

    def current() -> str | None:
        return page.evaluate("document.activeElement.closest('.frame')?.dataset.frame ?? null")  # type: ignore[no-any-return]

    seen = []
    for key in "jjjjjkkkkk":
        page.keyboard.press(key)
        seen.append(current())
    assert seen == ["5", "1", "7", "9", "9", "7", "1", "5", "5", "5"]
    run = page.locator(".run > details")
    page.keyboard.press("l")
    expect(run).to_have_attribute("open", "")
    expect(page.locator('[data-do="libraries"]')).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("l")
    expect(run).not_to_have_attribute("open", "")
    page.keyboard.press("?")
    help_ = page.get_by_role("dialog", name="Keyboard")
    expect(help_).to_be_visible()
    page.keyboard.press("Escape")
    expect(help_).to_be_hidden()
    page.keyboard.press("Control+j")
    assert current() == "5"
    page.keyboard.press("j")
    page.keyboard.press("c")
    field = page.locator('[data-frame="1"] .pin-field')
    expect(field).to_be_focused()
    page.keyboard.type("jl?")  # to be typed, and not to be obeyed
    expect(field).to_have_value("jl?")
    expect(help_).to_be_hidden()


def test_copying(visit: Visit) -> None:
    text = "## Ü <b>\n```\n</script>\n```\n"
    granted = {"permissions": ["clipboard-read", "clipboard-write"]}
    page = visit(markdown=text, plain="\nplain <i>\n", browser_settings=granted)
    page.keyboard.press("m")
    expect(page.locator('[data-do="markdown"]')).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == text
    page.get_by_role("button", name="Copy as text").click()
    expect(page.locator('[data-do="plain"]')).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "\nplain <i>\n"
    expect(page.locator('[data-do="markdown"]')).to_have_text("Copy as Markdown")


def test_copying_where_there_is_no_clipboard(visit: Visit) -> None:
    """As on `http://192.168.1.5/`, which is no secure origin."""
    script = "delete Navigator.prototype.clipboard"
    page = visit(before=lambda page: page.add_init_script(script), is_unlocked=True)
    page.get_by_role("button", name="Copy as Markdown").click()
    expect(page.locator('[data-do="markdown"]')).to_have_text("Copied")
    field = console_of(page).locator("textarea")
    field.press("Control+v")
    expect(field).to_have_value(samples.SETTINGS.markdown)


@pytest.mark.parametrize(
    "payload", ["</script><script>alert(1)</script>", "<img onerror=alert(1) src>"]
)
def test_nothing_that_was_raised_is_run(visit: Visit, payload: str) -> None:
    frame = samples.user_frame(
        1, shown_file=payload, name=payload, source=(SourceLine(38, payload),),
        values=(Value(name=payload, type=payload, text=payload),),
    )  # fmt: skip
    problem = Problem(type=payload, message=payload, notes=(payload,), places=(frame,))
    page = visit(problem, plain=payload, markdown=payload, versions=payload)
    expect(page.locator("h1 .message")).to_have_text(payload)
    assert page.evaluate("document.images.length") == 0


def test_names_of_what_can_be_pressed(visit: Visit) -> None:
    page = visit(samples.chained())
    page.evaluate(OPEN)
    names = re.findall(r'- button "?([^"\n]*)"?', page.locator("body").aria_snapshot())
    assert all(names)
    assert page.get_by_role("main").count() == page.get_by_role("banner").count() == 1
    assert page.get_by_role("table").first.get_by_role("columnheader").count() == 3
