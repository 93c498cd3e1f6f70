"""`aserve.debug.page`: what it shows is text whatever is in it, and it is well-formed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import aserve
from aserve.debug.model import Frame, Mark, Problem, Repetition, RequestView, SourceLine, Value
from aserve.debug.page import render, render_console
from aserve.pages.markup import element, json_block, raw_block

from . import samples

VOID = {"link", "meta", "input", "br"}


class Page(HTMLParser):
    """The elements of a page, their texts and its attributes; fails where nesting is wrong."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.blocks: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"an attribute twice: {attrs}"
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append((tag, attributes))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag in ("script", "style"):
            key = f"{tag} {attributes.get('type')}"
            self.blocks[key] = self.blocks.get(key, "") + data
        else:
            self.texts.append((" ".join(name for name, _ in self.open), data))

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.texts)

    def with_class(self, name: str) -> list[dict[str, str | None]]:
        return [
            attributes
            for _, attributes in self.elements
            if name in (attributes.get("class") or "").split()
        ]


def page_of(problem: Problem, request: RequestView | None = None, **more: Any) -> Page:
    return Page(render(problem, request, replace(samples.SETTINGS, **more)))


PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus='alert(1)",
    "</pre></code></title></style></template><svg/onload=alert(1)>",
    "<!-- <![CDATA[ --> &lt;b&gt; &amp; &#x3c;",
    "{{ 7 * 7 }} ${7} javascript:alert(1)",
)


def poisoned(payload: str) -> tuple[Problem, RequestView, dict[str, str]]:
    """The payload in each field that is a text; a number in front tells them apart."""
    numbers = iter(range(1000))

    def text() -> str:
        return f"{next(numbers)}~{payload}~"

    def value(**more: bool) -> Value:
        return Value(name=text(), type=text(), text=text(), **more)

    def pair() -> Value:
        return replace(value(), type="")  # it is not shown for requests

    def frame(**more: Any) -> Frame:
        return Frame(
            id=1, file=text(), shown_file=text().replace("/", ":"), line=2, name=text(),
            source=(SourceLine(1, text()), SourceLine(2, text())), mark=Mark(1, 2, 3, 8),
            values=(value(can_expand=True), value(is_hidden=True)), can_open=True, **more,
        )  # fmt: skip

    def problem(**more: Any) -> Problem:
        return Problem(
            type=text(), message=text(), notes=(text(), text()), suggestion=text(),
            places=(frame(is_user=True), frame(), frame(), frame(kind="template")), **more,
        )  # fmt: skip

    shown = problem(group=(problem(), problem()), relation="cause", earlier=problem())
    request = RequestView(
        method=text(), url=text(), sections=((text(), (pair(),)), (text(), (pair(),)))
    )
    settings = {name: text() for name in ("versions", "command_line", "plain")}
    settings |= {name: text() for name in ("token", "report", "markdown", "command_url", "nonce")}
    return shown, request, settings


