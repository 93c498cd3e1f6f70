"""`aserve.reload.watch`: what is told of changes, and never missed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from aserve.reload import inotify
from aserve.reload.inotify import Inotify
from aserve.reload.snapshot import Change, Interest
from aserve.reload.watch import Watcher

DEADLINE = 20


@pytest.mark.skipif(not inotify.AVAILABLE, reason="inotify is Linux's own")
def test_what_is_made_before_its_folder_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder was looked through already, and its watch begins behind the file in it."""
    outer, begun = tmp_path / "outer", threading.Event()
    begin = Inotify.watch

    def watch(self: Inotify, directories: Iterable[str]) -> None:
        if str(outer) in directories and not (outer / "inner").exists():
            (outer / "inner").mkdir()
            (outer / "inner" / "module.py").write_text("ONE = 1\n")
        begin(self, directories)
        begun.set()

    monkeypatch.setattr(Inotify, "watch", watch)
    told: queue.SimpleQueue[list[Change]] = queue.SimpleQueue()
    interest = Interest(roots=(str(tmp_path),), extra=(), excluded=(), settings_directory="")
    watcher = Watcher(interest, told.put)
    watcher.start()
    try:
        assert begun.wait(DEADLINE)
        outer.mkdir()
        assert told.get(timeout=DEADLINE) == [Change(str(outer / "inner" / "module.py"), "created")]
    finally:
        watcher.close()
