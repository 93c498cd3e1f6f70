"""Servers in processes of their own, as people run them."""

from __future__ import annotations

from ..e2e.conftest import chromium, start

__all__ = ["chromium", "start"]
