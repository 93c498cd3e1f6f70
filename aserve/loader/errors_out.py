"""Have frameworks let exceptions out, for a debugger around the app."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["announce_debugger", "let_errors_out"]


def announce_debugger() -> None:
    """Before the import: Flask asks its variable when an app is made. What is set stays."""
    os.environ.setdefault("FLASK_DEBUG", "1")


def let_errors_out(app: Any) -> None:
    """After the import: frameworks that are to be told themselves.

    Django with DEBUG off shows the site's own error page, and goes on doing so.
    """
    bottle = sys.modules.get("bottle")
    if bottle is not None and isinstance(app, bottle.Bottle):
        app.catchall = False
    django = sys.modules.get("django.conf")
    if django is not None and django.settings.configured and django.settings.DEBUG:
        django.settings.DEBUG_PROPAGATE_EXCEPTIONS = True
