"""The app of `aserve demo`: plain WSGI, no dependency; every page shows one ability of the server.

`/` shows the request as the app sees it, `/stream` sends a line at a time, `/echo` answers with
what was posted, `/slow` takes its time (also a good one to press Ctrl-C on), `/error` raises.
"""

from __future__ import annotations

import html
import json
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import parse_qs

from .types import Environ, StartResponse

__all__ = ["app"]

_HTML: Final = [("Content-Type", "text/html; charset=utf-8")]
_TEXT: Final = [("Content-Type", "text/plain; charset=utf-8")]
# What a form may send to this page; the rest stays unread, and the server copes with it.
_MOST_ECHOED: Final = 1 << 20
# Nobody waits longer for a demonstration.
_LONGEST_WAIT: Final = 30.0
_TICKS: Final = 10
_TICK: Final = 0.3

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>aserve demo</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto;
 padding: 0 1rem }}
h1 {{ font-size: 1.6rem }} h2 {{ font-size: 1.1rem; margin-top: 2rem }}
table {{ border-collapse: collapse }} td, th {{ text-align: left; padding: .15rem 1.2rem .15rem 0 }}
th {{ font-weight: 400; opacity: .65 }} code, pre, td {{ font-family: ui-monospace, monospace }}
pre {{ border: 1px solid #8884; border-radius: .4rem; padding: .6rem; min-height: 1.5rem;
 white-space: pre-wrap; overflow-wrap: anywhere }}
</style></head><body>
<h1>It works: aserve serves a WSGI app.</h1>
<table>
{rows}
</table>
<h2>Streaming</h2>
<p><a href="/stream">/stream</a> sends a line at a time. <button id="go">Watch it here</button></p>
<pre id="out"></pre>
<h2>A form</h2>
<form method="post" action="/echo">
<input name="text" value="Grüße" aria-label="Text"> <button>Post to /echo</button>
</form>
<h2>Patience</h2>
<p><a href="/slow?seconds=3">/slow?seconds=3</a> holds one thread for three seconds; the other
{threads} answer meanwhile. Press Ctrl-C in the terminal while it runs: it still finishes.</p>
<p><a href="/error">/error</a> raises an exception; the terminal shows it.</p>
<script>
go.onclick = async () => {{
  out.textContent = "";
  const reader = (await fetch("/stream")).body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {{
    const {{ done, value }} = await reader.read();
    if (done) return;
    out.textContent += value;
  }}
}};
</script></body></html>
"""


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
    rows = "\n".join(
        f"<tr><th>{name}</th><td>{html.escape(str(value))}</td></tr>" for name, value in facts
    )
    threads = "threads" if environ["wsgi.multithread"] else "processes"
    body = _PAGE.format(rows=rows, threads=threads).encode()
    return _answer(start_response, "200 OK", _HTML, body)


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
