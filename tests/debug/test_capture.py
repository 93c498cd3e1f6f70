"""`aserve.debug.capture`: exceptions as data."""

from __future__ import annotations

import importlib
import linecache
import os
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aserve.debug import values
from aserve.debug.capture import capture
from aserve.debug.model import Mark, Problem, Repetition

from .capturing import caught, frames_of, last, marked, take


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may stop a thread for longer than a reader wants to wait."""
    monkeypatch.setattr(values, "BUDGET", 40.0)
    monkeypatch.setattr(values, "PATIENCE", 20.0)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


Load = Callable[..., dict[str, Any]]


@pytest.fixture
def load(project: Path) -> Load:
    """Writes a module and runs it; returns its names."""

    def run(source: str, file: str = "app.py", **names: Any) -> dict[str, Any]:
        path = project / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), "utf-8")
        module = {"__name__": path.stem, "__file__": str(path), **names}
        exec(compile(path.read_bytes(), str(path), "exec"), module)
        return module

    return run


def test_a_frame_of_the_project(project: Path, load: Load) -> None:
    module = load(
        """
        import os
        class View:
            def get(self, a):
                api_key = "s3cret"
                helper = os.getcwd
                grüße = "ü"; return grüße + str(a.missing + 1)
        """
    )
    captured = take(lambda: module["View"]().get("text"), project)
    assert captured.problem.type == "AttributeError"
    assert captured.problem.message == "'str' object has no attribute 'missing'"
    (frame,) = frames_of(captured.problem)
    assert frame.id == 0
    assert frame.file == str(project / "app.py")
    assert frame.shown_file == "app.py"
    assert (frame.line, frame.name, frame.kind) == (7, "View.get", "python")
    assert frame.is_user
    assert frame.can_open
    assert [line.number for line in frame.source] == [2, 3, 4, 5, 6, 7]
    assert marked(frame) == "a.missing"
    assert frame.values is not None
    shown = {value.name: value.text for value in frame.values}
    assert shown.pop("self").startswith("<app.View object")
    assert list(shown) == ["a", "api_key", "grüße", "helper"]
    assert shown["a"] == "'text'"
    assert shown["api_key"] == "<hidden>"


def test_a_frame_of_the_standard_library(project: Path) -> None:
    captured = take(lambda: os.fspath(importlib.import_module(5)), project)  # type: ignore[arg-type]
    frame = last(captured)
    assert frame.shown_file == "importlib/__init__.py"
    assert (frame.is_user, frame.can_open, frame.values) == (False, False, None)
    assert frame.source


@pytest.mark.parametrize(
    ("file", "shown"),
    [("env/lib/site-packages/lib/a.py", "lib/a.py"), ("dist-packages/a.py", "a.py"),
     (".venv/bin/tool.py", ".venv/bin/tool.py"), ("../other.py", None)],
)  # fmt: skip
def test_files_of_others(project: Path, load: Load, file: str, shown: str | None) -> None:
    module = load("def fail():\n    {}['x']\n", file)
    frame = last(take(module["fail"], project))
    assert not frame.is_user
    assert not frame.can_open
    assert frame.shown_file == (shown or str((project / file).resolve())) or shown is None


def test_a_root_behind_a_link(project: Path, load: Load, tmp_path: Path) -> None:
    module = load("def fail():\n    {}['x']\n")
    link = tmp_path / "link"
    link.symlink_to(project)
    frame = last(take(module["fail"], link))
    assert (frame.shown_file, frame.is_user) == ("app.py", True)


def test_without_a_root_it_is_the_working_directory(
    project: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load("def fail():\n    {}['x']\n")
    monkeypatch.chdir(project)
    assert last(capture(caught(module["fail"]))).shown_file == "app.py"


def test_code_without_a_file(project: Path) -> None:
    frame = last(take(lambda: exec("x = 1\nx.y", {}), project))
    assert (frame.file, frame.shown_file, frame.line) == ("<string>", "<string>", 2)
    assert frame.is_user
    assert not frame.can_open
    assert (frame.source, frame.mark) == ((), None)
    assert [value.name for value in frame.values or ()] == ["x"]


def test_code_of_a_string_in_a_library_is_its(project: Path) -> None:
    frame = last(take(lambda: exec("None.y", {"__file__": os.__file__}), project))
    assert not frame.is_user


def test_source_that_is_only_remembered(project: Path) -> None:
    linecache.cache["<console-7>"] = (8, None, ["None.y"], "<console-7>")
    code = compile("None.y", "<console-7>", "exec")
    frame = last(take(lambda: exec(code, {}), project))
    assert [line.text for line in frame.source] == ["None.y"]
    del linecache.cache["<console-7>"]


def test_a_file_that_is_gone_or_shorter_or_no_file(project: Path, load: Load) -> None:
    module = load("\n" * 50 + "def fail():\n    return {}['x']\n")
    path = project / "app.py"
    path.write_text("short\n")
    assert last(take(module["fail"], project)).source == ()
    path.unlink()
    frame = last(take(module["fail"], project))
    assert (frame.source, frame.mark, frame.line) == ((), None, 52)
    assert not frame.can_open
    os.mkfifo(path)
    assert last(take(module["fail"], project)).source == ()


def test_an_edited_file_is_read_anew(project: Path, load: Load) -> None:
    module = load("def fail():\n    return {}['x']\n")
    take(module["fail"], project)
    (project / "app.py").write_text("# new text\n# of another size\n")
    assert [line.text for line in last(take(module["fail"], project)).source] == [
        "# new text",
        "# of another size",
    ]


def test_zipped_code_has_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("zipped_module_of_a_test.py", "def fail():\n    return {}['x']\n")
    monkeypatch.syspath_prepend(str(tmp_path / "code.zip"))
    module = importlib.import_module("zipped_module_of_a_test")
    frame = last(take(module.fail, tmp_path))
    assert frame.source[1].text == "    return {}['x']"
    assert not frame.can_open
    del sys.modules["zipped_module_of_a_test"]


def test_marks(project: Path, load: Load) -> None:
    module = load(
        """\
        # of one to four bytes
        def whole(x):
            x.a.b
        def call(x):
            y = x(
                1,
            )
        def binary(x):
            return "ü€\U0001f40d" + x.a + "ü"
        """
    )
    assert last(take(lambda: module["binary"](5), project)).mark == Mark(9, 9, 19, 22)
    assert last(take(lambda: module["call"](5), project)).mark == Mark(5, 7, 8, 5)
    whole = last(take(lambda: module["whole"](SimpleNamespace(a=1)), project))
    assert (whole.line, whole.mark) == (3, None)


def test_strange_characters_in_source(project: Path, load: Load) -> None:
    module = load("def fail():\n    '\u202e\x0c\x07'; return {}['x']\n")
    frame = last(take(module["fail"], project))
    assert frame.source[1].text == "    '\ufffd \ufffd'; return {}['x']"
    assert marked(frame) == "{}['x']"


def test_many_variables_are_bounded_and_those_of_a_module_are_its_data(
    project: Path, load: Load
) -> None:
    module = load(
        "def fail():\n    " + "\n    ".join(f"a{i} = {i}" for i in range(99)) + "\n    1/0"
    )
    assert len(last(take(module["fail"], project)).values or ()) == 30
    text = "import os\nfrom os import path, sep\nclass A: pass\ndef f(): pass\nx = 1\n1/0\n"
    frame = last(take(lambda: load(text), project))
    assert [value.name for value in frame.values or ()] == ["sep", "x"]


def test_a_namespace_that_is_any_mapping_is_not_asked(project: Path) -> None:
    class Namespace(dict[str, object]):
        def __iter__(self) -> Iterator[str]:
            raise AssertionError

    class Other:
        def __getitem__(self, name: str) -> object:
            raise KeyError(name)

        def __setitem__(self, name: str, value: object) -> None:
            pass

    code = compile("x = 1\n1/0", "<string>", "exec")
    other: Any = Other()
    frame = last(take(lambda: exec(code, {}, Namespace()), project))
    assert [value.name for value in frame.values or ()] == ["x"]
    assert last(take(lambda: exec(code, {}, other), project)).values == ()


def test_the_outer_end_is_skipped(project: Path, load: Load) -> None:
    inner = load("def fail():\n    return {}['x']\ndef call(f):\n    return f()\n", "inner.py")
    server = load("def serve(f):\n    return f()\n", "server.py", __name__="aserve.server.pool")

    def names(*skip: str) -> list[str]:
        error = caught(lambda: server["serve"](lambda: inner["call"](inner["fail"])))
        return [
            frame.name
            for frame in frames_of(
                capture(error, skip=(__file__, caught.__code__.co_filename, *skip)).problem
            )
        ]

    lambda_name = "test_the_outer_end_is_skipped.<locals>.names.<locals>.<lambda>.<locals>.<lambda>"
    assert names() == ["serve", lambda_name, "call", "fail"]
    assert names("aserve") == names("aserve.") == ["call", "fail"]
    assert names("aserve.server.pool") == ["call", "fail"]
    assert names("aserve.serv") == ["serve", lambda_name, "call", "fail"]
    assert names("aserve", "inner")[-1] == "fail"  # where all are skipped, all are shown


def test_hidden_frames_and_machinery(project: Path, load: Load) -> None:
    module = load(
        """
        def fail():
            return {}['x']
        def hidden(f):
            __tracebackhide__ = True
            return f()
        def old(f):
            __traceback_hide__ = "before"
            return f()
        def shown(f):
            __tracebackhide__ = False
            return f()
        """
    )
    chain = lambda: module["hidden"](lambda: module["old"](lambda: module["shown"](module["fail"])))  # noqa: E731
    names = [frame.name for frame in frames_of(take(chain, project).problem)]
    assert [name for name in names if "lambda" not in name] == ["shown", "fail"]


def test_the_machinery_of_imports_is_left_out(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "broken_module_of_a_test.py").write_text("1/0\n")
    monkeypatch.syspath_prepend(str(project))
    captured = take(lambda: __import__("broken_module_of_a_test"), project)
    assert last(captured).shown_file == "broken_module_of_a_test.py"
    assert not [frame for frame in frames_of(captured.problem) if "importlib" in frame.file]


def test_recursion_is_told_once(project: Path, load: Load) -> None:
    module = load(
        """
        def one(n):
            return one(n + 1)
        def first(n):
            return second(n) if n else 1 / n
        def second(n):
            return third(n)
        def third(n):
            return first(n - 1)
        def few(n):
            return few(n - 1) if n else 1 / n
        """
    )
    deep = take(lambda: module["one"](0), project)
    assert deep.problem.type == "RecursionError"
    assert len(deep.frames) == 3
    repetition = deep.problem.places[-2]
    assert isinstance(repetition, Repetition)
    assert repetition.frames == 1
    assert repetition.times > 100
    turns = take(lambda: module["first"](100), project)
    assert [frame.name for frame in frames_of(turns.problem)] == [
        *["first", "second", "third"] * 2, "first",
    ]  # fmt: skip
    assert turns.problem.places[6] == Repetition(3, 98)
    assert [place.id for place in frames_of(turns.problem)] == list(range(7))
    assert len(frames_of(take(lambda: module["few"](1), project).problem)) == 2


def test_a_recursion_without_a_pattern_is_bounded(project: Path) -> None:
    source = "".join(f"def f{i}(): return f{i + 1}()\n" for i in range(700)) + "def f700(): 1/0\n"
    names: dict[str, Any] = {}
    exec(source, names)
    problem = take(names["f0"], project).problem
    frames = frames_of(problem)
    assert len(frames) < 450
    assert frames[-1].name == "f700"
    (left,) = [frame for frame in frames if frame.id is None]
    assert left.name == "… 301 more frames"


def test_causes_and_contexts(project: Path, load: Load) -> None:
    module = load(
        """
        def cause():
            try:
                {}['a']
            except KeyError as error:
                raise ValueError("b") from error
        def context():
            try:
                cause()
            except ValueError:
                [].c
        def suppressed():
            try:
                cause()
            except ValueError:
                raise OSError("d") from None
        """
    )
    problem = take(module["context"], project).problem
    assert (problem.type, problem.relation) == ("AttributeError", "context")
    assert problem.earlier is not None
    assert (problem.earlier.type, problem.earlier.relation) == ("ValueError", "cause")
    assert problem.earlier.earlier is not None
    assert problem.earlier.earlier.message == "'a'"
    assert problem.earlier.earlier.earlier is None
    alone = take(module["suppressed"], project).problem
    assert (alone.type, alone.earlier, alone.relation) == ("OSError", None, "")


def test_ids_of_all_exceptions_are_different(project: Path, load: Load) -> None:
    module = load("def fail():\n    try:\n        1/0\n    except Exception:\n        [].a\n")
    captured = take(module["fail"], project)
    assert captured.problem.earlier is not None
    ids = [
        frame.id for frame in (*frames_of(captured.problem), *frames_of(captured.problem.earlier))
    ]
    assert ids == list(range(len(captured.frames))) == [0, 1]


def test_a_circle_of_causes_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    problem = capture(one).problem
    assert problem.earlier is not None
    assert (problem.earlier.message, problem.earlier.earlier) == ("two", None)


def test_a_long_chain_is_cut() -> None:
    error = ValueError("0")
    for number in range(5000):
        later = ValueError(str(number))
        later.__context__ = error
        error = later
    found, count = capture(error).problem, 1
    while found.earlier is not None:
        found, count = found.earlier, count + 1
    assert count <= 30
    assert found.notes == ("… more exceptions came before this one",)


def test_groups_are_trees(project: Path) -> None:
    inner = BaseExceptionGroup("inner", [caught(lambda: 1 / 0), KeyError("k")])
    problem = capture(BaseExceptionGroup("outer", [inner, ValueError("v")])).problem
    assert problem.message == "outer (2 sub-exceptions)"
    assert [member.type for member in problem.group] == ["ExceptionGroup", "ValueError"]
    assert [member.message for member in problem.group[0].group] == ["division by zero", "'k'"]
    assert len(problem.group[0].group[0].places) == 2


def test_groups_are_bounded_in_depth_and_width() -> None:
    wide = capture(BaseExceptionGroup("wide", [ValueError(i) for i in range(100)])).problem
    assert len(wide.group) == 15
    assert wide.notes == ("… 85 more exceptions of this group",)
    deep: Exception = ValueError("deep")
    for _ in range(500):
        deep = ExceptionGroup("level", [deep])
    problem, levels = capture(deep).problem, 0
    while problem.group:
        problem, levels = problem.group[0], levels + 1
    assert levels == 5
    assert problem.notes == ("… 1 more exception of this group",)
    many: Exception = ValueError("many")
    for _ in range(5):
        many = ExceptionGroup("level", [many] * 15)
    capture(many)


def test_notes_and_messages(project: Path) -> None:
    error = ValueError("x" * 10**6 + "\udc80")
    error.add_note("first\x1b")
    error.__notes__.append(5)  # type: ignore[arg-type]
    error.__notes__.append(type("Bad", (), {"__str__": lambda self: 1 / 0})())
    problem = capture(error).problem
    assert problem.notes == ("first\\x1b", "5", "<str raised ZeroDivisionError>")
    assert problem.message == "x" * 5000 + "… 995,001 more characters"
    error.__notes__ = 7  # type: ignore[assignment]
    assert capture(error).problem.notes == ("7",)
    error.__notes__ = ["n"] * 500
    assert capture(error).problem.notes[-1] == "… 480 more notes"


def test_exceptions_that_lie() -> None:
    class Own(Exception):
        __module__ = "shop.errors"
        __qualname__ = "Base.Own"

        def __str__(self) -> str:
            raise SystemExit

        @property  # type: ignore[misc]
        def __class__(self) -> type:
            raise AssertionError

        def __getattr__(self, name: str) -> object:
            raise AssertionError

    problem = capture(Own()).problem
    assert (problem.type, problem.message) == ("shop.errors.Base.Own", "<str raised SystemExit>")
    assert capture(ValueError()).problem == Problem(type="ValueError", message="")


def test_a_syntax_error_is_a_place(project: Path, load: Load) -> None:
    (project / "wrong.py").write_text("a = 1\nß = (1,, 2)\n", "utf-8")
    module = load("def read(path):\n    compile(path.read_text('utf-8'), path, 'exec')\n")
    captured = take(lambda: module["read"](project / "wrong.py"), project)
    assert captured.problem.message == "invalid syntax"
    frame = last(captured)
    assert (frame.id, frame.shown_file, frame.line, frame.name) == (None, "wrong.py", 2, "")
    assert frame.mark == Mark(2, 2, 7, 8)
    assert frame.source[1].text == "ß = (1,, 2)"
    assert frame.can_open
    assert [frame.name for frame in frames_of(captured.problem)] == ["read", ""]


@pytest.mark.parametrize(
    ("error", "line", "mark"),
    [
        (SyntaxError("bad"), None, None),
        (SyntaxError("bad", ("f.py", 3, 2, "a b", 3, 4)), 3, Mark(3, 3, 1, 3)),
        (SyntaxError("bad", ("f.py", 3, None, "a b")), 3, None),
        (SyntaxError("bad", ("f.py", 3, 2, "a b", 3, 0)), 3, Mark(3, 3, 1, 2)),
        (SyntaxError("bad", (None, 3, 0, None)), 3, None),
        (SyntaxError("bad", ("f.py", "3", 0, None)), None, None),  # type: ignore[arg-type]
    ],
)
def test_syntax_errors_that_say_little(
    error: SyntaxError, line: int | None, mark: Mark | None
) -> None:
    problem = capture(error).problem
    assert problem.message == "bad"
    assert [(frame.line, frame.mark) for frame in frames_of(problem)] == (
        [] if line is None else [(line, mark)]
    )


def test_a_metaclass_that_fails_is_not_asked() -> None:
    class Meta(type):
        def __getattribute__(cls, name: str) -> object:
            if name in ("__qualname__", "__module__", "__name__"):
                raise RuntimeError(name)
            return super().__getattribute__(name)

    class Odd(Exception, metaclass=Meta):
        pass

    assert capture(Odd("x")).problem.type.endswith("<locals>.Odd")
