"""How the command line words what it has to tell."""

from __future__ import annotations

__all__ = ["sentence"]


def sentence(text: str) -> str:
    """With a full stop, unless it ends with a mark of its own."""
    return text if text.endswith((".", "?", "!", ")")) else f"{text}."
