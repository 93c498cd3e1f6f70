"""The pages that the supervisor shows: why the app cannot be loaded, or that it is being loaded."""

from __future__ import annotations

import asyncio
import html
import linecache
import re
import secrets
from collections.abc import Iterator
from typing import Any, Final, Protocol

__all__ = ["Content", "ErrorContent", "LoadingContent", "field_of", "response_head"]

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

    def is_for(self, head: bytes) -> bool:
        """Whether a request with this head is answered here, and not by the next generation."""
        ...

    async def answer(self, head: bytes, changed: asyncio.Event) -> bytes:
        """The whole response; `changed` is set when there is something new."""
        ...


class _Reloading:
    """A page that loads itself again when something has changed."""

    def __init__(self) -> None:
        self._token = secrets.token_urlsafe(16)

    async def answer(self, head: bytes, changed: asyncio.Event) -> bytes:
        """See `Content`."""
        method, target = _words(head)
        if target == f"/.aserve/changed?{self._token}".encode():
            await changed.wait()
            return response_head("204 No Content", "text/plain", b"")
        response, body = self._respond(is_page=b"text/html" in field_of(head, b"accept"))
        return response if method == b"HEAD" else response + body

    def _respond(self, *, is_page: bool) -> tuple[bytes, bytes]:
        raise NotImplementedError

    def _is_question(self, head: bytes) -> bool:
        return _words(head)[1].startswith(b"/.aserve/changed?")

    def _script(self) -> str:
        return (
            "<script>const again=()=>location.reload();"
            f'fetch("/.aserve/changed?{self._token}",{{cache:"no-store"}}).then(again,'
            "()=>setTimeout(again,1000))</script></html>\n"
        )


class ErrorContent(_Reloading):
    """Why the app cannot be loaded; for everybody.

    Args:
        report: "summary", and perhaps "advice" and "traceback".
        command: What was typed, for the page.
    """

    def __init__(self, report: dict[str, Any], command: str) -> None:
        super().__init__()
        self._report = report
        self._command = command

    def is_for(self, head: bytes) -> bool:
        """See `Content`."""
        return True

    def _respond(self, *, is_page: bool) -> tuple[bytes, bytes]:
        body = (self._html() if is_page else self._plain()).encode("utf-8", "backslashreplace")
        kind = "text/html" if is_page else "text/plain"
        return response_head("500 Internal Server Error", kind, body), body

    def _plain(self) -> str:
        parts = [self._report.get(name) for name in ("traceback", "summary", "advice")]
        return "\n".join(str(part).rstrip("\n") for part in parts if part) + "\n"

    def _html(self) -> str:
        summary = html.escape(str(self._report["summary"]))
        advice = html.escape(str(self._report.get("advice") or ""))
        trace = str(self._report.get("traceback") or "")
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{summary}</title>'
            f"<style>{_STYLE}</style><h1>{summary}</h1>"
            + (f"<p>{advice}</p>" if advice else "")
            + (f"<pre>{html.escape(trace)}</pre>" if trace else "")
            + "".join(_excerpts(trace))
            + f"<p>Served by <code>{html.escape(self._command)}</code>. "
            "Save the fix, and this page loads itself again.</p>" + self._script()
        )


class LoadingContent(_Reloading):
    """That the app is being loaded, for who looks at a browser; everything else waits for it.

    Args:
        command: What was typed, for the page.
    """

    def __init__(self, command: str) -> None:
        super().__init__()
        self._command = command

    def is_for(self, head: bytes) -> bool:
        """See `Content`."""
        is_navigation = _words(head)[0] == b"GET" and b"text/html" in field_of(head, b"accept")
        mode = field_of(head, b"sec-fetch-mode").strip()
        return self._is_question(head) or (is_navigation and mode in (b"", b"navigate"))

    def _respond(self, *, is_page: bool) -> tuple[bytes, bytes]:
        body = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Loading</title>'
            f"<style>{_STYLE}</style><h1>The app is being loaded</h1>"
            "<p>This takes longer than usual. The page loads itself again when the app is ready."
            f"</p><p>Served by <code>{html.escape(self._command)}</code>.</p>{self._script()}"
        ).encode()
        return response_head(
            "503 Service Unavailable", "text/html", body, "Retry-After: 1\r\n"
        ), body


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


def _words(head: bytes) -> tuple[bytes, bytes]:
    """Method and target; empty for a line that is none of HTTP."""
    words = head.partition(b"\r\n")[0].split(b" ")
    return (words[0], words[1]) if len(words) == 3 else (b"", b"")


def field_of(head: bytes, name: bytes) -> bytes:
    """The value of the first field with this name, in lower case; empty without one."""
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value
    return b""


def response_head(status: str, kind: str, body: bytes, more: str = "") -> bytes:
    """The head of a response behind which the connection is closed."""
    return (
        f"HTTP/1.1 {status}\r\nServer: aserve\r\nContent-Type: {kind}; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\n{more}Connection: close\r\n\r\n"
    ).encode()
