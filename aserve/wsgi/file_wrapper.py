"""`wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

import io
import os
import stat
from typing import IO, Any, Final

__all__ = ["BLOCK_SIZE", "FileWrapper"]

# What one read brings when the kernel cannot send the file by itself. The applications
# choose 8 KiB (wsgiref's default), which costs eight times the calls for nothing.
BLOCK_SIZE: Final = 65_536


class FileWrapper:
    """An iterator over a file, which the server recognises and lets the kernel send.

    Args:
        file: Anything with `read(size)`; `close` is called if it has one.
        block_size: Bytes per read, when it has to be read.
    """

    def __init__(self, file: IO[bytes] | Any, block_size: int = BLOCK_SIZE) -> None:
        self.file = file
        self.block_size = block_size

    def __iter__(self) -> FileWrapper:
        """Itself, so that whoever takes `iter()` of it can still close the file."""
        return self

    def __next__(self) -> bytes:
        """The next block."""
        data: bytes = self.file.read(self.block_size)
        if data:
            return data
        raise StopIteration

    # Werkzeug's answers to Range requests look for these three, and without them read
    # through all of the file in front of the range.

    def seekable(self) -> bool:
        """Whether `seek` and `tell` work."""
        return hasattr(self.file, "seekable") and bool(self.file.seekable())

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the file's position; as `io.IOBase.seek`."""
        return int(self.file.seek(offset, whence))

    def tell(self) -> int:
        """The file's position in bytes."""
        return int(self.file.tell())

    def close(self) -> None:
        """Close the file."""
        if hasattr(self.file, "close"):
            self.file.close()

    def region(self) -> tuple[int, int, int] | None:
        """(descriptor, offset, bytes) from the current position to the end of a regular file.

        None when the kernel cannot send it: no descriptor, or a pipe or device behind it, or
        a file object that shows something else than the bytes on the disk (gzip, text); and
        when nothing seems to be there.
        """
        # Wrappers such as gzip and tarfile have a fileno of what lies beneath, and a subclass
        # may count or change what it reads, so go by the exact type: only these read the
        # descriptor's own bytes.
        file: Any = self.file
        raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
        if type(raw) is not io.FileIO:
            return None
        try:
            descriptor = raw.fileno()
            status = os.fstat(descriptor)
            offset = file.tell()
        except (OSError, ValueError):
            return None
        # Files of /proc claim to be empty and are not: who reads them finds out.
        if not stat.S_ISREG(status.st_mode) or status.st_size <= offset:
            return None
        return descriptor, offset, status.st_size - offset
