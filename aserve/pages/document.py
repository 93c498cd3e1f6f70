"""A whole page: one HTML document with all that it needs in it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from .markup import Content, Markup, element, json_block, raw_block

__all__ = ["HOUSE", "asset", "document", "style_hash"]

# The stylesheet of all pages, by folder and file below this package.
HOUSE: Final = "pages/assets/house.css"
_MOST_OF_TITLE: Final = 150


def document(
    title: str,
    body: Content,
    *,
    nonce: str = "",
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    data: object = None,
    class_: str = "",
) -> str:
    """The text of a page; it can be encoded as UTF-8 whatever is in it.

    Args:
        title: Of the window; a long one is cut.
        body: What is in it.
        nonce: Of the policy of the response, for the style and the script; empty without one.
        styles: Files behind the stylesheet of the house; see `asset`.
        scripts: Files that make one module, in this order.
        data: What the script reads from the element `settings`, as JSON.
        class_: Of the root.
    """
    if len(title) > _MOST_OF_TITLE:
        title = title[:_MOST_OF_TITLE] + "…"
    with_nonce = {"nonce": nonce} if nonce else {}
    head: list[Content] = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        raw_block("style", _joined((HOUSE, *styles)), **with_nonce),
    ]
    tail: list[Content] = []
    if scripts:
        tail = [
            json_block(data, "settings"),
            raw_block("script", _joined(tuple(scripts)), type="module", **with_nonce),
        ]
    whole = [element("head", head), element("body", [body, tail])]
    page = element("html", whole, lang="en", class_=class_ or False)
    return f"<!doctype html>\n{page}\n"


@cache
def asset(name: str) -> str:
    """The text of a file of the package, e.g. `pages/assets/house.css`; also from a zip file."""
    place = files("aserve")
    for part in name.split("/"):
        place = place / part
    return place.read_text("utf-8")


@cache
def _joined(names: tuple[str, ...]) -> Markup:
    return Markup("\n".join(map(asset, names)))


def style_hash() -> str:
    """The source of the house's stylesheet in a policy, for pages without a nonce (CSP 3)."""
    digest = hashlib.sha256(_joined((HOUSE,)).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
