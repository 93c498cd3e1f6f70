"""`aserve.reload.generators`: what is drawn while modules are imported, and seeded again."""

from __future__ import annotations

import os
import random
import secrets
import sys
import types
from typing import Any

import pytest

from aserve.reload.generators import Generators


def test_generators_that_the_system_has_seeded_are_seeded_anew() -> None:
    drawn: list[int] = []
    generators = Generators(lambda: drawn.append(1))
    with generators.watch():
        own, fixed, changed = random.Random(), random.Random(7), random.Random()
        changed.seed(8)
    own_state, fixed_state, changed_state = (one.getstate() for one in (own, fixed, changed))
    generators.seed_anew()
    assert own.getstate() != own_state
    assert fixed.getstate() == fixed_state
    assert changed.getstate() == changed_state
    assert not drawn
    later = random.Random()  # is not watched any more
    state = later.getstate()
    generators.seed_anew()
    assert later.getstate() == state


@pytest.mark.parametrize(
    "draw", [lambda: os.urandom(3), secrets.token_hex, random.SystemRandom().random]
)
def test_a_number_is_told_of(draw: Any) -> None:
    drawn: list[int] = []
    with Generators(lambda: drawn.append(1)).watch():
        draw()
    assert drawn == [1]
    draw()
    assert drawn == [1]


def test_those_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As numpy makes them, in small; `nox -s packages` has the real ones."""
    numpy: Any = types.ModuleType("numpy.random.bit_generator")
    numpy.randbits = secrets.randbits

    class BitGenerator:
        def __init__(self, seed: int | None = None) -> None:
            entropy = numpy.randbits(128) if seed is None else seed
            self.seed_seq = types.SimpleNamespace(entropy=entropy)
            self.state = entropy

    numpy.BitGenerator = BitGenerator
    monkeypatch.setitem(sys.modules, numpy.__name__, numpy)
    drawn: list[int] = []
    generators = Generators(lambda: drawn.append(1))
    with generators.watch():
        generators.see("numpy.random")
        generators.see(numpy.__name__)
        own, fixed = BitGenerator(), BitGenerator(7)
    before = own.state
    generators.seed_anew()
    assert own.state != before
    assert fixed.state == 7
    assert not drawn
    assert numpy.randbits == secrets.randbits
