"""Every snippet of README.md and docs/ does what the page says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from .playground import Playground
from .snippets import RUNNABLE, Fence, Step, fences_of, matches, steps_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What needs the network, systemd or another machine; every further one weakens this test.
MOST_NOT_RUN = 6


@pytest.fixture
def playground(tmp_path: Path) -> Iterator[Playground]:
    playground = Playground(tmp_path)
    try:
        yield playground
    finally:
        playground.close()


def _counts(fence: Fence) -> bool:
    return (fence.language in RUNNABLE or bool(fence.argument)) and fence.language[:1] != "{"


def _pages() -> Iterator[ParameterSet]:
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        if "_build" not in page.parts and any(map(_counts, fences_of(page))):
            yield pytest.param(page, id=name)


@pytest.mark.parametrize("page", list(_pages()))
def test_page(page: Path, playground: Playground) -> None:
    for fence in fences_of(page):
        if _counts(fence) and not fence.reason:
            playground.run(fence)
    playground.finish()


def test_few_snippets_are_not_run_and_each_says_why() -> None:
    not_run = [
        f"{fence}: {fence.reason}"
        for page in PAGES
        for fence in fences_of(page)
        if "not-run" in fence.argument
    ]
    assert all(len(line.split(": ", 1)[1]) > 10 for line in not_run), not_run
    assert len(not_run) <= MOST_NOT_RUN, not_run


def test_fences_are_found_with_line_language_and_argument(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("A\n\n```python app.py\nx = 1\n```\n\n- B\n\n  ````text\n  ```\n  ````\n")
    first, second = fences_of(page)
    assert first == Fence(page, 4, "python", "app.py", "x = 1\n")
    assert first.is_file
    assert second == Fence(page, 10, "text", "", "```\n")


def test_console_is_split_into_commands_and_their_output() -> None:
    text = "$ one \\\n  two\nout\n$ echo $?\n2\n^C\n"
    expected = [Step("one \\\n  two", "out\n"), Step("echo $?", "2\n"), Step("^C", "")]
    assert steps_of(text) == expected


@pytest.mark.parametrize(
    ("expected", "output", "fits"),
    [
        ("a ... c\n", "a b c\n", True),
        ("a ... c\n", "a b\nc\n", False),
        ("a\n...\nz\n", "a\nb\nc\nz\n", True),
        ("a\n...\nz\n", "a\nz\n", True),
        ("a\n", "a\nb\n", False),
        ("(a)\n", "(a)  \n\n", True),
        ("a  b\n", "a      b\n", True),
        ("ready in 120 ms\n", "ready in 97 ms\n", True),
        ("[2026-11-21 09:30:00] 3.2ms\n", "[2031-01-02 00:00:01] 10.0ms\n", True),
        ("[2026-11-21 09:30:00] 3.2ms\n", "[today] 3.2ms\n", False),
    ],
)
def test_dots_stand_for_anything(expected: str, output: str, fits: bool) -> None:
    assert matches(expected, output) is fits


def test_wrong_claim_fails(tmp_path: Path, playground: Playground) -> None:
    page = tmp_path / "page.md"
    for code in ("```console\n$ echo a\nb\n```\n", "```console\n$ false\n```\n"):
        page.write_text(code)
        (fence,) = fences_of(page)
        with pytest.raises(AssertionError, match=r"page\.md:2"):
            playground.run(fence)
