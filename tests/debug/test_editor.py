"""`aserve.debug.editor`: which files, which command, and what becomes of its process."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aserve.debug import editor as editor_module
from aserve.debug.editor import EditorError, has_editor, open_in_editor

# Notes what it was called with, in one step.
SCRIPT = """#!{python} -S
import os, sys
stdin = os.readlink("/proc/self/fd/0") if {linux} else ""
state = [str(os.getpid()), str(os.getsid(0)), stdin, *sys.argv[1:]]
with open({out!r} + ".new", "w") as file:
    file.write("\\0".join(state))
os.rename({out!r} + ".new", {out!r})
{more}
"""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every script of these tests is given the time that it needs to end."""
    monkeypatch.setattr(editor_module, "_PATIENCE", 30.0)


class Bench:
    """A project, and editors on a PATH of their own."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = top / "project"
        self.root.mkdir()
        self.bin = top / "bin"
        self.bin.mkdir()
        self.out = top / "out"
        self.file = self.root / "app.py"
        self.file.write_text("x = 1\n")
        monkeypatch.setenv("PATH", str(self.bin))

    def install(self, name: str, more: str = "") -> Path:
        script = self.bin / name
        script.write_text(
            SCRIPT.format(
                python=sys.executable, out=str(self.out), linux=sys.platform == "linux", more=more
            )
        )
        script.chmod(0o755)
        return script

    def open(self, editor: str | None, file: Path | None = None, line: int = 7) -> None:
        open_in_editor(str(file or self.file), line, root=str(self.root), editor=editor)

    def called_with(self) -> list[str]:
        wait_for(self.out.exists)
        words = self.out.read_text().split("\0")
        self.out.unlink()
        return words[3:]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("code", ["--goto", "{file}:7"]),
        ("codium", ["--goto", "{file}:7"]),
        ("cursor", ["--goto", "{file}:7"]),
        ("windsurf", ["--goto", "{file}:7"]),
        ("pycharm", ["--line", "7", "{file}"]),
        ("charm", ["--line", "7", "{file}"]),
        ("idea", ["--line", "7", "{file}"]),
        ("subl", ["{file}:7"]),
        ("zed", ["{file}:7"]),
        ("gvim", ["--remote-silent", "+7", "{file}"]),
        ("nvim", ["--remote-silent", "+7", "{file}"]),
        ("emacsclient", ["-n", "+7", "{file}"]),
        ("unheard-of", ["{file}"]),
    ],
)
def test_known_editors(bench: Bench, name: str, arguments: list[str]) -> None:
    expected = [word.replace("{file}", str(bench.file)) for word in arguments]
    script = bench.install(name)
    bench.open(name)
    assert bench.called_with() == expected
    bench.open(f"{script} --extra 'two words'")
    assert bench.called_with() == ["--extra", "two words", *expected]


def test_templates(bench: Bench) -> None:
    bench.install("code")
    bench.open("code -r '{file}:{line}' +{line} {other}")
    assert bench.called_with() == ["-r", f"{bench.file}:7", "+7", "{other}"]
    bench.open("code {file}", line=0)
    assert bench.called_with() == [str(bench.file)]
    bench.open("code", line=-5)
    assert bench.called_with() == ["--goto", f"{bench.file}:1"]


@pytest.mark.parametrize(
    "name", ["a b.py", "-c.py", "'.py", "$(id).py", "{line}{file}.py", "é\n.py", ";x"]
)
def test_a_name_stays_one_argument(bench: Bench, name: str) -> None:
    bench.install("mine")
    file = bench.root / name
    file.write_text("")
    bench.open("mine +{line} {file}", file)
    assert bench.called_with() == ["+7", str(file)]
    bench.open("mine", file)
    assert bench.called_with() == [str(file)]


def test_without_a_setting(bench: Bench) -> None:
    assert not has_editor(None)
    with pytest.raises(EditorError, match="ASERVE_EDITOR"):
        bench.open(None)
    bench.install("subl")
    assert has_editor("")
    bench.open(" ")
    assert bench.called_with() == [f"{bench.file}:7"]
    bench.install("cursor")
    bench.open(None)
    assert bench.called_with() == ["--goto", f"{bench.file}:7"]


@pytest.mark.parametrize("editor", ["missing", "/no/such/editor --x", "'unbalanced"])
def test_no_such_editor(bench: Bench, editor: str) -> None:
    assert not has_editor(editor)
    with pytest.raises(EditorError, match="ASERVE_EDITOR") as caught:
        bench.open(editor)
    assert "\n" not in str(caught.value)


def test_a_relative_command(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.install("mine")
    monkeypatch.chdir(bench.bin)
    bench.open("./mine")
    assert bench.called_with() == [str(bench.file)]
    monkeypatch.setenv("HOME", str(bench.bin))
    bench.open("~/mine")
    assert bench.called_with() == [str(bench.file)]


def test_files_of_the_project_only(bench: Bench, tmp_path: Path) -> None:
    bench.install("mine")
    outside = tmp_path / "outside.py"
    outside.write_text("")
    (tmp_path / "project-too").mkdir()
    (tmp_path / "project-too" / "x.py").write_text("")
    (bench.root / "link.py").symlink_to(outside)
    (bench.root / "circle").symlink_to(bench.root / "circle")
    (bench.root / "folder").mkdir()
    os.mkfifo(bench.root / "pipe")
    for path in (
        outside, tmp_path / "project-too" / "x.py", bench.root / "link.py",
        bench.root / ".." / "outside.py", bench.root / "circle", bench.root / "folder",
        bench.root / "pipe", bench.root / "missing.py", bench.root, Path("app.py"),
        Path("<string>"), Path("/dev/null"), bench.root / "a\0b",
    ):  # fmt: skip
        with pytest.raises(EditorError):
            bench.open("mine", path)
    assert not bench.out.exists()
    # A project behind a link, and a file through it.
    (tmp_path / "alias").symlink_to(bench.root)
    open_in_editor(
        str(tmp_path / "alias" / "app.py"), 1, root=str(tmp_path / "alias"), editor="mine"
    )
    assert bench.called_with() == [str(bench.file)]


def test_a_quick_failure_is_told(bench: Bench) -> None:
    bench.install("mine", "sys.exit(3)")
    with pytest.raises(EditorError, match=r"^mine ended at once with status 3$"):
        bench.open("mine")
    broken = bench.bin / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    with pytest.raises(EditorError, match="broken could not be started"):
        bench.open("broken")


def test_it_goes_on_by_itself_and_leaves_no_zombie(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(editor_module, "_PATIENCE", 0.01)
    os.mkfifo(tmp_path / "go on")
    bench.install("mine", f"open({str(tmp_path / 'go on')!r}).read(); sys.exit(1)")
    bench.open("mine")
    wait_for(bench.out.exists)
    pid, session, stdin, *_ = bench.out.read_text().split("\0")
    assert session == pid  # Ctrl+C at the server does not reach it
    assert stdin in ("", "/dev/null")
    assert any(thread.name == "aserve-debug-editor" for thread in threading.enumerate())
    with (tmp_path / "go on").open("w"):
        pass

    def is_gone() -> bool:
        try:
            os.kill(int(pid), 0)  # a zombie would answer
        except ProcessLookupError:
            return True
        return False

    wait_for(is_gone)
    wait_for(lambda: all(thread.name != "aserve-debug-editor" for thread in threading.enumerate()))
