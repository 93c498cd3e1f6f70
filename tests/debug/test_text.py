"""`aserve.debug.text`: a problem as Python prints it, and as Markdown."""

from __future__ import annotations

import platform
import sys
import textwrap
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from aserve.debug.capture import capture
from aserve.debug.model import Frame, Mark, Problem, Repetition, RequestView, SourceLine
from aserve.debug.text import markdown, plain

from .capturing import caught

HEAD = "Traceback (most recent call last):\n"
SOURCE = """
import json
def cause():
    try:
        {}['a']
    except KeyError as error:
        error.add_note("a note\\nof two lines")
        raise ValueError("b") from error
def context():
    try:
        return (cause() +
                1)
    except ValueError:
        üü = "€"; return str([].c + 1)
def wide():
    return "日本" + [].c
def recursion(n):
    return recursion(n - 1) if n else 1 / 0
def grouped():
    errors = []
    for function in cause, recursion:
        try:
            function(*([0] if function is recursion else []))
        except Exception as error:
            errors.append(error)
    inner = ExceptionGroup("inner", [OSError("x"), errors.pop()])
    inner.add_note("of the inner")
    raise ExceptionGroup("outer", [*errors, inner, SystemError("two\\nlines")])
def empty():
    raise KeyError
def library():
    return json.loads("{")
"""


