"""What happens to files: how editors save, and how modules come, move and go."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Child, Start
from .reloading import ANSWER, only_reload, serve
from .test_reload import get, until

Save = Callable[[Path, str], None]

# A module that may be missing, in a package or not.
WORD_OF = "try:\n    from {} import WORD\nexcept ImportError:\n    WORD = 'none'\n" + ANSWER


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is not below the working directory."""
    return tmp_path_factory.mktemp("elsewhere")


def word(text: str) -> str:
    return f"WORD = {text!r}\n"


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def in_two_steps(path: Path, text: str) -> None:
    """Truncated and half written for a moment, with one close."""
    with path.open("w") as file:
        file.write(text[: len(text) // 2])
        file.flush()
        file.write(text[len(text) // 2 :])


def truncated_before(path: Path, text: str) -> None:
    """Closed twice: one time empty, one time whole."""
    path.write_text("")
    path.write_text(text)


def by_rename(path: Path, text: str) -> None:
    """As most editors save."""
    new = path.with_name(f"{path.name}.tmp")
    new.write_text(text)
    new.replace(path)


def with_a_backup(path: Path, text: str) -> None:
    """As Vim saves: the old file becomes the backup, which goes in the end."""
    backup = path.with_name(f"{path.name}~")
    path.rename(backup)
    path.write_text(text)
    backup.unlink()


def removed_before(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def with_an_older_time(path: Path, text: str) -> None:
    """As `cp -p` and `tar` do: each time an hour further back."""
    seconds = path.stat().st_mtime - 3600
    new = path.with_name(f"{path.name}.tmp")
    new.write_text(text)
    os.utime(new, (seconds, seconds))
    new.replace(path)


@pytest.mark.parametrize(
    "save",
    [
        in_place,
        in_two_steps,
        truncated_before,
        by_rename,
        with_a_backup,
        removed_before,
        with_an_older_time,
    ],
)
def test_ways_to_save(tmp_path: Path, start: Start, save: Save) -> None:
    """Words of one size, within one second, with bytecode files on the disk."""
    path = tmp_path / "app.py"
    path.write_text(word("one") + ANSWER)
    child = serve(start, PYTHONDONTWRITEBYTECODE="")
    assert get(child) == (200, "one")
    for text in ("two", "six", "ten"):
        save(path, word(text) + ANSWER)
        assert until(child, text) == f"200 {text}"
    assert child.end() == 0


def test_traces_of_editors_do_not_reload(tmp_path: Path, start: Start) -> None:
    """Whatever they reload would be named in the line of the one reload that follows."""
    path = tmp_path / "app.py"
    path.write_text(word("one") + ANSWER)
    child = serve(start)
    assert get(child)[1] == "one"
    for name in ("4913", "app.py~", ".app.py.swp", ".app.py.swx", "app.py___jb_tmp___",
                 "app.py___jb_old___", "#app.py#", ".app.py.kate-swp", ".hidden.py"):  # fmt: skip
        (tmp_path / name).write_text("nonsense(")
        (tmp_path / name).unlink()
    lock = tmp_path / ".#app.py"
    lock.symlink_to("someone@somewhere.1234:1")
    path.chmod(0o600)
    os.utime(path, (1, 1))
    os.utime(path)
    by_rename(path, path.read_text())
    in_place(path, path.read_text())
    (tmp_path / "folder").mkdir()
    in_place(path, word("two") + ANSWER)
    until(child, "two")
    lock.unlink()
    assert only_reload(child) == f"Detected change in {str(path)!r}, reloading (edited)"


def test_a_module_that_is_deleted(tmp_path: Path, start: Start) -> None:
    """Nothing is left of it, also where its bytecode is."""
    (tmp_path / "app.py").write_text("from words import WORD\n" + ANSWER)
    (tmp_path / "words.py").write_text(word("one"))
    child = serve(start, PYTHONDONTWRITEBYTECODE="")
    assert get(child) == (200, "one")
    assert list((tmp_path / "__pycache__").glob("words.*.pyc"))
    (tmp_path / "words.py").unlink()
    assert until(child, "No module named 'words'").startswith("500")
    (tmp_path / "words.py").write_text(word("one"))
    assert until(child, "one") == "200 one"


def test_a_module_that_is_renamed(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(WORD_OF.format("words"))
    (tmp_path / "terms.py").write_text(word("one"))
    child = serve(start)
    assert get(child)[1] == "none"
    (tmp_path / "terms.py").rename(tmp_path / "words.py")
    until(child, "one")
    (tmp_path / "words.py").rename(tmp_path / "terms.py")
    until(child, "none")


@pytest.mark.parametrize("is_regular", [True, False], ids=["regular", "namespace"])
def test_a_package_comes_and_goes(tmp_path: Path, start: Start, is_regular: bool) -> None:
    (tmp_path / "app.py").write_text(WORD_OF.format("pkg.words"))
    package = tmp_path / "pkg"
    child = serve(start)
    assert get(child)[1] == "none"
    package.mkdir()
    if is_regular:
        (package / "__init__.py").write_text("")
    (package / "words.py").write_text(word("new"))
    until(child, "new")
    (package / "words.py").write_text(word("edited"))
    until(child, "edited")
    package.rename(tmp_path / "other")
    until(child, "none")
    (tmp_path / "other").rename(package)
    until(child, "edited")
    shutil.rmtree(package)
    until(child, "none")


def test_a_module_becomes_a_package(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text("from words import WORD\n" + ANSWER)
    (tmp_path / "words.py").write_text(word("module"))
    child = serve(start)
    assert get(child)[1] == "module"
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "__init__.py").write_text(word("package"))
    until(child, "package")
    (tmp_path / "words.py").unlink()
    (tmp_path / "words" / "__init__.py").write_text(word("edited"))
    until(child, "edited")


def test_deep_folders_with_a_file_at_once(tmp_path: Path, start: Start) -> None:
    """The file is there before anybody can watch its folder."""
    (tmp_path / "app.py").write_text(
        "import importlib\nfrom pathlib import Path\n"
        "WORD = 0\nfor path in Path('deep').rglob('*.py'):\n"
        "    WORD += importlib.import_module('.'.join(path.with_suffix('').parts)).ONE\n" + ANSWER
    )
    child = serve(start)
    assert get(child)[1] == "0"
    for number in range(1, 6):
        folder = tmp_path / "deep" / f"n{number}" / "b" / "c"
        folder.mkdir(parents=True)
        (folder / "module.py").write_text("ONE = 1\n")
        until(child, str(number))
    (folder / "module.py").write_text("ONE = 10\n")  # it is watched by now
    until(child, "14")


def test_a_linked_file(tmp_path: Path, start: Start, elsewhere: Path) -> None:
    (tmp_path / "app.py").write_text("from words import WORD\n" + ANSWER)
    target, other = elsewhere / "target.py", elsewhere / "other.py"
    target.write_text(word("one"))
    other.write_text(word("other"))
    (tmp_path / "words.py").symlink_to(target)
    child = serve(start)
    assert get(child)[1] == "one"
    in_place(target, word("two"))
    until(child, "two")
    by_rename(target, word("three"))
    until(child, "three")
    (tmp_path / "link").symlink_to(other)
    (tmp_path / "link").replace(tmp_path / "words.py")
    until(child, "other")
    in_place(other, word("edited"))
    until(child, "edited")


def test_a_linked_folder(tmp_path: Path, start: Start, elsewhere: Path) -> None:
    (tmp_path / "app.py").write_text(WORD_OF.format("pkg.words"))
    for name in ("target", "other"):
        (elsewhere / name).mkdir()
        (elsewhere / name / "__init__.py").write_text("")
        (elsewhere / name / "words.py").write_text(word(name))
    (tmp_path / "pkg").symlink_to(elsewhere / "target")
    child = serve(start)
    assert get(child)[1] == "target"
    in_place(elsewhere / "target" / "words.py", word("one"))
    until(child, "one")
    by_rename(elsewhere / "target" / "words.py", word("two"))
    until(child, "two")
    (elsewhere / "target" / "words.py").unlink()
    until(child, "none")
    in_place(elsewhere / "target" / "words.py", word("three"))  # new in the linked folder
    until(child, "three")
    (tmp_path / "link").symlink_to(elsewhere / "other")
    (tmp_path / "link").replace(tmp_path / "pkg")
    until(child, "other")
    in_place(elsewhere / "other" / "words.py", word("edited"))
    until(child, "edited")


def edit_a_library(child: Child, library: Path) -> None:
    """A package that the app imports, and a file of it that is new."""
    assert get(child)[1] == "one"
    in_place(library / "words.py", word("two"))
    until(child, "two")
    by_rename(library / "words.py", word("six"))
    until(child, "six")
    in_place(library / "new.py", word("new"))
    in_place(library / "words.py", "from .new import WORD\n")
    until(child, "new")
    in_place(library / "new.py", word("ten"))
    until(child, "ten")


@pytest.fixture
def library(elsewhere: Path) -> Path:
    """A package in the `src` of another project."""
    package = elsewhere / "src" / "library"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "words.py").write_text(word("one"))
    return package


def test_a_library_on_the_python_path(tmp_path: Path, start: Start, library: Path) -> None:
    (tmp_path / "app.py").write_text("from library.words import WORD\n" + ANSWER)
    path = os.pathsep.join([str(library.parent), os.environ.get("PYTHONPATH", ""), *_own_paths()])
    edit_a_library(serve(start, PYTHONPATH=path), library)


def test_an_editable_install(tmp_path: Path, start: Start, library: Path, elsewhere: Path) -> None:
    """By a .pth file in a virtual environment, which lies in the project as it often does."""
    (tmp_path / "app.py").write_text("from library.words import WORD\n" + ANSWER)
    python = make_environment(tmp_path / ".venv", "library.pth", f"{library.parent}\n")
    command = [python, "-m", "aserve", "app.py", "--port", "0", "--reload"]
    edit_a_library(start(*command, raw=True), library)


def make_environment(folder: Path, name: str, text: str) -> str:
    """A virtual environment that also has what this one has; returns its Python.

    Args:
        folder: Where to make it.
        name: A file in its site-packages.
        text: Its content.
    """
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / name).write_text(text)
    (packages / "ours.pth").write_text("\n".join(_own_paths()))
    return str(folder / "bin" / "python")


def _own_paths() -> list[str]:
    import aserve

    return [str(Path(aserve.__file__).parents[1]), sysconfig.get_path("purelib")]


def git(folder: Path, *words: str) -> None:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@localhost", *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_a_checkout_of_200_files(
    tmp_path: Path, start: Start, record_property: Callable[[str, object], None]
) -> None:
    """At most three loads each way, and the answer is never a mixture of both branches."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "app.py").write_text(
        "import importlib, sys\nprint('loads the app', file=sys.stderr)\n"
        "modules = [importlib.import_module(f'pkg.m{n}') for n in range(200)]\n"
        "WORD = ' '.join(sorted({module.WORD for module in modules}))\n" + ANSWER
    )
    git(tmp_path, "init", "--quiet", "--initial-branch", "one")
    for branch in ("one", "two"):
        for number in range(200):
            (tmp_path / "pkg" / f"m{number}.py").write_text(word(branch))
        if branch == "two":
            git(tmp_path, "checkout", "--quiet", "-b", branch)
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "--quiet", "--message", branch)
    child = serve(start)
    assert get(child)[1] == "two"
    loads = child.errors.count("loads the app")
    for branch in ("one", "two"):
        git(tmp_path, "checkout", "--quiet", branch)
        assert until(child, branch) == f"200 {branch}"
        last = max(path.stat().st_mtime for path in (tmp_path / "pkg").glob("*.py"))
        record_property(f"seconds behind the last write of {branch}", time.time() - last)
        before, loads = loads, child.errors.count("loads the app")
        assert loads - before <= 3
    assert child.end() == 0
    assert "Traceback" not in child.errors


def _in_a_namespace(*options: str) -> list[str]:
    """The command that runs the words behind it in name spaces of their own."""
    command = ["unshare", "--user", "--map-root-user", *options]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.fail("no user name spaces may be made here: allow them")
    return command


@pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
def test_without_any_more_watches_the_files_are_looked_at(
    tmp_path: Path, start: Start, limit: str
) -> None:
    """The kernel refuses them for real: the limits of a name space are its own."""
    path = tmp_path / "app.py"
    path.write_text(word("one") + ANSWER)
    script = f'echo 0 > /proc/sys/user/{limit} && exec "$@"'
    command = [*_in_a_namespace(), "sh", "-c", script, "sh", sys.executable, "-m", "aserve"]
    child = start(*command, "app.py", "--port", "0", "--reload", raw=True)
    assert get(child)[1] == "one"
    in_place(path, word("two") + ANSWER)
    until(child, "two")
    (tmp_path / "pkg").mkdir()
    in_place(tmp_path / "pkg" / "words.py", word("three"))
    in_place(path, "from pkg.words import WORD\n" + ANSWER)
    until(child, "three")
    assert child.end() == 0
    assert "Traceback" not in child.errors


def test_a_working_directory_that_is_read_only(tmp_path: Path, start: Start) -> None:
    """A mount of its own, so that it is so for root as well; the edits come from outside."""
    path = tmp_path / "app.py"
    path.write_text(word("one") + ANSWER)
    script = 'mount --bind . . && mount -o remount,bind,ro . && cd "$PWD" && exec "$@"'
    command = [*_in_a_namespace("--mount"), "sh", "-c", script, "sh", sys.executable]
    words = ["-m", "aserve", "app.py", "--port", "0", "--reload"]
    child = start(*command, *words, raw=True, PYTHONDONTWRITEBYTECODE="")
    assert get(child)[1] == "one"
    for text in ("two", "six", "ten"):
        in_place(path, word(text) + ANSWER)
        until(child, text)
    assert not (tmp_path / "__pycache__").exists()
    assert child.end() == 0
    assert "Traceback" not in child.errors


def by_a_slow_writer(path: Path, text: str) -> None:
    """Emptied, then half a line, then half of the lines, which can be read but have no app."""
    head, _, rest = text.partition("\ndef app")
    with path.open("w", buffering=1) as file:
        for piece in ("", head[:3], f"{head[3:]}\n", "\ndef app", rest):
            file.write(piece)
            file.flush()
            time.sleep(0.06)


def without_for_a_moment(path: Path, text: str) -> None:
    path.unlink()
    time.sleep(0.1)
    path.write_text(text)


@pytest.mark.parametrize("save", [by_a_slow_writer, without_for_a_moment])
def test_a_save_that_takes_its_time_shows_no_error(
    tmp_path: Path, start: Start, save: Save
) -> None:
    path = tmp_path / "app.py"
    path.write_text(word("one") + ANSWER)
    child = serve(start)
    assert get(child) == (200, "one")
    for text in ("two", "six", "ten"):
        writing = threading.Thread(target=save, args=(path, word(text) + ANSWER))
        writing.start()
        seen: set[tuple[int, str]] = set()
        while writing.is_alive() or seen.isdisjoint({(200, text)}):
            seen.add(get(child))
        writing.join()
        assert all(status == 200 for status, _ in seen), seen
    assert "Error" not in child.errors
    path.write_text("broken(\n")
    until(child, "SyntaxError")
    assert child.end() == 0
