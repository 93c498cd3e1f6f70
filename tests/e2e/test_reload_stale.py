"""Many edits of many modules: after each the answer is soon what the disk says, and stays it."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest

from .conftest import Start
from .reloading import serve
from .test_reload import get

# More of them find rarer mistakes: ASERVE_EDITS=500 takes a minute or two.
EDITS = int(os.environ.get("ASERVE_EDITS", "60"))
SEED = 8_11_2026
PACKAGES, MODULES = 4, 7
# Questions for one answer; each is answered by the process that is due, so few are needed.
MOST_QUESTIONS = 2000

APP = """
import hashlib, importlib, pkgutil
import project

def state():
    yield project.__name__, project.WORD
    for info in pkgutil.walk_packages(project.__path__, "project."):
        yield info.name, importlib.import_module(info.name).WORD

digest = hashlib.sha256(repr(sorted(state())).encode()).hexdigest()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [digest.encode()]
"""


class Project:
    """A package with packages of modules, on the disk and as it should be.

    Args:
        folder: Where its package goes.
        chance: What to do is drawn from here.
        swaps: Whether a module may take the place of another.
    """

    def __init__(self, folder: Path, chance: random.Random, *, swaps: bool) -> None:
        self._folder = folder
        self._chance = chance
        self._swaps = swaps
        self._count = 0
        self.words: dict[str, str] = {}
        packages = ["project", *(f"project.p{number}" for number in range(PACKAGES))]
        for name in packages:
            self._path(name, is_package=True).parent.mkdir()
            self._write(name, is_package=True)
        for number in range(PACKAGES * MODULES):
            self._write(f"project.p{number % PACKAGES}.m{number}")
        self._packages = packages

    @property
    def digest(self) -> str:
        """What the app has to answer."""
        return hashlib.sha256(repr(sorted(self.words.items())).encode()).hexdigest()

    def edit(self) -> str:
        """Do one thing; returns what."""
        steps = [self._change, self._change_twice, self._change_package, self._add, self._delete,
                 self._rename, *([self._swap] if self._swaps else [])]  # fmt: skip
        step = self._chance.choice(steps)
        step()
        return step.__name__

    def _path(self, name: str, *, is_package: bool = False) -> Path:
        path = self._folder.joinpath(*name.split("."))
        return path / "__init__.py" if is_package else path.with_suffix(".py")

    def _write(self, name: str, *, is_package: bool = False) -> None:
        """All of one size, in place or by a rename."""
        self._count += 1
        word = f"{self._count:06}"
        path = self._path(name, is_package=is_package)
        if self._chance.random() < 0.5:
            path.write_text(f"WORD = {word!r}\n")
        else:
            new = path.with_name("new.tmp")
            new.write_text(f"WORD = {word!r}\n")
            new.replace(path)
        self.words[name] = word

    def _module(self) -> str:
        return self._chance.choice(sorted(set(self.words) - set(self._packages)))

    def _new_name(self) -> str:
        self._count += 1
        return f"project.p{self._chance.randrange(PACKAGES)}.n{self._count}"

    def _change(self) -> None:
        self._write(self._module())

    def _change_twice(self) -> None:
        name = self._module()
        self._write(name)
        self._write(name)

    def _change_package(self) -> None:
        self._write(self._chance.choice(self._packages), is_package=True)

    def _add(self) -> None:
        self._write(self._new_name())

    def _delete(self) -> None:
        name = self._module()
        self._path(name).unlink()
        del self.words[name]

    def _rename(self) -> None:
        old, new = self._module(), self._new_name()
        self._path(old).rename(self._path(new))
        self.words[new] = self.words.pop(old)

    def _swap(self) -> None:
        """One module takes the place of another, with its time and size."""
        old, new = self._module(), self._module()
        if old != new:
            self._path(old).replace(self._path(new))
            self.words[new] = self.words.pop(old)


def edit_and_ask(folder: Path, start: Start, edits: int, *, swaps: bool) -> None:
    """The whole test; with bytecode files on the disk, which could be believed too long."""
    project = Project(folder, random.Random(SEED), swaps=swaps)
    assert len(project.words) == 33
    (folder / "app.py").write_text(APP)
    child = serve(start, PYTHONDONTWRITEBYTECODE="")
    assert get(child) == (200, project.digest)
    for number in range(edits):
        what = f"edit {number}: {project.edit()}"
        for _ in range(MOST_QUESTIONS):
            if get(child) == (200, project.digest):
                break
        else:
            pytest.fail(f"{what}: the answer stays as it was")
        for _ in range(3):
            assert get(child) == (200, project.digest), what
    assert child.end() == 0
    assert "Traceback" not in child.errors


@pytest.mark.timeout(60 + EDITS)
def test_no_edit_is_missed(tmp_path: Path, start: Start) -> None:
    edit_and_ask(tmp_path, start, EDITS, swaps=False)
