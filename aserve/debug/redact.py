"""Which values are never shown: told by their names, for nothing else is known of them."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["HIDDEN", "is_secret"]

# What is shown instead.
HIDDEN: Final = "<hidden>"

# Parts of a name, and a few names as a whole: `author` and `primary_key` are none.
_PARTS: Final = re.compile(
    r"pass(word|wd|phrase|code)|secret|token|credential|authori[sz]ation|api_?key|access_?key"
    r"|private_?key|signing_?key|session_?id|signature|cookie|csrf|xsrf",
    re.IGNORECASE,
)
_WHOLE: Final = frozenset(
    {"auth", "pwd", "pass", "pin", "otp", "jwt", "sid", "sessionid", "session", "code_verifier"}
)


def is_secret(name: str) -> bool:
    """Whether a variable, a header, a form field or a key with this name is to be hidden."""
    plain = name.replace("-", "_").removeprefix("HTTP_").lower()
    return plain in _WHOLE or _PARTS.search(plain) is not None
