"""The project's own files agree with each other: a newcomer's first two commands depend on it."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import aserve

ROOT = Path(__file__).parents[1]
TEST_COMMAND = (
    "python3 -m venv .venv && .venv/bin/python -m pip install --quiet nox"
    " && .venv/bin/python -m nox"
)
_GENERATED = {
    ".git", ".hypothesis", ".mypy_cache", ".nox", ".pytest_cache", ".ruff_cache", ".venv",
    "__pycache__", "_build", "_generated", ".envs", "results", "build", "dist", "htmlcov",
}  # fmt: skip
_TEXT = {".md", ".py", ".toml", ".yaml", ".yml", ".txt", ".cfg", ".rst", ""}

# The bare name after an install command, with options between. `aserve-wsgi` is another name,
# and so is `aserve` with a letter after it.
_BARE_NAME = re.compile(
    r"(?:pip|pipx|uv)3?[ \t]+(?:[^\s&;|]+[ \t]+)*?install[ \t]+(?:[^\s&;|]+[ \t]+)*?"
    r"['\"]?aserve(?![\w-])"
)


def _text_files() -> Iterator[Path]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in _GENERATED]
        for name in names:
            path = Path(folder, name)
            if path.suffix in _TEXT and path.is_file():
                yield path


@pytest.fixture(scope="module")
def pyproject() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.mark.parametrize("name", ["README.md", ".ci/run"])
def test_there_is_one_command_that_runs_all_checks(name: str) -> None:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    assert TEST_COMMAND in [line.strip().removeprefix("$ ") for line in lines]


def test_ci_script_is_executable_and_parses() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_nobody_is_told_to_install_the_unrelated_distribution() -> None:
    """The name `aserve` on PyPI is another project's of 2016; ours is `aserve-wsgi`."""
    told = [
        f"{path.relative_to(ROOT)}: {found.group()}"
        for path in _text_files()
        if (found := _BARE_NAME.search(path.read_text("utf-8", errors="replace")))
    ]
    assert told == []


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("python -m pip install {}", True),
        ("pip install --upgrade {}", True),
        ("uv pip install {}[extra]", True),
        ("pip install flask '{}[extra]'", True),
        ("pip install {}-wsgi", False),
        ("pip install '{}-wsgi[extra]'", False),
        ("pip install . && {} demo", False),
    ],
)
def test_bare_name_pattern(line: str, bad: bool) -> None:
    assert bool(_BARE_NAME.search(line.format("aserve"))) is bad


def test_changelog_has_the_current_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## .*{re.escape(aserve.__version__)}", changelog, re.MULTILINE)


def test_package_is_marked_as_typed() -> None:
    assert Path(aserve.__file__).with_name("py.typed").is_file()


def test_every_dependency_has_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()
    start = lines.index("dependencies = [")
    end = lines.index("]", start)
    for number in range(start + 1, end):
        if lines[number].lstrip().startswith('"'):
            assert lines[number - 1].lstrip().startswith("#"), lines[number]


def test_minimum_python_is_the_lowest_classifier(pyproject: dict[str, dict[str, object]]) -> None:
    project = pyproject["project"]
    classifiers = project["classifiers"]
    assert isinstance(classifiers, list)
    versions = [
        found.group(1)
        for line in classifiers
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    ]
    lowest = min(versions, key=lambda version: int(version.partition(".")[2]))
    assert project["requires-python"] == f">={lowest}"
