"""The pages that the supervisor shows: why the app cannot be loaded, or that it is being loaded."""

from __future__ import annotations

import asyncio
import hmac
import html
import linecache
import re
import secrets
from collections.abc import Iterator
from typing import Any, Final, Protocol

from ..harmless import harmless
from .asked import Asked

__all__ = ["Content", "ErrorContent", "LoadingContent", "answer_of"]

# Where the script of a page waits. The token is in a field: an address ends up in logs, and no
# page of another origin can send such a field without being asked first.
_QUESTION: Final = "/.aserve/changed"
_TOKEN_FIELD: Final = "X-Aserve-Reload"

_STYLE: Final = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;"
    "margin:3rem auto;padding:0 1rem}h1{font-size:1.3rem}pre{overflow-x:auto;padding:1rem;"
    "border:1px solid #8886;border-left:4px solid #c33;font-size:.875rem;line-height:1.45}"
    "h2{font-size:1rem;margin:1.5rem 0 .3rem}h2+pre{border-left-color:#8886;margin-top:0}"
    "mark{background:#c333;color:inherit;font-weight:600}p{opacity:.8}"
)

# A frame of a traceback, as Python prints it.
_FRAME: Final = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+)(?:, in (?P<name>.+))?$')
_LINES_AROUND: Final = 3
_MOST_EXCERPTS: Final = 8


class Content(Protocol):
    """What is answered, and whom."""

    def is_for(self, asked: Asked) -> bool:
        """Whether a request is answered here, and not by the next generation."""
        ...

    async def answer(self, asked: Asked, changed: asyncio.Event, *, is_shown: bool) -> bytes:
        """The whole response.

        Args:
            asked: The request.
            changed: Set when there is something new.
            is_shown: Whether whoever asks may see what there is to say.
        """
        ...


class _Reloading:
    """A page that loads itself again when something has changed."""

    status: str
    # For those who may not know more.
    hidden: bytes

    def __init__(self) -> None:
        self._token = secrets.token_urlsafe(16)

    async def answer(self, asked: Asked, changed: asyncio.Event, *, is_shown: bool) -> bytes:
        """See `Content`."""
        if asked.target == _QUESTION:
            if not (is_shown and self._is_own(asked)):
                return answer_of("403 Forbidden", b"This is no page of this run.\n")
            await changed.wait()
            return answer_of("204 No Content")
        if not is_shown:
            answer = answer_of(self.status, self.hidden)
        elif "text/html" in asked.fields.get("accept", "") or not (text := self._plain()):
            nonce = secrets.token_urlsafe(16)
            answer = answer_of(self.status, _encoded(self._html(nonce)), nonce=nonce)
        else:
            answer = answer_of(self.status, _encoded(harmless(text)))
        return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if _is_head(asked) else answer

    def _is_own(self, asked: Asked) -> bool:
        """Whether a question comes from this page; `is_shown` says that its origin is ours."""
        given = asked.fields.get(_TOKEN_FIELD.lower(), "").encode()
        return asked.method == "GET" and hmac.compare_digest(given, self._token.encode())

    def _html(self, nonce: str) -> str:
        raise NotImplementedError

    def _plain(self) -> str:
        """The same for who wants no HTML; empty where there is no such thing."""
        return ""

    def _end(self, nonce: str) -> str:
        # At once, or else a little later: what is refused must not become a loop.
        return (
            f'<script nonce="{nonce}">const again=()=>location.reload();fetch("{_QUESTION}",'
            f'{{cache:"no-store",headers:{{"{_TOKEN_FIELD}":"{self._token}"}}}}).then('
            "answer=>setTimeout(again,answer.status===403?1000:0),"
            "()=>setTimeout(again,1000))</script></html>\n"
        )


