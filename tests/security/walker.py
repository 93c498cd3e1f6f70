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
    if type(item) is types.ModuleType and item.__name__ == "_asyncio":
        # That of 3.12 visits iterators it has freed, too: to hold one for a moment ties its list
        # of them into a ring, and the next visit never ends.
        return [item.__dict__]
    parts = gc.get_referents(item)
    if type(item) is types.FrameType:  # while it runs, the collector does not look into it
        parts += [item.f_globals, item.f_builtins, item.f_code, *item.f_locals.values()]
        parts += [item.f_back] if item.f_back is not None else []
    return parts


def find(mask: str, token: str) -> list[str]:
    """Ways to a PIN, to a digest of it that can be made fast, or to the secret of the run.

    They begin at the frames that call this, and at those of all other threads.

    Args:
        mask: The PIN, masked.
        token: That of the page, masked: it is derived from the secret of the run.
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

    page = unmasked(token)

    def is_secret(key: bytes) -> bool:
        return hashlib.sha256(b"aserve debug token\0" + key).hexdigest()[:32] == page

    def is_hit(item: Any) -> bool:
        kind = type(item)
        if issubclass(kind, str):
            is_hex = len(item) == 64 and set(item) <= set("0123456789abcdef")
            return (is_hex and is_secret(bytes.fromhex(item))) or any(
                text in item for text in texts
            )
        if issubclass(kind, bytes | bytearray):
            return (len(item) == 32 and is_secret(bytes(item))) or any(text in item for text in raw)
        return kind is int and item in numbers

    here = sys._getframe()
    frames = []
    for frame in [here.f_back, *sys._current_frames().values()]:
        while frame is not None:
            if frame is not here and frame not in frames:
                frames.append(frame)
            frame = frame.f_back
    mine = {id(each) for each in (here, texts, raw, numbers, digests, forms, page)}
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
