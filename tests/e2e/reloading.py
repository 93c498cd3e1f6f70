"""Projects and servers for the edge cases of the reloader."""

from __future__ import annotations

import re
from typing import Any

from .conftest import Child, Start

__all__ = ["ANSWER", "only_reload", "serve", "took"]

# Behind lines that say what WORD is.
ANSWER = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [WORD if isinstance(WORD, bytes) else str(WORD).encode()]
"""

_LINE = r"aserve: (.*reloading.*) took (\d+) ms"


def serve(start: Start, *words: str, **variables: Any) -> Child:
    """`app.py` in the working directory, with the reloader, on a free port."""
    return start("app.py", "--port", "0", "--reload", *words, **variables)


def only_reload(child: Child) -> str:
    """What the log says of the one reload that there was.

    A load that was superseded has no line of its own; its files stand in the line of the next.
    """
    child.wait_for(_LINE)
    found = re.findall(_LINE, child.errors)
    assert len(found) == 1, child.errors
    return str(found[0][0])


def took(child: Child) -> int:
    """Milliseconds that the last reload took; waits for the first."""
    child.wait_for(_LINE)
    return int(re.findall(_LINE, child.errors)[-1][1])
