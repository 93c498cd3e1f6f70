"""Secrets that a process has to keep, where nobody who looks through its objects finds them.

The debugger shows what the variables of a frame lead to. From there every object of the process can
be reached, by way of modules, closures and classes, so no attribute is a hidden place. What is kept
here is encrypted, and the key exists inside of a hash object of C alone.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["HIDDEN", "Sealed", "hide_known"]

# What is shown instead of a secret.
HIDDEN: Final = "<hidden>"

_BLOCK: Final = 32  # bytes of a SHA-256
# Digits, and what people put between them.
_DIGITS: Final = "0123456789"
_ANY_DIGIT: Final = tuple(_DIGITS)
_RUN: Final = re.compile(r"[0-9](?:[\s._,\u2010-\u2015-]?[0-9]){3,}")
# A longer one stands in no other number by chance.
_LONG: Final = 8


class Sealed:
    """A text that only a call can read; no protection from code that runs here. Any thread.

    It can be copied and pickled, so that it reaches other processes; its bytes are in the pickle.

    Args:
        text: What to keep. Whoever hands it in should not keep it.
    """

    __slots__ = ("_bytes", "_stream")

    def __init__(self, text: str) -> None:
        # Imported where they are needed: most programs have no secret.
        import hmac
        import secrets

        # The key is not kept: it went into the state of this object, which Python cannot see.
        self._stream = hmac.new(secrets.token_bytes(_BLOCK), digestmod="sha256")
        self._bytes = self._mixed(text.encode("utf-8", "surrogatepass"))

    @classmethod
    def of(cls, value: str | Sealed) -> Sealed:
        """The value, sealed unless it is."""
        return value if isinstance(value, Sealed) else cls(value)

    def _mixed(self, data: bytes) -> bytes:
        """The data with the stream of the key laid over it, or taken off again."""
        made = bytearray()
        for start in range(0, len(data), _BLOCK):
            block = self._stream.copy()
            block.update(start.to_bytes(8, "big"))
            made += bytes(
                a ^ b for a, b in zip(data[start : start + _BLOCK], block.digest(), strict=False)
            )
        return bytes(made)

    def reveal(self) -> str:
        """The text. Let go of it at once: what holds it can be found."""
        return self._mixed(self._bytes).decode("utf-8", "surrogatepass")

    def hide_everywhere(self) -> Sealed:
        """From here on `hide_known` hides it; returns the object itself. Any thread."""
        if self not in _known:
            _known.append(self)
        return self

    def hide_in(self, text: str, instead: str = HIDDEN) -> str:
        """The text with a secret that consists of digits replaced, however they are grouped.

        Args:
            text: Any.
            instead: What is put there.
        """
        return _RUN.sub(lambda run: self._hide_in_run(run[0], instead), text)

    def _hide_in_run(self, run: str, instead: str) -> str:
        # Compared by hand: `re` keeps the patterns that it has compiled. A digit in front may be
        # the end of an escape, such as %22.
        digits = _digits_of(self.reveal())
        places = [at for at, char in enumerate(run) if char in _DIGITS]
        compact = _digits_of(run)
        shown, done, at = [], 0, compact.find(digits) if digits else -1
        while at >= 0:
            start, end = places[at], places[at + len(digits) - 1] + 1
            is_part = run[start - 1 : start] in _ANY_DIGIT or run[end : end + 1] in _ANY_DIGIT
            if len(digits) >= _LONG or not is_part:
                shown += [run[done:start], instead]
                done = end
            at = compact.find(digits, at + len(digits))
        return "".join([*shown, run[done:]])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(Sealed)

    def __repr__(self) -> str:
        return "<sealed>"

    def __copy__(self) -> Sealed:
        return self

    def __deepcopy__(self, memo: object) -> Sealed:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Sealed, (self.reveal(),)


def _digits_of(text: str) -> str:
    return "".join(char for char in text if char in _DIGITS)


_known: Final[list[Sealed]] = []


def hide_known(text: str) -> str:
    """The text without the secrets of this process: for logs, and for what others are told."""
    for sealed in _known:
        text = sealed.hide_in(text)
    return text
