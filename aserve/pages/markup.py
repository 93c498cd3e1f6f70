"""Elements of HTML: what they hold is text, unless it is an element itself."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from ..harmless import harmless

__all__ = ["Content", "Markup", "element", "fragment", "json_block", "raw_block", "visible"]

_SPECIAL: Final = re.compile("[&<>\"']")
_NAMES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
_VOID: Final = frozenset({"link", "meta", "input"})


class Markup(str):
    """HTML that is complete and safe in itself; only this module makes it."""

    __slots__ = ()


# Of several, one stands after the other.
Content: TypeAlias = "str | Sequence[Content]"


def visible(text: str) -> str:
    """The text with escapes in place of what cannot be seen or sent; line ends are `\\n`."""
    return harmless(text.replace("\r\n", "\n"))


def _escape(text: str) -> str:
    text = visible(text)
    if _SPECIAL.search(text):
        return _SPECIAL.sub(lambda found: _NAMES[found[0]], text)
    return text


def fragment(content: Content) -> Markup:
    """Its parts, one after the other; those that are no elements as text."""
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return Markup(_escape(content))
    return Markup("".join([fragment(part) for part in content]))


def element(tag: str, content: Content = "", /, **attributes: str | bool) -> Markup:
    """An element.

    Args:
        tag: Its name.
        content: What is in it.
        attributes: `_` stands for `-`, and one at the end is dropped (`class_`); True is an
            attribute without a value, False is none.
    """
    words = [tag]
    for name, value in attributes.items():
        if value is True:
            words.append(name.rstrip("_").replace("_", "-"))
        elif value is not False:
            words.append(f'{name.rstrip("_").replace("_", "-")}="{_escape(value)}"')
    head = " ".join(words)
    if tag in _VOID:
        return Markup(f"<{head}>")
    return Markup(f"<{head}>{fragment(content)}</{tag}>")


def json_block(data: object, name: str) -> Markup:
    """Data for a script, in an element with this id: nothing in it can end the element."""
    text = json.dumps(data, ensure_ascii=True)
    for special in "<>&":
        text = text.replace(special, f"\\u{ord(special):04x}")
    return element("script", Markup(text), type="application/json", id=name)


def raw_block(tag: str, text: str, **attributes: str) -> Markup:
    """A style or a script of our own; not for anything that was handed in."""
    if f"</{tag}" in text.lower() or "<!--" in text:
        raise ValueError(f"this would end the <{tag}>")
    return element(tag, Markup(text), **attributes)