class ErrorContent(_Reloading):
    """Why the app cannot be loaded; for everybody.

    Args:
        report: "summary", and perhaps "advice" and "traceback".
        command: What was typed, for the page.
    """

    status = "500 Internal Server Error"
    hidden = b"The app cannot be loaded; the log of its server says why.\n"

    def __init__(self, report: dict[str, Any], command: str) -> None:
        super().__init__()
        self._report = report
        self._command = command

    def is_for(self, asked: Asked) -> bool:
        """See `Content`."""
        return True

    def _plain(self) -> str:
        parts = [self._report.get(name) for name in ("traceback", "summary", "advice")]
        return "\n".join(str(part).rstrip("\n") for part in parts if part) + "\n"

    def _html(self, nonce: str) -> str:
        summary = html.escape(str(self._report["summary"]))
        advice = html.escape(str(self._report.get("advice") or ""))
        trace = str(self._report.get("traceback") or "")
        return (
            _begin(summary, nonce)
            + f"<h1>{summary}</h1>"
            + (f"<p>{advice}</p>" if advice else "")
            + (f"<pre>{html.escape(trace)}</pre>" if trace else "")
            + "".join(_excerpts(trace))
            + f"<p>Served by <code>{html.escape(self._command)}</code>. "
            "Save the fix, and this page loads itself again.</p>" + self._end(nonce)
        )


class LoadingContent(_Reloading):
    """That the app is being loaded, for who looks at a browser; everything else waits for it.

    Args:
        command: What was typed, for the page.
    """

    status = "503 Service Unavailable"
    hidden = b"The app is being loaded.\n"

    def __init__(self, command: str) -> None:
        super().__init__()
        self._command = command

    def is_for(self, asked: Asked) -> bool:
        """See `Content`."""
        is_page = asked.method == "GET" and "text/html" in asked.fields.get("accept", "")
        is_navigation = asked.fields.get("sec-fetch-mode", "") in ("", "navigate")
        return asked.target == _QUESTION or (is_page and is_navigation)

    def _html(self, nonce: str) -> str:
        return (
            _begin("Loading", nonce) + "<h1>The app is being loaded</h1>"
            "<p>This takes longer than usual. The page loads itself again when the app is ready."
            f"</p><p>Served by <code>{html.escape(self._command)}</code>.</p>{self._end(nonce)}"
        )


def _excerpts(trace: str) -> Iterator[str]:
    """Source around the frames, the last one first: that is where to look."""
    frames = [match for line in trace.splitlines() if (match := _FRAME.match(line))]
    for frame in frames[: -_MOST_EXCERPTS - 1 : -1]:
        linecache.checkcache(frame["file"])
        lines = linecache.getlines(frame["file"])
        number = int(frame["line"])
        if not 1 <= number <= len(lines):
            continue
        first = max(1, number - _LINES_AROUND)
        shown = []
        for at in range(first, min(len(lines), number + _LINES_AROUND) + 1):
            text = html.escape(f"{at:>5}  {lines[at - 1].rstrip()}")
            shown.append(f"<mark>{text}</mark>" if at == number else text)
        where = f"{frame['file']}, line {number}" + (
            f", in {name}" if (name := frame["name"]) else ""
        )
        yield f"<h2>{html.escape(where)}</h2><pre>" + "\n".join(shown) + "</pre>"


def _begin(title: str, nonce: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<style nonce="{nonce}">{_STYLE}</style>'
    )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _is_head(asked: Asked) -> bool:
    return asked.method == "HEAD"


def answer_of(status: str, body: bytes = b"", *, nonce: str = "") -> bytes:
    """A whole response, behind which the connection is closed.

    Args:
        status: The status line's code and reason.
        body: Plain text, or HTML.
        nonce: Of the one script and the one style of a page; empty for plain text.
    """
    kind = "text/html" if nonce else "text/plain"
    allowed = f"'nonce-{nonce}'" if nonce else "'none'"
    fields = (
        f"HTTP/1.1 {status}",
        "Server: aserve",
        f"Content-Type: {kind}; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        # As on the pages of the debugger: no other origin frames, loads or interprets it.
        f"Content-Security-Policy: default-src 'none'; script-src {allowed}; style-src {allowed}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options: nosniff",
        "X-Frame-Options: DENY",
        "Cross-Origin-Resource-Policy: same-origin",
        "Referrer-Policy: same-origin",
        *(["Retry-After: 1"] if status.startswith("503") else []),
        "Connection: close",
    )
    return "\r\n".join((*fields, "", "")).encode() + body
