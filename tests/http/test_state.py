"""The tables of states (RFC 9112 section 9)."""

from __future__ import annotations

import itertools

import pytest

from aserve.errors import LocalProtocolError
from aserve.http.state import (
    RECEIVING,
    SENDING,
    Receiving,
    Sending,
    move_receiving,
    move_sending,
)


def test_every_pair_of_receiving_moves_or_is_an_error() -> None:
    events = {event for _, event in RECEIVING}
    for state, event in itertools.product(Receiving, events):
        if (state, event) in RECEIVING:
            assert move_receiving(state, event) is RECEIVING[state, event]
        else:
            with pytest.raises(LocalProtocolError, match=state.value):
                move_receiving(state, event)


def test_every_pair_of_sending_moves_or_is_an_error() -> None:
    events = {event for _, event in SENDING}
    for state, event in itertools.product(Sending, events):
        if (state, event) in SENDING:
            assert move_sending(state, event) is SENDING[state, event]
        else:
            with pytest.raises(LocalProtocolError, match=state.value):
                move_sending(state, event)


def test_every_state_is_reached() -> None:
    assert {Receiving.HEAD, *RECEIVING.values()} == set(Receiving)
    # Breaking off is possible in every state, so it is no row of the table.
    assert {Sending.IDLE, *SENDING.values()} == set(Sending)


def test_nothing_is_sent_behind_the_end() -> None:
    assert not [event for state, event in SENDING if state is Sending.CLOSED]
    assert {RECEIVING[key] for key in RECEIVING if key[0] is Receiving.FAILED} == {Receiving.FAILED}
