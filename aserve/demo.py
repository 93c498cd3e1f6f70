"""The app of `aserve demo`: plain WSGI, no dependency; every page shows one ability of the server.

`/` shows the request as the app sees it, `/stream` sends a line at a time, `/echo` answers with
what was posted, `/slow` takes its time (also a good one to press Ctrl-C on), `/error` raises.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import parse_qs

from .pages.document import document
from .pages.elements import button
from .pages.markup import Content, element
from .types import Environ, StartResponse

__all__ = ["app"]

_HTML: Final = [("Content-Type", "text/html; charset=utf-8")]
_TEXT: Final = [("Content-Type", "text/plain; charset=utf-8")]
# What a form may send to this page; the rest stays unread, and the server copes with it.
_MOST_ECHOED: Final = 1 << 20
# Nobody waits longer for a demonstration.
_LONGEST_WAIT: Final = 30.0
_SCRIPTS: Final = ("pages/assets/page.js", "pages/assets/demo.js")
_TICKS: Final = 10
_TICK: Final = 0.3


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The WSGI callable; thread-safe, because it keeps nothing."""
    path = environ["PATH_INFO"]
    if path == "/":
        return _home(environ, start_response)
    if path == "/echo":
        return _echo(environ, start_response)
    if path == "/stream":
        start_response("200 OK", _TEXT)
        return _ticks()
    if path == "/slow":
        return _slow(environ, start_response)
    if path == "/error":
        raise RuntimeError("this page raises on purpose")
    return _answer(start_response, "404 Not Found", _TEXT, b"Nothing here; try /\n")


def _answer(
    start_response: StartResponse, status: str, headers: list[tuple[str, str]], body: bytes
) -> Iterable[bytes]:
    start_response(status, [*headers, ("Content-Length", str(len(body)))])
    return [body]


def _native(text: str) -> str:
    """Text of the environ, which holds bytes as Latin-1 (PEP 3333), as the UTF-8 it is."""
    return text.encode("latin-1").decode("utf-8", "replace")


def _url(environ: Environ) -> str:
    host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
    return f"{environ['wsgi.url_scheme']}://{host}{_native(environ['PATH_INFO'])}{query}"


def _home(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    facts: list[tuple[str, Any]] = [
        ("Method", environ["REQUEST_METHOD"]),
        ("URL", _url(environ)),
        ("Protocol", environ["SERVER_PROTOCOL"]),
        ("Client", f"{environ.get('REMOTE_ADDR', '')} port {environ.get('REMOTE_PORT', '')}"),
        ("Server", environ.get("SERVER_SOFTWARE", "")),
        ("Thread", threading.current_thread().name),
    ]
    threads = "threads" if environ["wsgi.multithread"] else "processes"
    body = document("aserve demo", _body(facts, threads), scripts=_SCRIPTS, data={}).encode()
    return _answer(start_response, "200 OK", _HTML, body)


def _body(facts: list[tuple[str, Any]], threads: str) -> Content:
    rows = [
        element("tr", [element("th", name, scope="row"), element("td", str(value))])
        for name, value in facts
    ]
    title = element("span", "It works: aserve serves a WSGI app.", class_="message")
    form = [
        element("input", name="text", value="Grüße", aria_label="Text"),
        " ",
        element("button", "Post to /echo"),
    ]
    watch = button("watch", "Watch it here")
    return element(
        "main",
        [
            element("h1", title, class_="headline"),
            element("table", element("tbody", rows), class_="values"),
            element("h2", "Streaming"),
            element("p", [_link("/stream"), " sends a line at a time. ", watch]),
            element("pre", "", id="out", role="log", aria_label="Lines of /stream", tabindex="0"),
            element("h2", "A form"),
            element("form", form, method="post", action="/echo"),
            element("h2", "Patience"),
            element("p", [_link("/slow?seconds=3"), f" holds one thread for three seconds; the "
                    f"other {threads} answer meanwhile. Press Ctrl-C in the terminal while it "
                    "runs: it still finishes."]),
            element("h2", "An exception"),
            element("p", [_link("/error"), " raises one; debugger and terminal show it."]),
        ],
        class_="simple",
    )  # fmt: skip


def _link(path: str) -> Content:
    return element("a", path, href=path)


def _echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    if environ["REQUEST_METHOD"] != "POST":
        headers = [*_TEXT, ("Allow", "POST")]
        return _answer(start_response, "405 Method Not Allowed", headers, b"Post something.\n")
    body = environ["wsgi.input"].read(_MOST_ECHOED)
    content_type = environ.get("CONTENT_TYPE", "")
    seen: dict[str, Any] = {
        "method": environ["REQUEST_METHOD"],
        "url": _url(environ),
        "content_type": content_type,
        "bytes": len(body),
    }
    if content_type.startswith("application/x-www-form-urlencoded"):
        seen["form"] = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    else:
        seen["text"] = body.decode("utf-8", "replace")
    answer = json.dumps(seen, indent=2, ensure_ascii=False) + "\n"
    headers = [("Content-Type", "application/json")]
    return _answer(start_response, "200 OK", headers, answer.encode())


def _ticks() -> Iterator[bytes]:
    for number in range(1, _TICKS + 1):
        yield f"{number:2} of {_TICKS}\n".encode()
        if number < _TICKS:
            time.sleep(_TICK)


def _slow(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    text = parse_qs(environ.get("QUERY_STRING", "")).get("seconds", ["5"])[0]
    try:
        seconds = min(max(float(text), 0.0), _LONGEST_WAIT)
        if seconds != seconds:
            raise ValueError("not a number")
    except ValueError:
        return _answer(start_response, "400 Bad Request", _TEXT, b"seconds must be a number\n")
    time.sleep(seconds)
    return _answer(start_response, "200 OK", _TEXT, f"slept {seconds:g} s\n".encode())
