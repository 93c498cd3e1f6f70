"""Receiving what a browser or a webhook brings: OAuth's loopback redirect (RFC 8252)."""

from __future__ import annotations

from .messages import CallbackAnswer, CallbackRequest
from .options import CallbackOptions
from .server import CallbackServer, wait_for_callback

__all__ = [
    "CallbackAnswer",
    "CallbackOptions",
    "CallbackRequest",
    "CallbackServer",
    "wait_for_callback",
]
