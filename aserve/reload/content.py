"""The pages that the supervisor shows: why the app cannot be loaded, or that it is being loaded."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from ..guarded import NO_CONTENT, guarded_headers, policy
from ..harmless import harmless
from ..hosts import is_this_machine
from ..pages import markup
from ..pages.document import document
from ..pages.elements import button, footer, prose
from ..pages.markup import Markup, element
from ..pause import Pause
from .asked import Asked

__all__ = ["Content", "ErrorContent", "LoadingContent", "OpenFile", "answer_of"]

# Where the script of a page waits, and where it asks for the editor. The token is in a field: an
# address ends up in logs, and no page of another origin can send such a field without being asked.
_QUESTION: Final = "/.aserve/changed"
_OPEN: Final = "/.aserve/open"
_TOKEN_FIELD: Final = "X-Aserve-Reload"
# Fields that say "somebody else stands between us": the peer is then not who asks.
_FORWARDED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_SCRIPTS: Final = ("pages/assets/page.js", "reload/assets/waiting.js")
# Anybody on this machine can have a page, and so its token.
_EDITOR_PAUSE: Final = 2.0

# Opens an editor at a line; returns an empty text, or why it could not.
OpenFile = Callable[[str, int], Awaitable[str]]


class Content(Protocol):
    """What is answered, and whom."""

    def is_for(self, asked: Asked) -> bool:
        """Whether a request is answered here, and not by the next generation."""
        ...

    def is_waiting(self, asked: Asked) -> bool:
        """Whether it is answered when something has changed, and not before."""
        ...

    async def answer(
        self, asked: Asked, changed: asyncio.Event, *, is_shown: bool, is_told: bool, peer: str
    ) -> bytes:
        """The whole response.

        Args:
            asked: The request.
            changed: Set when there is something new.
            is_shown: Whether whoever asks may see a page.
            is_told: Whether it may say what is in the files.
            peer: Its address, as in REMOTE_ADDR.
        """
        ...


class _Reloading:
    """A page that loads itself again when something has changed."""

    status: str
    # For those who may not know more.
    hidden: bytes

    def __init__(self, command: str) -> None:
        self._token = secrets.token_urlsafe(16)
        self._command = command

    def is_waiting(self, asked: Asked) -> bool:
        """See `Content`."""
        return asked.target == _QUESTION

    async def answer(
        self, asked: Asked, changed: asyncio.Event, *, is_shown: bool, is_told: bool, peer: str
    ) -> bytes:
        """See `Content`."""
        path, _, query = asked.target.partition("?")
        if path == _OPEN or asked.target == _QUESTION:
            if not (is_shown and self._is_own(asked, "POST" if path == _OPEN else "GET")):
                return answer_of("403 Forbidden", b"This is no page of this run.\n")
            if path == _OPEN:
                return await self._open(query, asked, peer)
            await changed.wait()
            return answer_of("204 No Content")
        if not is_shown:
            answer = answer_of(self.status, self.hidden)
        elif "text/html" in asked.fields.get("accept", "") or not (text := self._plain(is_told)):
            nonce = secrets.token_urlsafe(16)
            html = self._html(nonce, asked, peer) if is_told else self._hidden_html(nonce)
            answer = answer_of(self.status, _encoded(html), nonce=nonce)
        else:
            answer = answer_of(self.status, _encoded(harmless(text)))
        return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if asked.method == "HEAD" else answer

    def _is_own(self, asked: Asked, method: str) -> bool:
        """Whether a command comes from this page; `is_shown` says that its origin is ours."""
        given = asked.fields.get(_TOKEN_FIELD.lower(), "").encode()
        return asked.method == method and hmac.compare_digest(given, self._token.encode())

    async def _open(self, query: str, asked: Asked, peer: str) -> bytes:
        return answer_of("404 Not Found", b"There is no such file.\n")

    def _html(self, nonce: str, asked: Asked, peer: str) -> str:
        raise NotImplementedError

    def _hidden_html(self, nonce: str) -> str:
        """The same for who may not know more, such as a telephone that looks at the app."""
        text = self.hidden.decode()
        main = element("main", element("h1", text, class_="headline"), class_="simple")
        return self._document("Reloading", main, nonce, is_told=False)

    def _plain(self, is_told: bool) -> str:
        """The same for who wants no HTML; empty where there is no such thing."""
        return ""

    def _document(
        self, title: str, main: Markup, nonce: str, *,
        class_: str = "", is_told: bool = True, **data: str,
    ) -> str:  # fmt: skip
        text = "This page cannot load itself again without JavaScript."
        told = element("p", text, class_="below without-script")
        return document(
            title,
            [main, told,
             footer("", self._command if is_told else "")],
            nonce=nonce,
            scripts=_SCRIPTS,
            data={"token": self._token, "question": _QUESTION, "open": _OPEN, **data},
            class_=class_,
        )  # fmt: skip


class ErrorContent(_Reloading):
    """Why the app cannot be loaded; for everybody.

    Args:
        report: "summary", and perhaps "advice", "traceback" and "page", which are the parts of
            `aserve.debug.load_page`.
        command: What was typed, for the page.
        open_file: Opens the editor; None where there is none.
    """

    status = "500 Internal Server Error"
    hidden = b"The app cannot be loaded; the log of its server says why.\n"

    def __init__(
        self, report: dict[str, Any], command: str, open_file: OpenFile | None = None
    ) -> None:
        super().__init__(command)
        self._report = report
        self._parts: dict[str, Any] = report.get("page") or {}
        self._open_file = open_file
        self._pause = Pause(_EDITOR_PAUSE)

    def is_for(self, asked: Asked) -> bool:
        """See `Content`."""
        return True

    def _can_open(self, asked: Asked, peer: str) -> bool:
        is_direct = not any(asked.fields.get(name) for name in _FORWARDED)
        return self._open_file is not None and is_direct and is_this_machine(peer)

    async def _open(self, query: str, asked: Asked, peer: str) -> bytes:
        places: Sequence[tuple[str, int]] = self._parts.get("places", ())
        if not self._can_open(asked, peer) or self._open_file is None:
            return answer_of("403 Forbidden", b"Editors are opened from this machine only.\n")
        if not (query.isdecimal() and len(query) < 6 and int(query) < len(places)):
            return answer_of("404 Not Found", b"There is no such file.\n")
        if not self._pause.is_over():
            return answer_of("429 Too Many Requests", b"One file in two seconds.\n")
        problem = await self._open_file(*places[int(query)])
        if problem:
            return answer_of("500 Internal Server Error", _encoded(f"{harmless(problem)}\n"))
        return answer_of("204 No Content")

    def _plain(self, is_told: bool) -> str:
        if not is_told:
            return self.hidden.decode()
        parts = [self._report.get(name) for name in ("traceback", "summary", "advice")]
        return "\n".join(str(part).rstrip("\n") for part in parts if part) + "\n"

    def _html(self, nonce: str, asked: Asked, peer: str) -> str:
        parts = self._parts
        content: list[markup.Content] = [
            Markup(parts["body"]) if parts else _headline(self._report),
            element("p", "Save the fix, and this page loads itself again.", class_="note"),
        ]
        if trace := str(self._report.get("traceback") or ""):
            text = element(
                "pre", element("code", trace, id="plain"), class_="plain", tabindex="0",
                role="group", aria_label="Traceback as text",
            )  # fmt: skip
            folded = [element("summary", "Traceback as text"), text]
            content.append(element("details", folded, class_="facts"))
        main = element(
            "main",
            [Markup(parts.get("outline", "")), element("div", content, class_="content")],
        )
        actions = [button("markdown", "Copy as Markdown")] if parts else []
        actions += [button("plain", "Copy as text")] if trace else []
        head = element(
            "header",
            [element("p", "The app cannot be loaded", class_="address"),
             element("div", actions, class_="actions")],
            class_="top",
        )  # fmt: skip
        title = parts.get("title") or str(self._report["summary"])
        return self._document(
            title, Markup(head + main), nonce, markdown=parts.get("markdown", ""),
            class_="has-editor" if self._can_open(asked, peer) else "",
        )  # fmt: skip


def _headline(report: dict[str, Any]) -> Markup:
    """What is known without an exception."""
    summary, advice = str(report["summary"]), str(report.get("advice") or "")
    is_long = len(summary) > 160
    stop = {"tabindex": "0"} if is_long else {}
    title = element("span", summary, class_="message long" if is_long else "message", **stop)
    return element(
        "section",
        [
            element("h1", title, class_="headline"),
            element("p", prose(advice), class_="advice") if advice else "",
        ],
        class_="problem",
    )


class LoadingContent(_Reloading):
    """That the app is being loaded, for who looks at a browser; everything else waits for it.

    Args:
        command: What was typed, for the page.
    """

    status = "503 Service Unavailable"
    hidden = b"The app is being loaded.\n"

    def is_for(self, asked: Asked) -> bool:
        """See `Content`."""
        is_page = asked.method == "GET" and "text/html" in asked.fields.get("accept", "")
        is_navigation = asked.fields.get("sec-fetch-mode", "") in ("", "navigate")
        return asked.target == _QUESTION or (is_page and is_navigation)

    def _html(self, nonce: str, asked: Asked, peer: str) -> str:
        return self._page(nonce, is_told=True)

    def _hidden_html(self, nonce: str) -> str:
        return self._page(nonce, is_told=False)

    def _page(self, nonce: str, *, is_told: bool) -> str:
        title = element("span", "The app is being loaded", class_="message")
        text = "This takes longer than usual. The page loads itself again when the app is ready."
        body = [element("h1", title, class_="headline"), element("p", text, role="status")]
        main = element("main", body, class_="simple")
        return self._document("Loading", main, nonce, is_told=is_told)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def answer_of(status: str, body: bytes = b"", *, nonce: str = "") -> bytes:
    """A whole response, behind which the connection is closed.

    Args:
        status: The status line's code and reason.
        body: Plain text, or HTML.
        nonce: Of the one script and the one style of a page; empty for plain text.
    """
    source = f"'nonce-{nonce}'"
    rules = policy(scripts=source, styles=source, connect="'self'") if nonce else NO_CONTENT
    fields = guarded_headers("text/html" if nonce else "text/plain", len(body), rules)
    if status.startswith("503"):
        fields.append(("Retry-After", "1"))
    lines = [f"{name}: {value}" for name, value in fields]
    if status.startswith("204"):
        # RFC 9110 section 8.6: it has no content, and so no length of it.
        fields = [pair for pair in fields if pair[0] not in ("Content-Type", "Content-Length")]
    head = (f"HTTP/1.1 {status}", "Server: aserve", *lines, "Connection: close", "", "")
    return "\r\n".join(head).encode() + body
