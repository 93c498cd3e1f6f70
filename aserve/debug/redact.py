"""Which values are never shown: told by their names, for nothing else is known of them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus

__all__ = ["HIDDEN", "hide_pairs", "hide_quoted", "is_secret"]

# What is shown instead.
HIDDEN: Final = "<hidden>"

# Parts of a name, and a few names as a whole: `author` and `primary_key` are none.
_PARTS: Final = re.compile(
    r"pass(word|wd|phrase|code)|secret|token|credential|authori[sz]ation|api_?key|access_?key"
    r"|private_?key|signing_?key|session_?id|signature|cookie|csrf|xsrf|remember_?me",
    re.IGNORECASE,
)
_WHOLE: Final = frozenset(
    {"auth", "pwd", "pass", "pin", "otp", "jwt", "sid", "sessionid", "session", "code_verifier"}
)

# A pair in a query, wherever an URL is quoted, and who asks in one.
_PAIR: Final = re.compile(
    r"(?P<start>^|['\"?&;#])(?P<name>[^?&;#=(),\s'\"]+)=(?P<value>[^&#\s'\"]*)"
)
_USER: Final = re.compile(r"(?<=://)[^/\s@?#]*@")
# As classes write what they hold: `Login(password='x')`, `{'password': 'x'}`, `('password', 'x')`.
_QUOTED: Final = re.compile(
    r"""(?P<head>(?P<name>[\w-]+)(?:=|['"]\s*:\s*|(?<=\w)['"],\s*))b?(?P<quote>['"])"""
    r"""(?:(?!(?P=quote)).)*(?P=quote)?"""
)


def is_secret(name: str) -> bool:
    """Whether a variable, a header, a form field or a key with this name is to be hidden."""
    plain = name.replace("-", "_").removeprefix("HTTP_").lower()
    return plain.rpartition(".")[2] in _WHOLE or _PARTS.search(plain) is not None


def hide_pairs(text: str) -> str:
    """The text with the secrets hidden in all URLs of it, or in the query that it is."""
    if "=" not in text and "@" not in text:
        return text

    def hide(pair: re.Match[str]) -> str:
        if is_secret(unquote_plus(pair["name"])):
            return f"{pair['start']}{pair['name']}={HIDDEN}"
        return pair[0]

    return _USER.sub(f"{HIDDEN}@", _PAIR.sub(hide, text))


def hide_quoted(text: str) -> str:
    """The repr with what stands in quotes behind the name of a secret hidden, and `hide_pairs`."""

    def hide(pair: re.Match[str]) -> str:
        return f"{pair['head']}{HIDDEN}" if is_secret(pair["name"]) else pair[0]

    return hide_pairs(_QUOTED.sub(hide, text) if "'" in text or '"' in text else text)
