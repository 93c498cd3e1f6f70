"""The fences of a Markdown page, and what is to be done with each.

A fence says it behind its language, where readers do not see it:

    python              a script: runs to its end, with exit status 0
    python app.py       a file of that name, written into the page's directory; any language
    console             commands behind `$ `, run by bash; what stands below is their output
    console background  one command that keeps running; the output is waited for
    text output         what the script above prints
    text log            what the last background command prints next
    text ended          all that it prints until it ends by itself, with exit status 0
    LANGUAGE not-run: REASON

In an expected output `...` stands for anything in a line, and alone in a line for any number
of lines; points in time and durations stand for others. A line `^C` between commands is Ctrl-C
for the last background command; what that prints is checked only if something is expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["RUNNABLE", "Fence", "Step", "fences_of", "matches", "pattern_of", "steps_of"]

# Whatever is written in these can be run, so it has to be, or to say why not.
RUNNABLE: Final = frozenset(
    {"python", "pycon", "console", "bash", "sh", "shell", "toml", "ini", "dockerfile"}
)

_FENCE: Final = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<info>[^`]*)$")
# What differs from run to run: a duration, a point in time, spaces between columns. The patterns
# look for it in a text that `re.escape` made.
_VARIES: Final = (
    (re.compile(r"\d+(?:\\\.\d+)?((?:\\ )?ms|s)\b"), r"[\\d.]+\1"),
    (re.compile(r"\d{4}(?:\\-\d\d){2}\\ \d\d:\d\d:\d\d"), r"[\\d-]{10} [\\d:]{8}"),
    (re.compile(r"\d{3}\\-\d{3}\\-\d{3}"), r"\\d{3}-\\d{3}-\\d{3}"),
    (re.compile(r"(?:\\ )+"), " +"),
)
_NOT_RUN: Final = "not-run:"


@dataclass(frozen=True)
class Fence:
    """One fenced block.

    Args:
        page: The file it stands in.
        line: The number of its first line of code.
        language: The first word behind the marks, e.g. `python` or `{autofunction}`.
        argument: The rest of that line.
        text: What stands in it, with a line's end.
    """

    page: Path
    line: int
    language: str
    argument: str
    text: str

    @property
    def reason(self) -> str:
        """Why it is not run; empty when it is."""
        return self.argument.partition(_NOT_RUN)[2].strip()

    @property
    def is_file(self) -> bool:
        """Whether its argument is the name of a file to write."""
        return bool(re.fullmatch(r"[\w./-]*\.[\w-]+", self.argument))

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Step:
    """A command of a `console` fence and what it should print; `^C` is one, too."""

    command: str
    expected: str


def fences_of(page: Path) -> Iterator[Fence]:
    """The fences of a page in order, without those in another one."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        opening = _FENCE.match(lines[number])
        number += 1
        if opening is None:
            continue
        start, indent = number, len(opening["indent"])
        closing = re.compile(rf" *{opening['marks'][0]}{{{len(opening['marks'])},}} *")
        while number < len(lines) and not closing.fullmatch(lines[number]):
            number += 1
        text = "".join(f"{line[indent:]}\n" for line in lines[start:number])
        language, _, argument = opening["info"].strip().partition(" ")
        yield Fence(page, start + 1, language, argument.strip(), text)
        number += 1


def steps_of(text: str) -> list[Step]:
    """The commands of a `console` fence; a backslash at a line's end continues a command."""
    steps: list[Step] = []
    continued = False
    for line in text.splitlines():
        if continued:
            last = steps.pop()
            steps.append(Step(f"{last.command}\n{line}", ""))
        elif line.startswith("$ ") or line == "^C":
            steps.append(Step(line.removeprefix("$ "), ""))
        elif steps:
            last = steps.pop()
            steps.append(Step(last.command, f"{last.expected}{line}\n"))
        else:
            raise ValueError(f"neither a command nor its output: {line!r}")
        continued = not steps[-1].expected and steps[-1].command.endswith("\\")
    return steps


def pattern_of(expected: str) -> str:
    """The regular expression of an expected output."""
    parts = []
    for line in expected.strip("\n").split("\n"):
        if line.strip() == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            text = r".*?".join(map(re.escape, line.rstrip().split("...")))
            for varying, pattern in _VARIES:
                text = varying.sub(pattern, text)
            parts.append(text + r"[ \t]*\n")
    return "".join(parts)


def matches(expected: str, output: str) -> bool:
    """Whether the whole output is what was expected; empty lines around it do not count."""
    return re.fullmatch(pattern_of(expected), output.strip("\n") + "\n") is not None
