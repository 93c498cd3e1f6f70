"""The debugger as a person meets it: Chromium in front of real apps, served by `aserve`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from .conftest import Start
from .reloading import only_reload

# Generous: the machine may be busy.
expect.set_options(timeout=20_000)

FLASK = """
from flask import Flask, request

app = Flask(__name__)

def total(prices):
    return sum(prices) / len(prices)

@app.get("/basket")
def basket():
    order = {"prices": [], "owner": "Ada", "password": "geheim"[:3]}
    return str(total(order["prices"]))
"""

DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.template import engines
from django.urls import path

settings.configure(
    DEBUG=True, ROOT_URLCONF=__name__, SECRET_KEY="x", ALLOWED_HOSTS=["*"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)

def page(request):
    word = "from django"
    text = "<ul>\\n{% for x in items %}<li>{% include missing %}</li>{% endfor %}\\n</ul>"
    return HttpResponse(engines["django"].from_string(text).render({"items": [1]}))

urlpatterns = [path("", page)]
app = get_wsgi_application()
"""

PIN = "2468-1357"
_NETWORK = re.compile(
    # A page that may not be framed has two fields for it, and the browser names either.
    "Failed to load resource|CORS policy|Refused to display|to 'deny'|frame-ancestors 'none'"
)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab of a fresh profile; what its page complains about fails the test."""
    context = browser.new_context()
    complaints: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    yield page
    context.close()
    # What the network says is what this is about: errors, and other origins that are kept out.
    assert [text for text in complaints if not _NETWORK.search(text)] == []


def open_console(page: Page, frame: Locator) -> Locator:
    frame.locator('[data-do="console"]').click()
    return frame.locator(".console")


def enter(console: Locator, code: str) -> None:
    field = console.locator("textarea")
    field.fill(code)
    field.press("Enter")


def unlock(console: Locator, pin: str) -> None:
    field = console.get_by_label("PIN")
    field.fill(pin)
    field.press("Enter")


def test_flask_from_the_error_to_the_fix(tmp_path: Path, start: Start, page: Page) -> None:
    app = tmp_path / "app.py"
    app.write_text(FLASK)
    child = start("app.py", "--port", "0", "--reload", ASERVE_DEBUG_PIN=PIN)
    page.goto(f"http://localhost:{child.port}/basket")
    # Read.
    expect(page.locator("h1")).to_contain_text("division by zero")
    chosen = page.locator(".chosen")
    expect(chosen).to_contain_text("total")
    expect(chosen.locator("mark")).to_have_text("sum(prices) / len(prices)")
    view = page.locator("[data-frame]", has_text="basket()").last
    # Expand; a secret is none.
    view.locator(".locals > summary").click()
    row = view.locator("tr", has_text="order").first
    expect(row).to_contain_text("'owner': 'Ada'")
    expect(row).not_to_contain_text("geh'")
    row.locator('[data-do="expand"]').click()
    # The PIN, wrong and right: one time for all that is beyond the page.
    dialog = page.get_by_role("dialog")
    unlock(dialog, "0000")
    expect(dialog.locator(".status")).to_contain_text("9 tries are left")
    unlock(dialog, PIN)
    expect(view.locator(".parts th", has_text="owner")).to_be_visible()
    console = open_console(page, view)
    # Evaluate; what it does lives on, completes, and knows the request.
    output = console.get_by_role("log")
    enter(console, "names = sorted(order)")
    enter(console, "names[0]")
    expect(output).to_contain_text("'owner'")
    enter(console, "request.path")
    expect(output).to_contain_text("'/basket'")
    enter(console, "1 / 0")
    expect(output).to_contain_text("ZeroDivisionError")
    field = console.locator("textarea")
    field.fill("order['ow")
    field.press("Tab")
    expect(field).to_have_value("order['owner']")
    # Fix, and be told.
    app.write_text(FLASK.replace("/ len(prices)", "/ max(len(prices), 1)"))
    only_reload(child)
    page.get_by_role("button", name="Retry the request").click()
    expect(page.locator("body")).to_have_text("0.0")


def test_ten_wrong_pins(tmp_path: Path, start: Start, page: Page) -> None:
    (tmp_path / "app.py").write_text(FLASK)
    child = start("app.py", "--port", "0", "--no-reload", ASERVE_DEBUG_PIN=PIN)
    page.goto(f"http://localhost:{child.port}/basket")
    console = open_console(page, page.locator(".chosen"))
    status = console.locator(".status")
    for left in range(9, 0, -1):
        unlock(console, "0000")
        expect(status).to_contain_text(f"{left} tr")
    unlock(console, "0000")
    expect(status).to_contain_text("locked")
    page.reload()
    console = open_console(page, page.locator(".chosen"))
    unlock(console, PIN)
    expect(console.locator(".status")).to_contain_text("locked")
    # From a terminal there is a way back.
    assert start("pin", "--new", ASERVE_DEBUG_PIN=PIN).wait() == 0
    unlock(console, PIN)
    expect(console.locator("textarea")).to_be_focused()


def test_django_with_an_error_in_a_template(tmp_path: Path, start: Start, page: Page) -> None:
    (tmp_path / "app.py").write_text(DJANGO)
    child = start("app.py", "--port", "0", ASERVE_DEBUG_PIN="off")
    page.goto(f"http://localhost:{child.port}/")
    expect(page.locator("body")).to_contain_text("TemplateDoesNotExist")
    expect(page.locator("body")).to_contain_text("{% include missing %}")
    view = page.locator("[data-frame]", has_text="engines[").last
    console = open_console(page, view)
    enter(console, "word.title(), request.method")
    expect(console.get_by_role("log")).to_contain_text("('From Django', 'GET')")


def test_an_app_that_cannot_be_loaded_any_more(tmp_path: Path, start: Start, page: Page) -> None:
    app = tmp_path / "app.py"
    app.write_text(FLASK)
    child = start("app.py", "--port", "0", "--reload")
    page.goto(f"http://localhost:{child.port}/basket")
    app.write_text("def broken(:\n")
    banner = page.get_by_role("status")
    expect(banner).to_contain_text("cannot be loaded")
    app.write_text(FLASK.replace("return str(total", "return 'mended' or str(total"))
    expect(banner).to_contain_text("loaded anew")
    page.get_by_role("button", name="Retry the request").click()
    expect(page.locator("body")).to_have_text("mended")


def test_nothing_for_a_page_of_another_origin(tmp_path: Path, start: Start, page: Page) -> None:
    """It may have the browser ask, but neither read nor frame the page, nor command."""
    (tmp_path / "app.py").write_text(FLASK)
    child = start("app.py", "--port", "0", ASERVE_DEBUG_PIN="off")
    (tmp_path / "evil.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/html')])\n"
        "    return [b'<title>evil</title>']\n"
    )
    evil = start("evil.py", "--port", "0")
    target = f"http://localhost:{child.port}"
    page.goto(f"http://127.0.0.1:{evil.port}/")
    seen = page.evaluate(
        """async target => {
            const tried = [];
            for (const mode of ["cors", "no-cors"]) {
                for (const path of ["/basket", "/.aserve/debug/command"]) {
                    try {
                        const answer = await fetch(target + path, {
                            mode, method: path == "/basket" ? "GET" : "POST",
                            headers: {Accept: "text/html"},
                            body: path == "/basket" ? undefined : '{"do": "alive"}'});
                        tried.push(answer.type + await answer.text());
                    } catch (error) { tried.push("refused"); }
                }
            }
            return tried;
        }""",
        target,
    )
    assert set(seen) <= {"refused", "opaque"}
    page.evaluate(
        """target => new Promise(done => {
            const frame = document.createElement("iframe");
            frame.onload = done;
            frame.src = target + "/basket";
            document.body.append(frame);
        })""",
        target,
    )
    (framed,) = page.frames[1:]
    assert "ZeroDivisionError" not in framed.content()