@pytest.fixture
def module(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "app.py"
    path.write_text(SOURCE, "utf-8")
    names: dict[str, Any] = {"__name__": "app", "__file__": str(path)}
    exec(compile(SOURCE, str(path), "exec"), names)
    return names


def without_carets(text: str) -> list[str]:
    """Lines that do not depend on the version of Python: they mark differently."""
    lines = [line for line in text.splitlines() if not set(line) <= set(" |~^")]
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("name", ["cause", "context", "wide", "grouped", "empty"])
def test_it_reads_as_what_python_prints(module: dict[str, Any], name: str) -> None:
    error = caught(module[name])
    printed = "".join(traceback.format_exception(error))
    found = plain(capture(error).problem)
    assert found.endswith("\n")
    told = [line.replace("grouped.<locals>.", "") for line in without_carets(found)]
    assert told == without_carets(printed)


def test_the_expression_is_marked(module: dict[str, Any]) -> None:
    found = plain(capture(caught(module["context"])).problem)
    assert '    üü = "€"; return str([].c + 1)\n                         ^^^^\n' in found
    assert "    return (cause() +\n            ^^^^^^^\n" in found
    # Two columns of a terminal for each of these characters.
    assert '    return "日本" + [].c\n                    ^^^^\n' in plain(
        capture(caught(module["wide"])).problem
    )


def frame(name: str, *, is_user: bool, line: int = 1, **more: Any) -> Frame:
    file = f"/{'project' if is_user else 'lib'}/{name}.py"
    return Frame(id=0, file=file, shown_file=f"{name}.py", line=line, name=name, is_user=is_user,
                 **more)  # fmt: skip


def problem(*places: Frame | Repetition, **more: Any) -> Problem:
    return Problem(type="ValueError", message="wrong", places=places, **more)


def test_a_mark_over_several_lines() -> None:
    source = (SourceLine(1, "  x = f("), SourceLine(2, "      a, b"), SourceLine(3, "    )"))
    mark = Mark(1, 3, 6, 5)
    first, second = (
        plain(problem(frame("a", is_user=True, line=line, source=source, mark=mark)))
        for line in (1, 2)
    )
    assert "    x = f(\n        ^^\n" in first
    assert "    a, b\n    ^^^^\n" in second
    none = plain(problem(frame("a", is_user=True, source=source, mark=Mark(2, 2, 0, 9))))
    assert "^" not in none


def test_suggestions_and_notes() -> None:
    text = plain(problem(suggestion="Did you mean 'x'?", notes=("one", "two\nlines")))
    assert text == "ValueError: wrong. Did you mean 'x'?\none\ntwo\nlines\n"
    assert plain(Problem(type="E", message="")) == "E\n"


def test_repetitions(module: dict[str, Any]) -> None:
    found = plain(capture(caught(lambda: module["recursion"](50))).problem)
    assert found.count("in recursion\n") == 3
    assert "\n  [Previous line repeated 48 more times]\n" in found
    text = plain(problem(frame("a", is_user=True), Repetition(2, 996), Repetition(3, 1)))
    assert "  [Previous 2 frames repeated 996 more times]\n" in text
    assert "  [Previous 3 frames repeated 1 more time]\n" in text


def test_a_place_without_a_function_and_frames_that_were_too_many() -> None:
    left = Frame(id=None, file="", shown_file="", line=0, name="… 301 more frames")
    syntax = Frame(id=None, file="/project/a.py", shown_file="a.py", line=3, name="")
    assert plain(problem(left, syntax)) == (
        HEAD + '  … 301 more frames\n  File "/project/a.py", line 3\nValueError: wrong\n'
    )


def test_a_syntax_error_reads_as_pythons() -> None:
    error = caught(lambda: compile("a = (1,, 2)\n", "<string>", "exec"))
    found = plain(capture(error).problem)
    assert found.endswith(
        '  File "<string>", line 1\n    a = (1,, 2)\n           ^\nSyntaxError: invalid syntax\n'
    )


def test_no_values_of_variables(module: dict[str, Any]) -> None:
    error = caught(lambda: module["recursion"](3))
    shown = capture(error, root=str(Path(module["__file__"]).parent)).problem
    assert any(isinstance(place, Frame) and place.values for place in shown.places)
    assert "n = 3" not in plain(shown) + markdown(shown)


def test_markdown(module: dict[str, Any]) -> None:
    root = str(Path(module["__file__"]).parent)
    shown = capture(
        caught(module["library"]), root=root, skip=(__file__, caught.__code__.co_filename)
    ).problem
    request = RequestView(method="POST", url="http://localhost/a?token=<hidden>")
    text = markdown(shown, request)
    assert text.startswith(
        textwrap.dedent(
            """\
            # `json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: \
line 1 column 2 (char 1)`

            `POST http://localhost/a?token=<hidden>`

            ```text
            Traceback (most recent call last):
              File "app.py", line 32, in library
                return json.loads("{")
                       ^^^^^^^^^^^^^^^
              ... 2 frames of libraries ...
              File "json/decoder.py", line """
        )
    )
    assert f"```\n\n- Python {platform.python_version()}\n" in text
    assert root not in text


def test_versions_of_what_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    import flask

    assert flask.__name__ in sys.modules
    text = markdown(problem())
    for name in ("Flask", "Werkzeug", "Jinja2"):
        assert f"- {name} {version(name)}\n" in text
    monkeypatch.delitem(sys.modules, "flask")
    assert "- Flask" not in markdown(problem())


def test_libraries_are_folded() -> None:
    def shown(*places: Frame | Repetition) -> list[str]:
        lines = markdown(problem(*places)).splitlines()
        return lines[lines.index("```text") + 2 : lines.index("ValueError: wrong")]

    user, library = frame("u", is_user=True), frame("l", is_user=False)
    template = Frame(id=None, file="t.html", shown_file="t.html", line=1, name="block")
    line_of_user, line_of_library = '  File "u.py", line 1, in u', '  File "l.py", line 1, in l'
    assert shown(library, user, library, library, user) == [
        "  ... 1 frame of libraries ...", line_of_user, "  ... 2 frames of libraries ...",
        line_of_user,
    ]  # fmt: skip
    assert shown(user, library, library) == [
        line_of_user, "  ... 1 frame of libraries ...", line_of_library,
    ]  # fmt: skip
    assert shown(library, library) == [line_of_library] * 2
    assert shown(library, library, Repetition(2, 5), user, Repetition(1, 4), user) == [
        "  ... 12 frames of libraries ...", line_of_user,
        "  [Previous line repeated 4 more times]", line_of_user,
    ]  # fmt: skip
    assert shown(template, user)[0] == '  File "t.html", line 1, in block'


def test_markdown_cannot_be_broken_out_of() -> None:
    text = markdown(Problem(type="E", message="a ``` b\n````\n# title"))
    assert text.startswith("# ```` E: a ``` b ````\n")
    assert "`````text\nE: a ``` b\n````\n# title\n`````\n" in text
    long = markdown(Problem(type="E", message="x" * 5000))
    assert len(long.partition("\n")[0]) < 250
