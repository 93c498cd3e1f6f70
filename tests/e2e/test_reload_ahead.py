"""What is imported before it is needed, and what must not be."""

from __future__ import annotations

import sys
from pathlib import Path

from .conftest import Child, Start
from .test_reload import ask, get, until
from .test_reload_saves import make_environment

APP = """
import os
import library
def app(environ, start_response):
    assert library.thread is None or library.thread.is_alive()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{word} {{os.getpid()}} {{library.IMPORTED_BY}} {{library.NUMBER}}".encode()]
"""

LIBRARY = """
import os, random, threading
thread = None
IMPORTED_BY = os.getpid()
NUMBER = random.random()
"""

WITH_A_THREAD = """
thread = threading.Thread(target=threading.Event().wait, daemon=True)
thread.start()
"""


def serve_with(tmp_path: Path, start: Start, library: str) -> Child:
    python = make_environment(tmp_path / ".venv", "unused.pth", "# nothing\n")
    packages = site_packages(tmp_path)
    if library:
        (packages / "library.py").write_text(library)
    (tmp_path / "app.py").write_text(APP.format(word="one"))
    return start(python, "-m", "aserve", "app.py", "--port", "0", "--reload", raw=True)


def site_packages(tmp_path: Path) -> Path:
    (packages,) = (tmp_path / ".venv").glob("lib/python*/site-packages")
    return packages


def importers(tmp_path: Path, child: Child, edits: int) -> list[bool]:
    """For each edit: whether the process that answered has itself imported the library."""
    found = []
    for number in range(edits):
        (tmp_path / "app.py").write_text(APP.format(word=f"edit{number}"))
        _, _, pid, importer, _ = until(child, f"edit{number} ").split()
        found.append(pid == importer)
    return found


def test_installed_modules_are_imported_before_the_change(tmp_path: Path, start: Start) -> None:
    """On Linux by a process that all the others are forks of."""
    child = serve_with(tmp_path, start, LIBRARY)
    assert get(child)[1].startswith("one ")
    # The first ones may come before that process is ready.
    found = [True]
    while found[-1] and sys.platform == "linux":
        found = importers(tmp_path, child, 6)
    assert child.end() == 0
    assert "Traceback" not in child.errors


def test_what_has_a_thread_is_imported_by_each(tmp_path: Path, start: Start) -> None:
    child = serve_with(tmp_path, start, LIBRARY + WITH_A_THREAD)
    assert get(child)[1].startswith("one ")
    assert all(importers(tmp_path, child, 6))
    assert child.end() == 0
    assert "Traceback" not in child.errors


def test_a_new_version_of_what_is_installed(tmp_path: Path, start: Start) -> None:
    """It is used from the next load on, not the one that was imported ahead."""
    child = serve_with(tmp_path, start, LIBRARY)
    importers(tmp_path, child, 3)
    library = site_packages(tmp_path) / "library.py"
    library.unlink()
    library.write_text(LIBRARY + "NUMBER = 'new'\n")
    (tmp_path / "app.py").write_text(APP.format(word="after"))
    assert until(child, "after ").endswith(" new")


def test_what_was_missing_is_installed(tmp_path: Path, start: Start) -> None:
    child = serve_with(tmp_path, start, "")
    child.wait_for("Waiting for a change")
    port = int(child.wait_for(r"Until then http://[^:]+:(\d+) shows")[1])
    status, shown = ask(port)
    assert (status, "No module named 'library'" in shown) == (500, True)
    (site_packages(tmp_path) / "library.py").write_text(LIBRARY)
    child.wait_for("ready in")
    assert ask(port)[0] == 200
