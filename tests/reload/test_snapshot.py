"""`aserve.reload.snapshot`: which files matter, and when they are different."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aserve.reload.snapshot import Change, Interest, Snapshot, absolute
from aserve.reload.source import digest_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "pkg").mkdir(parents=True)
    (folder / "app.py").write_text("one")
    (folder / "pkg" / "__init__.py").write_text("")
    for name in (".git", "node_modules", "__pycache__", "my-env"):
        (folder / name).mkdir()
        (folder / name / "hidden.py").write_text("")
    (folder / "my-env" / "pyvenv.cfg").write_text("")
    return folder


def take(project: Path, **more: tuple[str, ...]) -> Snapshot:
    interest = Interest(roots=(str(project),), settings_directory=str(project), **more)  # type: ignore[arg-type]
    snapshot = Snapshot(interest)
    assert snapshot.scan() == []  # what is there at first is what was loaded
    return snapshot


def test_what_is_different_and_what_is_not(project: Path) -> None:
    snapshot = take(project)
    app = project / "app.py"
    os.utime(app, (1, 1))
    app.chmod(0o600)
    app.write_text("one")
    assert snapshot.compare([str(app)]) == []
    app.write_text("two")
    assert snapshot.compare([str(app)]) == [Change(str(app), "edited")]
    assert snapshot.compare([str(app)]) == []  # told one time
    app.unlink()
    assert snapshot.compare([str(app)]) == [Change(str(app), "deleted")]
    app.write_text("two")
    assert snapshot.compare([str(app), str(app)]) == [Change(str(app), "created")]


@pytest.mark.parametrize(
    "name",
    ["4913", "app.py~", ".#app.py", ".app.py.swp", "app.py___jb_tmp___", "notes.txt", "x.pyc",
     ".git/hidden.py", "../other.py"],
)  # fmt: skip
def test_files_that_do_not_matter(project: Path, name: str) -> None:
    snapshot = take(project)
    path = project / name
    path.write_text("new")
    assert snapshot.compare([str(path.resolve())]) == [] or ".git" in name
    assert snapshot.scan() == []


def test_new_directories_are_found_with_what_is_in_them(project: Path) -> None:
    snapshot = take(project)
    assert str(project / ".git") not in snapshot.directories
    assert str(project / "my-env") not in snapshot.directories
    folder = project / "pkg" / "sub"
    folder.mkdir()
    (folder / "new.py").write_text("ONE = 1\n")
    (folder / "empty.py").write_text("")
    changes = snapshot.scan()
    assert snapshot.take_half_written() == {str(folder / "empty.py")}
    assert Change(str(folder / "new.py"), "created") in changes
    assert str(folder) in snapshot.directories
    assert snapshot.compare([str(folder / "empty.py")]) == []
    created = [Change(str(folder / "empty.py"), "created")]
    assert snapshot.compare([str(folder / "empty.py")], is_whole=True) == created
    (folder / "new.py").unlink()
    assert snapshot.scan() == [Change(str(folder / "new.py"), "deleted")]


def test_what_was_loaded_counts_and_not_what_is_there(project: Path) -> None:
    """A file that was edited between its import and now."""
    snapshot = take(project)
    app = str(project / "app.py")
    assert snapshot.adopt({app: digest_of(b"one")}) == []
    assert snapshot.adopt({app: digest_of(b"zero")}) == [Change(app, "edited")]


def test_a_loaded_file_elsewhere_is_watched_by_its_directory(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "lib" / "module.py"
    other.parent.mkdir()
    other.write_text("a")
    link = project / "linked.py"
    link.symlink_to(other)
    snapshot = take(project)
    assert snapshot.adopt({str(link): digest_of(b"a")}) == []
    snapshot.scan()
    assert str(other.parent) in snapshot.directories
    other.write_text("b")
    assert snapshot.compare([str(other)]) == [Change(str(link), "edited")]


def test_a_root_that_is_new_is_not_a_change(project: Path, tmp_path: Path) -> None:
    snapshot = take(project)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "lib.py").write_text("")
    assert snapshot.adopt({}, [str(tmp_path / "src")]) == []
    assert snapshot.scan() == []
    assert str(tmp_path / "src") in snapshot.directories


def test_extra_files_directories_and_patterns(project: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (tmp_path / "one.ini").write_text("")
    extra = absolute(["../data", "../*.ini", "../later.cfg"], str(project))
    snapshot = take(project, extra=extra)
    for path, kind in (
        (data / "deep" / "x.yaml", "created"),
        (tmp_path / "one.ini", "edited"),
        (tmp_path / "two.ini", "created"),
        (tmp_path / "later.cfg", "created"),
    ):
        path.write_text("content")
        changes = snapshot.compare([str(path)])
        assert [change.path for change in changes] == [str(path)], kind
    assert str(data / "deep") in snapshot.directories


def test_excluded(project: Path) -> None:
    snapshot = take(project, excluded=("*/pkg/*", "test_*.py"))
    for name in ("pkg/__init__.py", "pkg/new.py", "test_a.py"):
        (project / name).write_text("new")
        assert snapshot.compare([str(project / name)]) == []
    assert snapshot.scan() == []


def test_settings(project: Path) -> None:
    snapshot = take(project)
    (project / ".env").write_text("A=1")
    assert snapshot.scan() == [Change(str(project / ".env"), "created")]


def test_a_look_around_goes_through_all_files_in_turn(project: Path) -> None:
    snapshot = take(project)
    assert snapshot.look_around(10) == []
    (project / "app.py").write_text("longer than before")
    hints = [path for _ in range(len(snapshot)) for path in snapshot.look_around(1)]
    assert hints == [str(project / "app.py")]
