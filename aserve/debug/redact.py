"""Which values are never shown: told by their names, and in texts by their shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote, unquote_plus

__all__ = ["HIDDEN", "hide", "hide_pairs", "is_hidden", "is_secret"]

# What is shown instead.
HIDDEN: Final = "<hidden>"

# Parts of a name, wherever they stand: `author` and `primary_key` have none.
_PARTS: Final = re.compile(
    r"pass(word|wd|phrase|code)|secret|token|credential|authori[sz]ation|api_?key|access_?key"
    r"|private_?key|signing_?key|session_?id|signature|cookie|csrf|xsrf|remember_?me"
    r"|saml_?(response|request)|code_verifier"
)
# Words of a name, between underscores and dots.
_WORDS: Final = frozenset(
    {
        "auth", "pwd", "pw", "pass", "pin", "otp", "totp", "jwt", "sid", "sessionid", "salt", "cvv",
        "cvc", "dpop", "sig",
    }
)  # fmt: skip
# `*_KEY` opens something, unless it is one of these.
_KEYS_OF_NOTHING: Final = frozenset({"primary", "foreign", "cache", "sort", "partition", "public"})
# A session of a user is one, a session of a database is none: so they count as text and as mapping.
_SESSION: Final = "session"
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def is_secret(name: str) -> bool:
    """Whether a variable, a header, a form field or a key with this name is to be hidden."""
    bare = name.replace("-", "_").removeprefix("HTTP_")
    plain = _CAMEL.sub("_", bare).lower()
    if _PARTS.search(plain):
        return True
    words = re.split(r"[_.]", plain)
    if plain == _SESSION or not _WORDS.isdisjoint((*words, bare.lower())):
        return True
    return len(words) > 1 and words[-1] == "key" and words[-2] not in _KEYS_OF_NOTHING


def is_hidden(name: str, value: object) -> bool:
    """Whether this value is to be hidden, because of its name. Runs no code of it."""
    if not is_secret(name):
        return False
    return name.lower() != _SESSION or issubclass(
        type(value), str | bytes | bytearray | dict | Mapping
    )


# A pair in a query, wherever an URL is quoted, and who asks in one.
_PAIR: Final = re.compile(
    r"(?P<start>^|['\"?&;#])(?P<name>[^?&;#=(),\s'\"]+)=(?P<value>[^&#\s'\"]*)"
)
# The password may hold anything, so the last @ counts; behind the colon of a port stands a path.
_USER: Final = re.compile(r"(?<=://)(?:[^\s/?#@:'\"<>]*:(?!\d+[/?#])[^\s'\"<>]*|[^\s/?#@'\"<>]*)@")


def hide_pairs(text: str, levels: int = 3) -> str:
    """The text with the secrets hidden in all URLs of it, or in the query that it is.

    Args:
        text: Any.
        levels: How many URLs in the queries of URLs are looked into.
    """
    if "=" not in text and "@" not in text:
        return text
    names = {unquote_plus(pair["name"]) for pair in _PAIR.finditer(text)}
    # The answer of an authorization server (RFC 6749 section 4.1.2): who has it can take the token.
    is_answer = "state" in names

    def hide_pair(pair: re.Match[str]) -> str:
        name, value = unquote_plus(pair["name"]), pair["value"]
        start = f"{pair['start']}{pair['name']}="
        if is_secret(name) or (is_answer and name == "code"):
            return start + HIDDEN
        # The address of another page, with a query of its own.
        inner = _unquoted(value)
        if "=" in inner and levels and (shown := hide_pairs(inner, levels - 1)) != inner:
            return start + quote(shown, safe="/:<>=?")
        return pair[0]

    return _USER.sub(f"{HIDDEN}@", _PAIR.sub(hide_pair, text))


def _unquoted(value: str) -> str:
    for _ in range(3):  # addresses of pages that lead to pages
        if "%" not in value:
            break
        value = unquote(value)
    return value


# Texts of other people: reprs, messages, files. What is a secret there is told by (1) its look, (2)
# the field of a header in front of it, (3) the name in quotes or behind which an equal sign stands.

# (1) RFC 7468, RFC 7519, and what services put in front of their keys.
_LOOKS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?"
    r"|\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|[rs]k_(?:live|test)_\w{10,}|xox[abprs]-[\w-]{10,}"
    r"|A[KS]IA[0-9A-Z]{16})",
    re.DOTALL,
)
# (2) To the end of the line, which a repr writes as an escape, or of the quotes around.
_FIELD: Final = re.compile(
    r"(?P<head>\b(?:(?:proxy-)?authorization|(?:set-)?cookie|dpop|x-[\w-]*(?:key|token|jwt|otp|auth)"
    r"[\w-]*)\s*:\s*)(?!['\"])(?:(?!\\[rn]|['\"]).)+",
    re.IGNORECASE,
)
# (3) A value is in quotes, with the backslashes that stand in front of them when it was quoted
# once more; in brackets; or one word. In a file of variables it goes to the end of the line.
_QUOTED: Final = r"""b?(?P<{0}>\\*['"])(?:(?!(?<!\\)(?P={0})).)*(?:(?<!\\)(?P={0})|\Z)"""
_VALUE: Final = (
    r"(?:" + _QUOTED.format("quote") + r"|\[[^\]]*(?:\]|\Z)|\{[^}]*(?:\}|\Z)|\([^)]*(?:\)|\Z)"
    r"|[^\s,;&)}\]'\"\\]+)"
)
_NAMED: Final = re.compile(
    r"(?P<head>(?P<around>\\*['\"])(?P<key>[\w.-]+)(?P=around)\s*(?::|,|=>)\s*"
    r"|(?P<name>[\w.-]+)\s?=\s?(?!=))" + _VALUE,
    re.DOTALL,
)
_LINE: Final = re.compile(
    r"(?P<head>(?:^|\\n|['\"])(?:export\s+)?(?P<name>[A-Z][A-Z0-9_]*)=)(?:(?!\\[rn]|['\"\r\n&]).)+",
    re.MULTILINE,
)
_YAML: Final = re.compile(
    r"(?P<head>(?:^|\\n)\s*(?P<name>[\w.-]+):[ \t]+)(?:(?!\\[rn]|[\r\n]).)+", re.MULTILINE
)


def hide(text: str) -> str:
    """A text of anybody with the secrets in it hidden: a repr, a message, what a file says."""
    if "=" in text or ":" in text or "," in text:
        for shape in (_LINE, _YAML, _NAMED):
            text = shape.sub(_hide_named, text)
        text = _FIELD.sub(rf"\g<head>{HIDDEN}", text)
    return hide_pairs(_LOOKS.sub(HIDDEN, text))


def _hide_named(found: re.Match[str]) -> str:
    groups = found.groupdict()
    name = groups.get("name") or groups.get("key") or ""
    return f"{found['head']}{HIDDEN}" if is_secret(name) and name != _SESSION else found[0]
