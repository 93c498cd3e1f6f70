"""`aserve.reload.watch`: what is told of changes, and never missed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest

from aserve.reload.snapshot import Change, Interest
from aserve.reload.watch import Watcher

DEADLINE = 20

Told = asyncio.Queue[list[Change]]
Watch = Callable[..., contextlib.AbstractAsyncContextManager[tuple[Watcher, Told]]]


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    """Runs a watcher over the test's folder while a block runs."""

    @contextlib.asynccontextmanager
    async def run(**options: object) -> AsyncIterator[tuple[Watcher, Told]]:
        told: Told = asyncio.Queue()
        interest = Interest(roots=(str(tmp_path),))
        watcher = Watcher(interest, told.put_nowait, **options)  # type: ignore[arg-type]
        begun = asyncio.Event()
        hear = watcher._hear

        async def hear_and_say(directories: tuple[str, ...]) -> None:
            asyncio.get_running_loop().call_soon(begun.set)  # it runs when awatch waits
            await hear(directories)

        watcher._hear = hear_and_say  # type: ignore[method-assign]
        task = asyncio.create_task(watcher.run())
        try:
            if "polling" not in options:
                await asyncio.wait_for(begun.wait(), DEADLINE)
            yield watcher, told
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    return run


async def soon(told: Told) -> list[Change]:
    return await asyncio.wait_for(told.get(), DEADLINE)


@pytest.mark.parametrize("options", [{}, {"polling": 0.05}])
async def test_edits_are_told(tmp_path: Path, watch: Watch, options: dict[str, float]) -> None:
    path = tmp_path / "app.py"
    path.write_text("ONE = 1\n")
    async with watch(**options) as (watcher, told):
        assert await watcher.adopt({str(path): ""}, ()) == []
        for text, kind in (("ONE = 2\n", "edited"), (None, "deleted"), ("ONE = 3\n", "created")):
            path.unlink() if text is None else path.write_text(text)
            assert await soon(told) == [Change(str(path), kind)]
        path.touch()
        (tmp_path / "other.py").write_text("")
        (tmp_path / "note.txt").write_text("nobody's business")
        assert await soon(told) == [Change(str(tmp_path / "other.py"), "created")]


async def test_what_is_made_before_its_folder_is_watched(tmp_path: Path, watch: Watch) -> None:
    """The folder was looked through already, and its watch begins behind the file in it."""
    outer = tmp_path / "outer"
    async with watch() as (watcher, told):
        hear = watcher._hear

        def make() -> None:
            (outer / "inner").mkdir(exist_ok=True)
            (outer / "inner" / "module.py").write_text("ONE = 1\n")

        async def make_and_hear(directories: tuple[str, ...]) -> None:
            if str(outer) in directories and str(outer / "inner") not in directories:
                await asyncio.to_thread(make)
            await hear(directories)

        watcher._hear = make_and_hear  # type: ignore[method-assign]
        outer.mkdir()
        assert await soon(told) == [Change(str(outer / "inner" / "module.py"), "created")]


async def test_a_file_that_is_emptied_first_is_told_of_once(
    tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.py"
    path.write_text("ONE = 1\n")
    async with watch() as (watcher, told):
        seen, written = asyncio.Event(), asyncio.Event()
        look_again = watcher._look_again

        async def look_when_written(paths: Iterable[str]) -> None:
            seen.set()
            await written.wait()
            await look_again(paths)

        await watcher.adopt({str(path): ""}, ())
        monkeypatch.setattr(watcher, "_look_again", look_when_written)
        with path.open("w") as file:  # truncates
            await asyncio.wait_for(seen.wait(), DEADLINE)
            assert told.empty()
            file.write("ONE = 2\n")
        written.set()
        assert await soon(told) == [Change(str(path), "edited")]
        # Behind the second look, too.
        path.write_text("ONE = 3\n")
        assert await soon(told) == [Change(str(path), "edited")]
        path.write_text("")
        assert await soon(told) == [Change(str(path), "edited")]
        assert told.empty()


async def test_a_log_in_the_project_is_no_work(
    tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the app's, nor the one where watchfiles tells of each event."""
    monkeypatch.setattr("aserve.reload.watch._NET_SECONDS", DEADLINE)
    log = tmp_path / "all.log"
    handler = logging.FileHandler(log)
    logging.root.addHandler(handler)
    level = logging.root.level
    logging.root.setLevel(logging.DEBUG)
    try:
        async with watch() as (watcher, told):
            looks = 0
            read = watcher._read

            async def count(look: Callable[[], list[Change]]) -> list[Change]:
                nonlocal looks
                looks += 1
                return await read(look)

            watcher._read = count  # type: ignore[method-assign]
            for _ in range(10):
                logging.root.info("another line")
                await asyncio.sleep(0.02)
            (tmp_path / "app.py").write_text("ONE = 1\n")
            assert await soon(told) == [Change(str(tmp_path / "app.py"), "created")]
            assert looks <= 3
    finally:
        logging.root.removeHandler(handler)
        logging.root.setLevel(level)
        handler.close()
    assert "watchfiles" not in log.read_text()


async def test_a_folder_that_goes_and_comes_back(tmp_path: Path, watch: Watch) -> None:
    path = tmp_path / "pkg" / "words.py"
    path.parent.mkdir()
    path.write_text("ONE = 1\n")
    async with watch() as (watcher, told):
        await watcher.adopt({str(path): ""}, ())
        for _ in range(2):
            path.unlink()
            path.parent.rmdir()
            assert await soon(told) == [Change(str(path), "deleted")]
            path.parent.mkdir()
            path.write_text("ONE = 1\n")
            assert await soon(told) == [Change(str(path), "created")]


async def test_without_events_the_files_are_looked_at(
    tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reasons that watchfiles has given, word for word."""
    reasons: list[str] = []
    texts = ["OS file watch limit reached. (os error 28)", "Too many open files (os error 24)", "x"]
    for text in texts:

        def refuse(*_: object, text: str = text, **__: object) -> None:
            raise OSError(text)

        monkeypatch.setattr("watchfiles.awatch", refuse)
        monkeypatch.setattr("aserve.reload.watch._NET_SECONDS", 0.05)
        path = tmp_path / "app.py"
        path.write_text(text)
        async with watch(on_fallback=reasons.append) as (watcher, told):
            await watcher.adopt({str(path): ""}, ())
            path.write_text("ONE = 1\n")
            assert await soon(told) == [Change(str(path), "edited")]
    assert reasons == [
        "no more watches, see fs.inotify.max_user_watches",
        "no more watches, see fs.inotify.max_user_instances",
        "x",
    ]
