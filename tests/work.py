"""Counting how many bytes the protocol looks at: what is quadratic shows without a clock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from aserve.http import scan

__all__ = ["CountedBuffer", "most_work", "pattern_work"]


class CountedBuffer(bytearray):
    """A buffer that counts the bytes that `find` passes.

    Args:
        data: What is in it at first.
    """

    work = 0

    def find(self, sub: bytes, start: int = 0, end: int | None = None) -> int:  # type: ignore[override]
        """See `bytearray.find`."""
        stop = len(self) if end is None else min(end, len(self))
        found = super().find(sub, start, stop)
        self.work += max(0, (stop if found < 0 else found) - start)
        return found


class _CountedPattern:
    """A regular expression that counts the bytes that it was given and did not refuse."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self.work = 0

    def search(self, data: bytes, start: int, end: int) -> re.Match[bytes] | None:
        self.work += max(0, end - start)
        return self._pattern.search(data, start, end)

    def match(self, data: bytes, start: int, end: int) -> re.Match[bytes] | None:
        found = self._pattern.match(data, start, end)
        self.work += found.end() - start if found else 0
        return found


@contextmanager
def pattern_work() -> Iterator[list[_CountedPattern]]:
    """While the block runs, the patterns of the head scanner count."""
    patterns = [_CountedPattern(scan._HOPELESS), _CountedPattern(scan._FIRST_LINE)]
    with mock.patch.multiple(scan, _HOPELESS=patterns[0], _FIRST_LINE=patterns[1]):
        yield patterns


def most_work(size: int, reads: int) -> int:
    """The most that may be counted for `size` bytes in `reads` reads.

    Each byte is passed by a handful of searches, and each read goes back by a few bytes; neither
    depends on what came before.
    """
    return 8 * size + 16 * reads + 64
