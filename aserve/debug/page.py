"""The error page and the console page: one HTML document each, with all that they need in it.

They work under a policy that allows the style and the script with the nonce, and questions to
where they came from: so nothing here has an inline style or an inline handler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..pages.document import document
from ..pages.elements import button, footer
from ..pages.markup import Content, Markup, element
from .model import Problem, RequestView
from .problems import headline, render_outline, render_problem, render_values

__all__ = ["PageSettings", "render", "render_console"]

_STYLES: Final = ("debug/assets/debugger.css",)
# One module, in this order.
_SCRIPTS: Final = (
    "pages/assets/page.js", "debug/assets/commands.js", "debug/assets/console.js",
    "debug/assets/debugger.js",
)  # fmt: skip
_KEYS: Final = (
    ("j", "next frame of the project"),
    ("k", "frame before it"),
    ("l", "show or fold the frames of libraries"),
    ("c", "console in this frame"),
    ("m", "copy as Markdown"),
    ("?", "this list"),
)


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What a page is told beside the problem.

    Args:
        token: For the header `X-Aserve-Debug` of each command.
        report: Which report its commands are about.
        generation: What `alive` answers as `run` as long as the process lives.
        command_url: Where commands are sent.
        nonce: Of the policy of the response.
        can_eval: Whether there are consoles.
        is_unlocked: Whether this browser has entered the PIN.
        has_editor: Whether files can be opened in an editor.
        versions: E.g. `Python 3.13.0, Flask 3.1.2`.
        command_line: What the server was started with.
        plain: The problem as text.
        markdown: The problem as Markdown.
    """

    token: str
    report: str
    generation: str
    command_url: str
    nonce: str
    can_eval: bool
    is_unlocked: bool
    has_editor: bool
    versions: str
    command_line: str
    plain: str
    markdown: str


def render(problem: Problem, request: RequestView | None, settings: PageSettings) -> str:
    """The page of an exception; it can be encoded as UTF-8 whatever is in it.

    Args:
        problem: The newest exception of the chain.
        request: Where it happened; None outside a request.
        settings: See `PageSettings`.
    """
    body: list[Content] = [
        element(
            "header",
            [_address(request), element("div", _actions(), class_="actions")],
            class_="top",
        ),
        element(
            "main",
            [
                render_outline(problem),
                element(
                    "div",
                    [render_problem(problem), _request(request), _plain(settings)],
                    class_="content",
                ),
            ],
        ),
        footer(settings.versions, settings.command_line),
        _help(),
    ]
    return _document(headline(problem), body, settings)


def render_console(settings: PageSettings) -> str:
    """The page of a console without an exception: frame 0 of the report."""
    heading = element("h1", "Console", class_="headline")
    place = element("div", "", class_="frame chosen standalone", data_frame="0")
    body: list[Content] = [
        element("main", [heading, _without_script(), place], class_="alone"),
        footer(settings.versions, settings.command_line),
    ]
    return _document("Console", body, settings)


def _without_script() -> Markup:
    text = "The console needs JavaScript, which is switched off here."
    return element("p", text, class_="note without-script")


def _document(title: str, body: list[Content], settings: PageSettings) -> str:
    classes = [
        name
        for name, is_on in (("can-eval", settings.can_eval), ("has-editor", settings.has_editor))
        if is_on
    ]
    return document(
        title,
        [body, _banner(), _unlock(), _console()],
        nonce=settings.nonce,
        styles=_STYLES,
        scripts=_SCRIPTS,
        data=_for_the_script(settings),
        class_=" ".join(classes),
    )


def _for_the_script(settings: PageSettings) -> dict[str, object]:
    return {
        "token": settings.token,
        "report": settings.report,
        "generation": settings.generation,
        "command_url": settings.command_url,
        "can_eval": settings.can_eval,
        "is_unlocked": settings.is_unlocked,
        "markdown": settings.markdown,
    }


def _address(request: RequestView | None) -> Content:
    if request is None:
        return element("p", "Outside a request", class_="address")
    return element(
        "p",
        [element("b", request.method, class_="method"), " ", element("code", request.url)],
        class_="address",
    )


def _actions() -> Content:
    return [
        button("markdown", "Copy as Markdown"),
        button("plain", "Copy as text"),
        button("libraries", "Library frames", aria_pressed="false"),
        button("help", "?", aria_label="Keyboard shortcuts"),
    ]


def _request(request: RequestView | None) -> Content:
    if request is None or not request.sections:
        return ""
    shown: list[Content] = [element("h2", "Request", id="request-title")]
    for title, values in request.sections:
        count = element("span", f" {len(values)}", class_="count")
        shown.append(
            element(
                "details",
                [
                    element("summary", element("h3", [title, count])),
                    render_values(values, has_types=False),
                ],
                class_="facts",
            )
        )
    return element("section", shown, class_="request", aria_labelledby="request-title")


def _plain(settings: PageSettings) -> Content:
    # The script copies it from here, so it is sent one time.
    text = element(
        "pre", element("code", settings.plain, id="plain"), class_="plain", tabindex="0",
        role="group", aria_label="Traceback as text",
    )  # fmt: skip
    return element(
        "section",
        [
            element("h2", "Traceback", class_="unseen"),
            element("details", [element("summary", "Traceback as text"), text], class_="facts"),
        ],
        class_="request",
    )


def _banner() -> Markup:
    """What has become of the server; the script fills and shows it."""
    content = [element("p", "", class_="news"), button("retry", "")]
    return element("div", content, id="banner", role="status", hidden=True)


def _help() -> Markup:
    keys = [[element("dt", element("kbd", key)), element("dd", meaning)] for key, meaning in _KEYS]
    return element(
        "dialog",
        [
            element("h2", "Keyboard", id="help-title"),
            element("dl", keys),
            button("close-help", "Close"),
        ],
        id="help",
        aria_labelledby="help-title",
    )


def _pin_form(*more: Content, is_hidden: bool = False) -> Markup:
    field = element(
        "label",
        [
            "PIN ",
            element("input", type="text", name="pin", inputmode="numeric", autocomplete="off",
                    spellcheck="false", class_="pin-field"),
        ],
    )  # fmt: skip
    status = element("p", "", class_="status", role="status")
    button = element("button", "Unlock", type="submit")
    return element("form", [field, button, *more, status], class_="pin", hidden=is_hidden)


def _unlock() -> Markup:
    """Asks for the PIN, for whatever needs it outside of the consoles."""
    title = element("h2", "This needs the PIN", id="unlock-title")
    form = _pin_form(button("close-unlock", "Cancel"))
    return element("dialog", [title, form], id="unlock", aria_labelledby="unlock-title")


def _console() -> Markup:
    """What the script puts into a frame."""
    pin = _pin_form(is_hidden=True)
    field = element("textarea", "", rows="1", spellcheck="false", autocapitalize="off",
                    autocomplete="off", aria_label="Python code",
                    title="Tab completes; Escape, then Tab leaves")  # fmt: skip
    prompt = element(
        "form",
        [element("span", ">>>", class_="mark-of-prompt", aria_hidden="true"), field],
        class_="prompt",
        hidden=True,
    )
    output = element("div", "", class_="output", role="log", aria_live="polite")
    matches = element("p", "", class_="matches", role="status", hidden=True)
    section = element(
        "section", [output, pin, prompt, matches], class_="console", aria_label="Console"
    )
    return element("template", section, id="console")
