"""What the pages are made of: buttons, code, places of code, and text with code in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .markup import Content, Markup, element

__all__ = ["Mark", "SourceLine", "button", "footer", "place", "prose", "source"]

_CODE: Final = re.compile("`([^`]+)`")


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One line of a file, counted from 1, without its end."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """The expression that failed: lines from 1, columns in characters from 0, the end excluded."""

    line: int
    end_line: int
    column: int
    end_column: int


def button(do: str, text: str, **attributes: str) -> Markup:
    """A button for the script, which looks at `data-do`; without a script none is seen."""
    return element("button", text, type="button", data_do=do, **attributes)


def prose(text: str) -> Content:
    """A text with what stands in backticks as code."""
    parts = _CODE.split(text)
    return [element("code", part) if at % 2 else part for at, part in enumerate(parts)]


def footer(versions: str, command_line: str) -> Markup:
    """Who has made the page.

    Args:
        versions: E.g. `Python 3.13.0`; may be empty.
        command_line: What the server was started with; may be empty.
    """
    served: Content = ["Served by ", element("code", command_line)] if command_line else ""
    return element(
        "footer",
        [element("p", versions) if versions else "", element("p", served) if served else ""],
    )


def place(shown_file: str, line: int, name: str = "", *, file: str = "") -> Content:
    """Where code is: its file, the name of the function behind it.

    Args:
        shown_file: A short path.
        line: Counted from 1; 0 if it is not known.
        name: Of the function; may be empty.
        file: The path in full.
    """
    folder, slash, last = shown_file.replace("\\", "/").rpartition("/")
    where = [folder + slash, element("b", last), f":{line}" if line else ""]
    return [
        element("span", where, class_="where", title=file or shown_file),
        element("span", [" in ", element("code", name)], class_="name") if name else "",
    ]


def source(lines: Sequence[SourceLine], failing: int, mark: Mark | None, label: str) -> Content:
    """Lines of code with their numbers.

    Args:
        lines: One after the other; may be none.
        failing: The number of the line that is marked.
        mark: What is marked in it, or in several.
        label: What a reader of the screen is told that this is.
    """
    if not lines:
        return ""
    shown = []
    for line in lines:
        is_failing = line.number == failing or (
            mark is not None and mark.line <= line.number <= mark.end_line
        )
        # Numbers are drawn from the attribute: so they are neither selected nor copied.
        shown.append(
            element(
                "span",
                [_marked(line, mark) if is_failing and mark else line.text, "\n"],
                class_="line failing" if is_failing else "line",
                data_line=str(line.number),
            )
        )
    # Long lines scroll, and the keyboard has to reach them.
    return element(
        "pre", element("code", shown), class_="source", tabindex="0", role="group", aria_label=label
    )


def _marked(line: SourceLine, mark: Mark) -> Content:
    """The line with its part of the expression marked, but not with what indents it."""
    if not mark.line <= line.number <= mark.end_line:
        return line.text
    start = mark.column if line.number == mark.line else 0
    end = mark.end_column if line.number == mark.end_line else len(line.text)
    text = line.text[start:end]
    start += len(text) - len(text.lstrip())
    if not line.text[start:end]:
        return line.text
    return [line.text[:start], element("mark", line.text[start:end]), line.text[end:]]
