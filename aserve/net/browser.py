"""The browser of the person in front of this machine, if there is one."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from pathlib import PurePath
from typing import Final

__all__ = ["has_browser", "open_browser"]

# A launcher that is still at work then is a browser in the foreground: it is open.
_PATIENCE_SECONDS: Final = 5.0

# They would take the terminal away from the program.
_TEXT_BROWSERS: Final = frozenset(
    {"www-browser", "lynx", "links", "links2", "elinks", "w3m", "browsh", "carbonyl"}
)


def has_browser(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Whether a browser that is opened here would be seen.

    Args:
        environ: The environment.
        platform: As in `sys.platform`.
    """
    if environ.get("BROWSER"):
        return True  # somebody has thought of it, e.g. the remote terminal of an editor
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return False  # it would open on the machine's screen, not on the person's
    if platform in ("darwin", "win32", "cygwin"):
        return True
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def open_browser(url: str) -> bool:
    """Open a page in the browser of the person in front of this machine.

    Without one it does nothing: on a machine without a display, over SSH (unless `BROWSER` is
    set), and where only a browser for the terminal is installed. Any thread; blocks until the
    browser's launcher has answered, 5 seconds at most. In async code, see
    `CallbackServer.open_browser`.

    Args:
        url: An address with `http` or `https`; what a server has sent may name others.

    Returns:
        Whether it is open; if not, show the URL. Nothing is ever raised.
    """
    if not url.lower().startswith(("http://", "https://")) or not has_browser():
        return False
    opened: list[bool] = []

    def work() -> None:
        opened.append(_open(url))

    # A browser that was not running may stay in the foreground until it is closed.
    thread = threading.Thread(target=work, name="aserve-open-browser", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread can be had
        return False
    thread.join(_PATIENCE_SECONDS)
    return opened[0] if opened else True


def _open(url: str) -> bool:
    try:
        import webbrowser

        # Not `webbrowser.open`: where the first browser fails it goes on to those for the terminal.
        browser = webbrowser.get()
        name = PurePath(str(getattr(browser, "name", ""))).name
        return name not in _TEXT_BROWSERS and bool(browser.open(url))
    except Exception:
        return False  # whatever a launcher raises, its caller can still show the URL
