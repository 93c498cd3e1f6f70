"""h11 as a second opinion: where both accept a request, they must have read the same one."""

from __future__ import annotations

from hypothesis import assume, given

from .oracle import by_us, compare
from .strategies import mutated, requests


@given(requests())
def test_good_requests(data: bytes) -> None:
    """h11 takes no spaces in front of a chunk extension, and no UTF-8 in targets."""
    assert by_us(data) is not None
    assert compare(data) is not None or b" ;" in data or b"\xc3" in data


@given(mutated())
def test_broken_requests(data: bytes) -> None:
    assume(compare(data) is not None)
