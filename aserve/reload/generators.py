"""Random numbers that modules draw, and generators that they make, when they are imported ahead.

A fork has the state of its parent, so all would draw the same. Generators that were seeded by the
system are seeded again in each process, those of `random` and of numpy. A number that was drawn
already cannot be drawn again: who does that is not imported ahead.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

__all__ = ["Generators"]

# Where numpy gets its seeds from, and what a generator is there.
_NUMPY: Final = "numpy.random.bit_generator"


class Generators:
    """Follows what is drawn while `watch` lasts. One at a time; main thread.

    Args:
        on_draw: Called for a number that nobody can draw again.
    """

    def __init__(self, on_draw: Callable[[], object]) -> None:
        self._on_draw = on_draw
        self._found: list[Any] = []
        self._drawn: set[int] = set()  # seeds of numpy's
        self._is_numpys = False
        self._usual_bits: Any = None

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """While modules are imported."""
        usual_random, usual_seed = os.urandom, random.Random.seed
        self._usual_random = usual_random
        os.urandom = random._urandom = self._urandom  # type: ignore[attr-defined]
        random.Random.seed = self._seeding(usual_seed)  # type: ignore[method-assign]
        try:
            yield
        finally:
            if self._usual_bits is not None:
                numpy: Any = sys.modules[_NUMPY]
                numpy.randbits = self._usual_bits
                self._collect(numpy.BitGenerator)
            random.Random.seed = usual_seed  # type: ignore[method-assign]
            os.urandom = random._urandom = usual_random  # type: ignore[attr-defined]

    def see(self, name: str) -> None:
        """This module was imported just now."""
        if name == _NUMPY:
            numpy: Any = sys.modules[name]
            self._usual_bits, numpy.randbits = numpy.randbits, self._bits

    def seed_anew(self) -> None:
        """In another process: by the system."""
        for generator in self._found:
            with contextlib.suppress(Exception):
                if isinstance(generator, random.Random):
                    generator.seed()
                else:
                    generator.state = type(generator)().state

    def _urandom(self, size: int, /) -> bytes:
        if not self._is_numpys:
            self._on_draw()
        return self._usual_random(size)

    def _bits(self, count: int) -> int:
        self._is_numpys = True
        try:
            bits: int = self._usual_bits(count)
        finally:
            self._is_numpys = False
        self._drawn.add(bits)
        return bits

    def _collect(self, kind: type) -> None:
        # By `type`: a lazy object that is asked for its class would set itself up. The cycles of
        # garbage among them do no harm.
        for one in gc.get_objects():
            if issubclass(type(one), kind):
                with contextlib.suppress(Exception):
                    if one.seed_seq.entropy in self._drawn:
                        self._found.append(one)

    def _seeding(self, usual: Callable[..., None]) -> Callable[..., None]:
        def seed(generator: random.Random, a: Any = None, version: int = 2) -> None:
            usual(generator, a, version)
            self._found = [one for one in self._found if one is not generator]
            if a is None:
                self._found.append(generator)

        return seed
