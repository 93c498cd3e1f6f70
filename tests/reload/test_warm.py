"""`aserve.reload.warm` and `stock`: what is imported ahead, and what must not be forked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import aserve

LOCATION = Path(aserve.__file__).parents[1]

Ahead = Callable[[list[str], list[str]], str]

MODULES = {
    "harmless.py": "import json",
    "threads.py": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True)."
    "start()",
    "files.py": "file = open(__file__)",
    "leads.py": "import threads",
    "broken.py": "1 / 0",
    "ends.py": "import sys; sys.exit(3)",
}

PROGRAM = """
import sys
sys.path[:0] = [{installed!r}, {users!r}]
from aserve.reload.warm import preload
unfit = preload({names!r}, {refused!r}, is_checked=True)
print(unfit, sorted(set(sys.modules) & {{"harmless", "threads", "files", "leads", "mine"}}))
"""


@pytest.fixture
def ahead(tmp_path: Path) -> Ahead:
    installed = tmp_path / "site-packages"
    installed.mkdir()
    for name, text in MODULES.items():
        (installed / name).write_text(text)
    (tmp_path / "mine.py").write_text("")

    def run(names: list[str], refused: list[str]) -> str:
        program = PROGRAM.format(
            installed=str(installed), users=str(tmp_path), names=names, refused=refused
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=LOCATION,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    return run


@pytest.mark.parametrize(
    ("names", "refused", "expected"),
    [
        (["harmless", "mine"], [], "[] ['harmless']"),
        (["broken", "no_such_module", "ends", "harmless"], [], "[] ['harmless']"),
        (["harmless", "threads", "files"], [], "['threads'] ['harmless', 'threads']"),
        (["files"], [], "['files'] ['files']"),
        (["threads", "harmless"], ["threads"], "[] ['harmless']"),
        # Nor by way of another one.
        (["leads", "harmless"], ["threads"], "[] ['harmless']"),
    ],
)
def test_what_is_imported_ahead(
    ahead: Ahead, names: list[str], refused: list[str], expected: str
) -> None:
    assert ahead(names, refused) == expected