def texts_in(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        if "~" in data:
            yield data
    elif isinstance(data, tuple):
        for part in data:
            yield from texts_in(part)
    elif hasattr(data, "__dataclass_fields__"):
        for field in fields(data):
            yield from texts_in(getattr(data, field.name))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_texts_stay_text(payload: str) -> None:
    problem, request, settings = poisoned(payload)
    page = page_of(problem, request, **settings)
    harmless, harmless_request, harmless_settings = poisoned("harmless")
    plain = page_of(harmless, harmless_request, **harmless_settings)
    # The same elements with the same attributes as without the payload.
    assert [(tag, set(attributes)) for tag, attributes in page.elements] == [
        (tag, set(attributes)) for tag, attributes in plain.elements
    ]
    attributes = [value for _, pairs in page.elements for value in pairs.values()]
    for text in (*texts_in(problem), *texts_in(request)):
        shown = text.replace("\\", "/")  # the file names of the frames
        assert text in page.text or shown in page.text or text in attributes, text
    for name in ("versions", "command_line", "plain"):
        assert settings[name] in page.text
    data = json.loads(page.blocks["script application/json"])
    for name in ("token", "report", "markdown", "command_url"):
        assert data[name] == settings[name]


@pytest.mark.parametrize("problem", [samples.simple(), samples.chained(), samples.grouped()])
def test_policy_of_the_page(problem: Problem) -> None:
    page = page_of(problem, samples.REQUEST, nonce="the-nonce")
    for tag, attributes in page.elements:
        assert not {name for name in attributes if name == "style" or name.startswith("on")}
        if tag == "style" or (tag == "script" and attributes.get("type") == "module"):
            assert attributes["nonce"] == "the-nonce"
        assert not {"src", "action"} & set(attributes)
        # Nothing is loaded; links lead to frames of the page.
        assert re.fullmatch(r"data:,|#[\w-]+", attributes.get("href") or "data:,")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("problem", [samples.simple(), samples.chained(), samples.grouped()])
def test_outline(problem: Problem) -> None:
    page = page_of(problem, samples.REQUEST)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    levels = levels[:-1]  # of the dialog
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("main") == tags.count("header") == tags.count("footer") == 1
    assert next(attributes for tag, attributes in page.elements if tag == "html")["lang"] == "en"
    assert len(page.with_class("chosen")) == 1
    for tag, attributes in page.elements:
        if tag == "th":
            assert attributes["scope"] in ("row", "col")


def test_title() -> None:
    def title(problem: Problem) -> str:
        parts = page_of(problem).texts
        return next(text for where, text in parts if where.endswith("title"))

    assert title(samples.simple()) == "KeyError: 'sku'"
    assert title(Problem(type="E", message="")) == "E"
    assert title(Problem(type="E", message="one\ntwo")) == "E: one"
    assert len(title(Problem(type="E", message="x" * 1000))) < 200


def test_order_of_the_chain() -> None:
    text = page_of(samples.chained()).text
    order = [
        "jinja2.exceptions.UndefinedError", "The order cannot be shown:\n  its customer",
        "While rendering order 42", "12 library frames", "raised in", "total.html", "views.py",
        "While handling", "KeyError", "Caused by", "sqlite3.OperationalError",
    ]  # fmt: skip
    start = text.index(order[0], text.index("Library frames"))  # behind the outline
    found = [text.index(part, start) for part in order]
    assert found == sorted(found)


def test_frames_of_the_user_are_open_and_the_others_folded() -> None:
    html = render(samples.simple(), None, samples.SETTINGS)
    assert html.count('<details open class="body">') == 2
    assert html.count('<details class="body">') == 3
    assert "3 library frames" in html
    page = Page(html)
    assert [frame["data-frame"] for frame in page.with_class("frame")] == ["4", "3", "2", "1", "0"]
    assert page.with_class("chosen")[0]["data-frame"] == "4"


def test_problem_in_a_library_alone() -> None:
    places = tuple(samples.library_frame(number) for number in range(3))
    page = page_of(Problem(type="E", message="", places=places))
    assert page.with_class("chosen")[0]["data-frame"] == "2"
    assert page.with_class("run") == []


def test_without_anything() -> None:
    page = page_of(Problem(type="E", message=""), None, versions="", command_line="")
    assert "Outside a request" in page.text
    assert page.with_class("frame") == []


def test_repetitions() -> None:
    places = (samples.user_frame(1), samples.user_frame(2), Repetition(2, 480))
    text = page_of(Problem(type="E", message="", places=(*places, Repetition(1, 1)))).text
    assert "The 2 frames below come 480 times more" in text
    assert "The frame below comes once more" in text


@pytest.mark.parametrize(
    ("mark", "marked", "failing"),
    [
        (None, [], ["2"]),
        (Mark(2, 2, 4, 7), ["two"], ["2"]),
        (Mark(2, 3, 4, 9), ["two", "three"], ["2", "3"]),
        (Mark(2, 4, 0, 0), ["two", "three"], ["2", "3", "4"]),
        (Mark(2, 2, 100, 200), [], ["2"]),
        (Mark(7, 9, 0, 3), [], ["2"]),
    ],
)
def test_mark(mark: Mark | None, marked: list[str], failing: list[str]) -> None:
    lines = samples.source("one\n    two\n    three\nfour", 1)
    frame = samples.user_frame(1, source=lines, line=2, mark=mark)
    page = page_of(Problem(type="E", message="", places=(frame,)))
    assert [text for where, text in page.texts if where.endswith("mark")] == marked
    assert [line["data-line"] for line in page.with_class("failing")] == failing
    code = "".join(text for where, text in page.texts if "pre code span" in where)
    assert code == "one\n    two\n    three\nfour\n"


def test_what_cannot_be_seen_or_sent() -> None:
    message = "nul\0 esc\x1b[31m half\udc80 turn\u202e end\r\nnext\ttab ü 😀"
    html = render(Problem(type="E", message=message), None, samples.SETTINGS)
    assert html.encode().decode() == html
    assert "nul\\x00 esc\\x1b[31m half\\udc80 turn\\u202e end\nnext\ttab ü 😀" in Page(html).text


def test_data_for_the_script() -> None:
    data = {"text": "</script><!-- & \u2028\u2029 \udc80 '\""}
    block = json_block(data, "settings")
    inner = block.partition(">")[2].removesuffix("</script>")
    assert not set("<>&\u2028\u2029") & set(inner)
    assert json.loads(inner) == data


def test_blocks_of_our_own_cannot_be_ended() -> None:
    for text in ("</script>", "</SCRIPT >", "<!--"):
        with pytest.raises(ValueError, match="script"):
            raw_block("script", text)
    assert element("p", ["a < b", element("b", "c", hidden=True)], data_x='"') == (
        '<p data-x="&quot;">a &lt; b<b hidden>c</b></p>'
    )


def test_console_page() -> None:
    page = Page(render_console(samples.SETTINGS))
    assert page.with_class("standalone")[0]["data-frame"] == "0"
    assert "Console" in page.text


def test_from_a_zip_file(tmp_path: Path) -> None:
    package = Path(aserve.__file__).parent
    archive = shutil.make_archive(str(tmp_path / "site"), "zip", package.parent, package.name)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from aserve.debug import page;"
        "from aserve.pages import document; assert page.__file__.startswith(sys.argv[1]);"
        "print(document.asset('pages/assets/house.css'), document.asset(page._SCRIPTS[-1]))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-I", "-c", program, archive],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith(":root"), done.stderr


def test_large_page_is_fast() -> None:
    places = tuple(
        samples.user_frame(at) if at % 2 else samples.library_frame(at) for at in range(40)
    )
    problem = Problem(type="E", message="", places=places)
    render(problem, samples.REQUEST, samples.SETTINGS)
    best = min(_seconds(problem) for _ in range(10))
    assert best < 0.1  # it takes 0.006 on a machine of its own


def _seconds(problem: Problem) -> float:
    start = time.perf_counter()
    render(problem, samples.REQUEST, samples.SETTINGS)
    return time.perf_counter() - start
