"""Which values are never shown: told by their names, and in texts by their shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote, unquote_plus

from ..sealed import HIDDEN

__all__ = ["HIDDEN", "hide", "hide_pairs", "is_hidden", "is_secret"]

# Parts of a name, wherever they stand: `author` and `primary_key` have none.
_PARTS: Final = re.compile(
    r"pass(word|wd|phrase|code)|secret(?!ar)|token(?!i[sz])|credential|authori[sz]ation|api_?key"
    r"|access_?key|private_?key|signing_?key|session_?id|signature|cookie(?!cutter)|csrf|xsrf"
    r"|remember_?me|saml_?(response|request)|code_verifier"
)
# Words of a name, between underscores and dots.
_WORDS: Final = frozenset(
    {
        "auth", "pwd", "pw", "pass", "pin", "otp", "totp", "jwt", "sid", "sessionid", "salt", "cvv",
        "cvc", "dpop", "sig",
    }
)  # fmt: skip
# `*_KEY` opens something, unless it is one of these.
_KEYS_OF_NOTHING: Final = frozenset(
    {
        "primary", "foreign", "cache", "sort", "partition", "public", "row", "object", "routing",
        "unique", "natural", "translation", "composite", "lookup", "index", "group", "item",
        "idempotency",
    }
)  # fmt: skip
# The last word of what only tells of a secret: SESSION_COOKIE_NAME, jwt_algorithm, token_count.
_ABOUT: Final = frozenset(
    {
        "age", "algorithm", "algorithms", "backend", "backends", "class", "count", "digits",
        "domain", "expires", "expiry", "form", "field", "httponly", "ids", "length", "lifetime",
        "model", "name", "names", "path", "samesite", "secure", "type", "types", "url", "uri",
        "validators",
    }
)  # fmt: skip
_SESSION: Final = "session"
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def is_secret(name: str) -> bool:
    """Whether a variable, a header, a form field or a key with this name is to be hidden."""
    bare = name.replace("-", "_").removeprefix("HTTP_")
    plain = _CAMEL.sub("_", bare).lower()
    words = re.split(r"[_.]", plain)
    if words[-1] in _ABOUT:
        return False
    if _PARTS.search(plain):
        return True
    if plain == _SESSION or not _WORDS.isdisjoint((*words, bare.lower())):
        return True
    return len(words) > 1 and words[-1] == "key" and words[-2] not in _KEYS_OF_NOTHING


def is_hidden(name: str, value: object) -> bool:
    """Whether this value is to be hidden, because of its name. Runs no code of it."""
    if not is_secret(name):
        return False
    if type(value) in (bool, int, type(None)) and (value is None or _is_counted(name)):
        return False
    return name.lower() != _SESSION or issubclass(
        type(value), str | bytes | bytearray | dict | Mapping
    )


def _is_counted(name: str) -> bool:
    """Whether a number at this name counts what it is called: `max_tokens`, `USE_CSRF`."""
    return name.lower().endswith(("tokens", "cookies", "secrets", "passwords", "csrf"))


# A pair in a query, wherever an URL is quoted, and who asks in one.
_PAIR: Final = re.compile(
    r"(?P<start>^|['\"?&;#])(?P<name>[^?&;#=(),\s'\"]+)=(?P<value>[^&#\s'\"]*)"
)
# The password may hold anything, so the last @ counts; behind the colon of a port stands a path.
_USER: Final = re.compile(
    r"(?<=://)(?!(?:git|ftp|hg|ssh)@)(?:[^\s/?#@:'\"<>]*:(?!\d+[/?#])[^\s'\"<>]*|[^\s/?#@'\"<>]*)@"
)


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
    r"|\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|[rs]k_(?:live|test)_\w{10,}"
    r"|sk-[\w-]{20,}|whsec_\w{16,}|xox[abprs]-[\w-]{10,}|xapp-[\w-]{10,}|A[KS]IA[0-9A-Z]{16}"
    r"|AIza[\w-]{30,}|npm_\w{30,}|hf_\w{20,}|pypi-[\w-]{20,}|SG\.[\w-]{16,}\.[\w-]{16,})"
    r"|\b(?<=Bearer )[\w.~+/=-]{8,}",
    re.DOTALL,
)
# (2) To the end of the line, which a repr writes as an escape, or of the quotes around.
_FIELD: Final = re.compile(
    r"(?P<head>\b(?:(?:proxy-)?authorization|(?:set-)?cookie|dpop|x-[\w-]*(?:key|token|jwt|otp|auth)"
    r"[\w-]*)\s*:\s*)(?!['\"])(?:(?!\\[rn]|['\"]).)+",
    re.IGNORECASE,
)
# (3) A name, and what stands between it and its value.
_HEAD: Final = re.compile(
    r"(?P<around>\\*['\"])(?P<key>[\w.-]+)(?P=around)\s{0,3}(?::|=>)\s{0,3}"
    r"|\(\s{0,3}b?(?P<quoted>\\*['\"])(?P<first>[\w.-]+)(?P=quoted)\s{0,3},\s{0,3}"
    r"|\((?P<column>[\w.]+)\)="
    r"|--(?P<flag>[a-z][\w-]+)[ =]"
    r"|(?P<name>[\w.-]+)\]?\s{0,3}=\s{0,3}(?!=)"
)
# A value: in quotes, with the backslashes that stand in front of them when it was quoted once more,
# perhaps as the argument of a call; or one word, perhaps behind the kind of a credential.
_QUOTED: Final = re.compile(
    r"""(?:[A-Za-z_][\w.]*\()?[bru]{0,2}(?P<quote>\\*['"])(?:(?!(?<!\\)(?P=quote)).)*"""
    r"""(?:(?<!\\)(?P=quote)|\Z)""",
    re.DOTALL,
)
_WORD: Final = re.compile(r"(?:(?:Bearer|Basic|Token|Digest) )?[^\s,;&)}\]'\"\\]+", re.IGNORECASE)
_BRACKETS: Final = {"[": "]", "{": "}", "(": ")"}
_LINE: Final = re.compile(
    r"(?P<head>(?:^|\\n|['\"])(?:export\s+)?(?P<name>[A-Z][A-Z0-9_]*)=)(?:(?!\\[rn]|['\"\r\n&]).)+",
    re.MULTILINE,
)
_YAML: Final = re.compile(
    r"(?P<head>(?:^|\\n)[\s-]*(?P<name>[\w.-]+):[ \t]+)"
    # In code an annotation stands there.
    r"(?!(?:str|int|bytes|bool|float|Any|None|SecretStr|Optional|list|dict)\b)"
    r"(?:\|[ \t]*(?:\n|\\n)\s*)?(?:(?!\\[rn]|[\r\n]).)+",
    re.MULTILINE,
)


def hide(text: str) -> str:
    """A text of anybody with the secrets in it hidden: a repr, a message, what a file says."""
    if "=" in text or ":" in text or "," in text or "--" in text:
        for shape in (_LINE, _YAML):
            text = shape.sub(_hide_named, text)
        text = _FIELD.sub(rf"\g<head>{HIDDEN}", _hide_values(text))
    return hide_pairs(_LOOKS.sub(HIDDEN, text))


def _hide_named(found: re.Match[str]) -> str:
    is_hidden_ = is_secret(found["name"]) and found["name"] != _SESSION
    return f"{found['head']}{HIDDEN}" if is_hidden_ else found[0]


def _hide_values(text: str) -> str:
    """What stands behind names, at any depth: of a name that is none of a secret, only that."""
    shown, done = [], 0
    for head in _HEAD.finditer(text):
        if head.start() < done:
            continue  # in what is hidden
        name = next(filter(None, (head[one] for one in _NAMES)), "")
        if not is_secret(name) or name == _SESSION:
            continue
        end = _end_of_value(text, head.end())
        value = text[head.end() : end]
        if not value or (value.isdecimal() and _is_counted(name)):
            continue
        shown += [text[done : head.end()], HIDDEN]
        done = end
    return "".join([*shown, text[done:]])


_NAMES: Final = ("key", "first", "column", "flag", "name")


def _end_of_value(text: str, start: int) -> int:
    if text.startswith(HIDDEN, start):
        return start + len(HIDDEN)
    if text[start : start + 1] in _BRACKETS:
        return _end_of_brackets(text, start)
    if found := _QUOTED.match(text, start):
        is_call = found[0][0] not in "'\"\\" and "(" in found[0].partition("'")[0].partition('"')[0]
        return _end_of_call(text, found.end()) if is_call else found.end()
    found = _WORD.match(text, start)
    return found.end() if found else start


def _end_of_call(text: str, start: int) -> int:
    end = text.find(")", start)
    return len(text) if end < 0 else end + 1


def _end_of_brackets(text: str, start: int) -> int:
    """Behind the bracket that closes the one that stands there; the end where there is none."""
    opened: list[str] = []
    for at in range(start, len(text)):
        char = text[at]
        if char in _BRACKETS:
            opened.append(_BRACKETS[char])
        elif opened and char == opened[-1]:
            opened.pop()
            if not opened:
                return at + 1
    return len(text)
