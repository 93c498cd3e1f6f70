"""What Django's own reloader does beside reloading: it tells the app which files have changed.

Templates and translations are cached, also in development, and Django empties these caches when
`django.utils.autoreload.file_changed` is sent. Apps have receivers of their own. Here the events
come from the supervisor, whose watcher looks at the directories that receivers have asked for.
"""

# Django has no types, and need not be installed.
# mypy: disable-error-code="import-not-found, import-untyped, misc, no-any-return"

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..safe_log import get_logger

__all__ = ["Changes"]

_log = get_logger("aserve")


class Changes:
    """The receivers of an app that is made with Django.

    Args:
        reloader: What they know as the sender.
    """

    def __init__(self, reloader: Any) -> None:
        self._reloader = reloader

    @classmethod
    def of_this_process(cls) -> Changes | None:
        """Ask the receivers what they want to be told of; None where there is no Django."""
        apps = sys.modules.get("django.apps")
        if apps is None or not apps.apps.ready:
            return None
        from django.utils import autoreload, translation

        # The receivers for translations are connected where these are used first: in a command of
        # `manage.py` before it runs, in a WSGI application not before its first request.
        translation.get_language()
        reloader = autoreload.BaseReloader()
        for _, answer in autoreload.autoreload_started.send_robust(sender=reloader):
            if isinstance(answer, Exception):
                _log.error("a receiver of autoreload_started failed", exc_info=answer)
        return cls(reloader)

    def patterns(self) -> list[str]:
        """Patterns of `glob` for the files that receivers want to be told of."""
        found = {
            str(Path(directory) / pattern)
            for directory, patterns in self._reloader.directory_globs.items()
            for pattern in patterns
        }
        return sorted(found | set(map(str, self._reloader.extra_files)))

    def tell(self, path: str) -> bool:
        """A file has changed; whether a receiver has seen to it. Any thread."""
        from django.utils import autoreload

        answers = autoreload.file_changed.send_robust(sender=self._reloader, file_path=Path(path))
        for _, answer in answers:
            if isinstance(answer, Exception):
                _log.error("a receiver of file_changed failed", exc_info=answer)
        return any(answer and not isinstance(answer, Exception) for _, answer in answers)
