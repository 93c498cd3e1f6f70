"""`ResponseWriter` with files: by the kernel where it can, read otherwise."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from aserve.errors import WSGIError
from aserve.wsgi.file_wrapper import FileWrapper

from .support import LENGTH_3, Sink, answering, run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


@pytest.mark.parametrize(
    ("position", "headers", "calls", "length"),
    [
        (0, (), ["head", ("file", 0, 10), "end"], 10),
        (4, (), ["head", ("file", 4, 6), "end"], 6),
        (4, (LENGTH_3,), ["head", ("file", 4, 3), "end"], 3),
        (10, (), [("whole", b"")], 0),
    ],
)
def test_file_sent_by_the_kernel(
    path: Path,
    position: int,
    headers: tuple[tuple[str, str], ...],
    calls: list[Any],
    length: int,
) -> None:
    file = path.open("rb")
    file.seek(position)
    sink = run(answering(FileWrapper(file), *headers), Sink(files=True))
    assert sink.calls == calls
    assert sink.length == length
    assert file.closed


@pytest.mark.parametrize(
    ("headers", "calls", "length"),
    [
        ((), ["head", b"0123", b"4567", b"89", "end"], 10),
        (("Content-Length", "6"), ["head", b"0123", b"45", "end"], 6),
        (("Content-Length", "8"), ["head", b"0123", b"4567", "end"], 8),
    ],
)
def test_file_that_the_kernel_cannot_send(
    path: Path, headers: tuple[Any, ...], calls: list[Any], length: int
) -> None:
    """No more than Content-Length either way: a log file may grow meanwhile."""
    file = path.open("rb")
    app = answering(FileWrapper(file, 4), *([headers] if headers else []))
    sink = run(app)
    assert sink.calls == calls
    assert sink.length == length
    assert file.closed


@pytest.mark.parametrize("files", [False, True])
def test_file_shorter_than_announced(path: Path, files: bool) -> None:
    app = answering(FileWrapper(path.open("rb")), ("Content-Length", "11"))
    with pytest.raises(WSGIError, match="1 bytes shorter"):
        run(app, Sink(files=files))


def test_other_files_are_read() -> None:
    wrapper = FileWrapper(io.BytesIO(b"abcdef"), 4)
    assert run(answering(wrapper)).calls == ["head", b"abcd", b"ef", "end"]
    wrapper = FileWrapper(io.BytesIO(b"abcdef"), 4)
    assert run(answering(wrapper, LENGTH_3)).calls == ["head", b"abc", "end"]


def test_text_file(path: Path) -> None:
    with pytest.raises(WSGIError, match="must be bytes, not str"):
        run(answering(FileWrapper(path.open())))


@pytest.mark.parametrize(("status", "head"), [("200 OK", True), ("304 Not Modified", False)])
def test_file_without_body(path: Path, status: str, head: bool) -> None:
    file = path.open("rb")
    sink = run(answering(FileWrapper(file), status=status), Sink(files=True), head=head)
    assert sink.calls == [
        "head",
        b"0123456789",
        "end",
    ]  # what is not sent is the protocol's to drop
    assert file.closed
