"""However the bytes of a client are cut into packets, they mean the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aserve.config import Limits

from .parsing import TIGHT, facts, parse_all
from .strategies import mutated, pipelines, splits


def check(data: bytes, pieces: list[bytes], limits: Limits) -> None:
    whole = facts(parse_all([data], limits))
    assert facts(parse_all(pieces, limits)) == whole
    assert facts(parse_all([bytes([byte]) for byte in data], limits)) == whole


@given(st.data())
def test_good_requests(data: st.DataObject) -> None:
    """RFC 9112 section 2.1: a message is a sequence of bytes, not of packets."""
    stream = data.draw(pipelines())
    check(stream, data.draw(splits(stream)), Limits())
    assert parse_all([stream], Limits()).failure is None


@pytest.mark.parametrize("limits", [Limits(), TIGHT], ids=["limits", "tight limits"])
@given(data=st.data())
def test_broken_requests(limits: Limits, data: st.DataObject) -> None:
    """The same events up to the same failure, or to none."""
    stream = data.draw(mutated())
    check(stream, data.draw(splits(stream)), limits)


@given(st.binary(max_size=200), st.data())
def test_noise(stream: bytes, data: st.DataObject) -> None:
    check(stream, data.draw(splits(stream)), TIGHT)
