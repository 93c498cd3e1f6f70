"""Where code is, whose it is, and its lines."""

from __future__ import annotations

import linecache
import os
import re
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from types import CodeType
from typing import Any, Final, NamedTuple

from ..harmless import same_length
from .model import Mark, SourceLine

__all__ = ["Files", "Place", "mark_of", "printable"]

_LINES_AROUND: Final = 5
_MOST_OF_A_LINE: Final = 500  # characters; the rest is of no use, e.g. in minified files

_STDLIB: Final = Path(os.__file__).parent
_OWN_PACKAGE: Final = Path(__file__).parents[1]
# An environment may well be in the project. These are folders of others in it, too.
_FOREIGN: Final = frozenset(
    {"site-packages", "dist-packages", ".venv", "venv", ".tox", ".nox", "node_modules"}
)
_INSTALLED: Final = re.compile(r".*[/\\](?:site|dist)-packages[/\\]")
# Code that was typed, or made of a string.
_TYPED: Final = re.compile(r"<(stdin|string|console|input|python-input|ipython-input)\b.*>")


class Place(NamedTuple):
    """A file: its short name, whether it is of the project, and whether it can be opened."""

    shown: str
    is_user: bool
    can_open: bool


class Files:
    """What is known of files. It is remembered, so an object is for one exception.

    Args:
        root: The directory of the project; the working directory if there is none.

    Thread: one at a time.
    """

    def __init__(self, root: str | None) -> None:
        folder = Path(root) if root is not None else Path.cwd()
        self._roots = tuple(dict.fromkeys((folder.absolute(), folder.resolve())))
        environment = Path(sys.prefix)
        is_virtual = sys.prefix != sys.base_prefix and environment not in self._roots
        self._others = (_STDLIB, _OWN_PACKAGE, *([environment] if is_virtual else []))
        self._places: dict[str, Place] = {}
        self._lines: dict[str, Sequence[str]] = {}

    def place(self, file: str, module_globals: dict[str, Any] | None = None) -> Place:
        """Where a file belongs; `module_globals` tells it of code that was made of a string."""
        if file.startswith("<"):
            origin = (module_globals or {}).get("__file__")
            if _TYPED.fullmatch(file) is None:
                return Place(file, False, False)
            is_ours = not isinstance(origin, str) or self.place(origin).is_user
            return Place(file, is_ours, False)
        if file not in self._places:
            self._places[file] = self._find(file)
        return self._places[file]

    def _find(self, file: str) -> Place:
        try:
            path = Path(file).absolute()
            below = self._below_root(path) or self._below_root(path.resolve())
            if below is not None:
                return Place(str(below), True, path.is_file())
        except (OSError, ValueError):  # no name for a file at all
            return Place(file, False, False)
        if installed := _INSTALLED.match(str(path)):
            return Place(str(path)[installed.end() :], False, False)
        for folder in (_STDLIB, *self._roots):
            if path.is_relative_to(folder):
                return Place(str(path.relative_to(folder)), False, False)
        return Place(str(path), False, False)

    def _below_root(self, path: Path) -> Path | None:
        """The path as of the project; None for a path of others."""
        for root in self._roots:
            if not path.is_relative_to(root):
                continue
            below = path.relative_to(root)
            if not _FOREIGN.isdisjoint(below.parts) or ".." in below.parts:
                return None
            for other in self._others:
                if path.is_relative_to(other) and not root.is_relative_to(other):
                    return None
            return below
        return None

    def lines(self, file: str, module_globals: dict[str, Any] | None = None) -> Sequence[str]:
        """All lines of a file as it is now, or as its loader has it; empty if there are none."""
        if file not in self._lines:
            self._lines[file] = _read(file, module_globals)
        return self._lines[file]

    def around(self, lines: Sequence[str], line: int) -> tuple[SourceLine, ...]:
        """What is shown of these lines at a line, counted from 1; empty past their end."""
        if not 1 <= line <= len(lines):
            return ()
        first = max(1, line - _LINES_AROUND)
        return tuple(
            SourceLine(number, printable(lines[number - 1]))
            for number in range(first, min(len(lines), line + _LINES_AROUND) + 1)
        )


def printable(line: str) -> str:
    """A line of source without its end; what cannot be shown is one character, so columns hold."""
    text = line.rstrip("\r\n")[:_MOST_OF_A_LINE]
    return text if text.isprintable() else same_length(text.replace("\x0c", " "))


def _read(file: str, module_globals: dict[str, Any] | None) -> Sequence[str]:
    try:
        path = Path(file)
        if path.exists() and not path.is_file():
            return ()  # a pipe or a device would be read for ever
        linecache.checkcache(file)
        return linecache.getlines(file, module_globals)
    except Exception:  # a loader may raise what it likes
        return ()


def mark_of(code: CodeType, last: int, lines: Sequence[str]) -> Mark | None:
    """What of the source the instruction stands for.

    Args:
        code: Of the frame.
        last: The index of the instruction, in bytes: `tb_lasti`.
        lines: All lines of its file.

    Returns:
        None if it is not known, or the whole of its lines.
    """
    if last < 0:
        return None
    line, end_line, start, end = next(
        islice(code.co_positions(), last // 2, None), (None, None, None, None)
    )
    if line is None or end_line is None or start is None or end is None:
        return None
    if not 1 <= line <= end_line <= len(lines):
        return None
    first, final = lines[line - 1], lines[end_line - 1]
    column, end_column = _characters(first, start), _characters(final, end)
    if column is None or end_column is None or (line == end_line and column >= end_column):
        return None  # the file was edited
    if not first[:column].strip() and not final[end_column:].strip():
        return None
    return Mark(line, end_line, column, end_column)


def _characters(line: str, offset: int) -> int | None:
    """An offset in bytes of UTF-8 as one in characters; None past the end."""
    if line.isascii():
        return offset if offset <= len(line) else None
    data = line.encode("utf-8", "surrogatepass")
    return len(data[:offset].decode("utf-8", "replace")) if offset <= len(data) else None
