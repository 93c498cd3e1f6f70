"""`wsgi.file_wrapper` with real files (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from aserve.wsgi.file_wrapper import BLOCK_SIZE, FileWrapper


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


@pytest.mark.parametrize("mode", ["rb", "r+b"])
@pytest.mark.parametrize("buffering", [-1, 0])
def test_region_of_a_plain_file(path: Path, mode: str, buffering: int) -> None:
    with path.open(mode, buffering=buffering) as file:
        assert FileWrapper(file).region() == (file.fileno(), 0, 10)
        file.seek(4)
        assert FileWrapper(file).region() == (file.fileno(), 4, 6)


def test_position_counts_and_not_what_is_buffered(path: Path) -> None:
    with path.open("rb") as file:
        assert file.read(1) == b"0"  # the descriptor itself is at the end by now
        assert FileWrapper(file).region() == (file.fileno(), 1, 9)


def test_nothing_left(path: Path) -> None:
    with path.open("rb") as file:
        file.seek(99)
        assert FileWrapper(file).region() is None


def test_file_that_claims_to_be_empty(tmp_path: Path) -> None:
    """The kernel's own files have no size; they have to be read."""
    path = Path("/proc/self/stat")
    if not path.exists():  # not Linux: an empty file is as good as we get
        path = tmp_path / "empty"
        path.touch()
    with path.open("rb") as file:
        assert path.stat().st_size == 0
        assert FileWrapper(file).region() is None


class Reversed(io.BufferedReader):
    """Shows something else than the disk has."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size)[::-1]


class Raw(io.FileIO):
    """Might as well."""


def test_file_objects_that_show_something_else(path: Path) -> None:
    packed = path.with_suffix(".gz")
    packed.write_bytes(gzip.compress(b"plain"))
    with (
        gzip.open(packed) as unpacked,
        io.BufferedReader(unpacked) as buffered,
        path.open() as text,
        Reversed(io.FileIO(path)) as reverse,
        Raw(path) as raw,
        tempfile.SpooledTemporaryFile() as spooled,
    ):
        for file in (unpacked, buffered, text, reverse, raw, spooled, io.BytesIO(b"x"), object()):
            assert FileWrapper(file).region() is None
        assert b"".join(FileWrapper(buffered)) == b"plain"


def test_pipe_and_device_and_closed_file(path: Path) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with io.FileIO(reading) as pipe, Path("/dev/null").open("rb") as device:
        assert FileWrapper(pipe).region() is None
        assert FileWrapper(device).region() is None
    with path.open("rb") as file:
        pass
    assert FileWrapper(file).region() is None


def test_iteration_reads_blocks(path: Path) -> None:
    with path.open("rb") as file:
        assert list(FileWrapper(file, 4)) == [b"0123", b"4567", b"89"]


def test_it_is_its_own_iterator(path: Path) -> None:
    """Middleware that takes `iter()` of it must still be able to close the file."""
    wrapper = FileWrapper(path.open("rb"))
    assert iter(wrapper) is wrapper
    wrapper.close()


def test_position(path: Path) -> None:
    """For whoever sends a part of it."""
    with path.open("rb") as file:
        wrapper = FileWrapper(file)
        assert wrapper.seekable()
        assert wrapper.seek(4) == wrapper.tell() == 4
        assert wrapper.seek(-1, os.SEEK_END) == 9
        assert next(wrapper) == b"9"


class Recorder:
    """A file without `close`."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def read(self, size: int) -> bytes:
        self.sizes.append(size)
        return b""


def test_default_block_size_and_file_without_close() -> None:
    file = Recorder()
    wrapper = FileWrapper(file)
    assert list(wrapper) == []
    assert file.sizes == [BLOCK_SIZE]
    assert not wrapper.seekable()
    wrapper.close()


def test_close_closes_the_file(path: Path) -> None:
    file: Any = path.open("rb")
    FileWrapper(file).close()
    assert file.closed
