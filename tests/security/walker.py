"""Follows every reference from the frames of a request; part of the apps that are served.

Nothing of the tests is imported here: the file is copied beside the app.
"""

from __future__ import annotations

import gc
import hashlib
import sys
import types
from collections import deque
from typing import Any


def unmasked(text: str) -> str:
    """What the tests have masked: in plain text, the question itself would be found."""
    return bytes(byte ^ 0x55 for byte in bytes.fromhex(text)).decode()


def parts_of(item: Any) -> list[Any]:
    """What an object refers to, past everything that its class says."""
    parts = gc.get_referents(item)
    if type(item) is types.FrameType:  # while it runs, the collector does not look into it
        parts += [item.f_globals, item.f_builtins, item.f_code, *item.f_locals.values()]
    return parts


def find(mask: str) -> list[str]:
    """Ways to a PIN, or to a digest of it that can be made fast, from the frames that call this.

    Args:
        mask: The PIN, masked.
    """
    pin = unmasked(mask)
    forms = [pin, pin.replace("-", "")]
    digests = [
        made(form.encode())
        for form in forms
        for made in (hashlib.sha256, hashlib.sha1, hashlib.md5, hashlib.blake2b, hashlib.sha512)
    ]
    texts = [*forms, *(digest.hexdigest() for digest in digests)]
    raw = [*(text.encode() for text in texts), *(digest.digest() for digest in digests)]
    numbers = {int(forms[1])}

    def is_hit(item: Any) -> bool:
        kind = type(item)
        if issubclass(kind, str):
            return any(text in item for text in texts)
        if issubclass(kind, bytes | bytearray):
            return any(text in item for text in raw)
        return kind is int and item in numbers

    here = sys._getframe()
    frames = []
    frame = here.f_back
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    mine = {id(each) for each in (here, texts, raw, numbers, digests, forms)}
    # Thirty thousand of them and more; how each was come to is kept as the id before it.
    came_from = dict.fromkeys(map(id, frames), 0)
    kinds = dict.fromkeys(map(id, frames), "frame")
    kept: list[Any] = frames[:]
    queue: deque[Any] = deque(kept)
    mine |= {id(frames), id(came_from), id(kinds), id(kept), id(queue), id(mine)}
    found = []
    while queue:
        item = queue.popleft()
        for part in parts_of(item):
            number = id(part)
            if number in came_from or number in mine:
                continue
            came_from[number] = id(item)
            kinds[number] = type(part).__qualname__
            kept.append(part)
            if is_hit(part):
                way, at = [repr(part)[:40]], number
                while at:
                    way.append(kinds[at])
                    at = came_from[at]
                found.append(" < ".join(way))
            queue.append(part)
    return [f"walked {len(kept)}", *found]
