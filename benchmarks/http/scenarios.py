"""What is asked of every server, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_APPS: Final = "benchmarks.http.apps"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load.

    Args:
        name: What `--scenario` and the results call it.
        title: What the table calls it.
        app: The application, `module:attribute`.
        connections: How many are open at the same time.
        method: The method of every request.
        body: Size of every request's body in bytes.
        headers: Header fields of every request beside Host and Content-Length.
        log: Whether the server writes its access log.
        tls: Whether TLS is spoken; the client keeps no sessions.
        in_one_session: Whether the client shares the process session of the server, as in one
            terminal. The kernel then shares a processor out between the threads of both, and
            else between the two (sched(7), autogroup).
    """

    name: str
    title: str
    app: str = f"{_APPS}:hello"
    connections: int = 32
    method: str = "GET"
    body: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    log: bool = False
    tls: bool = False
    in_one_session: bool = False


# What Chromium sends for a page that has been visited before, with a session cookie: 18 fields
# together with Host.
BROWSER: Final = (
    ("Connection", "keep-alive"),
    ("Cache-Control", "max-age=0"),
    ("sec-ch-ua", '"Chromium";v="142", "Not_A Brand";v="99"'),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", '"Linux"'),
    ("DNT", "1"),
    ("Upgrade-Insecure-Requests", "1"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/142.0.0.0 Safari/537.36",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"
        "image/apng,*/*;q=0.8",
    ),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-User", "?1"),
    ("Sec-Fetch-Dest", "document"),
    ("Referer", "http://127.0.0.1/articles/2026/a-page"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
    ("Cookie", "session=eyJfZnJlc2giOmZhbHNlfQ.aQ2f5g.J8mYbZk3Qx9v0rT1uW4yX7zA2cE; theme=dark"),
)
_CLOSE: Final = (("Connection", "close"),)

SCENARIOS: Final = (
    Scenario("hello-c32", "hello, keep-alive, 32 connections"),
    Scenario("hello-one-session", "hello, 32 connections, in one session", in_one_session=True),
    Scenario("hello-c1", "hello, 1 connection", connections=1),
    Scenario("hello-c8", "hello, 8 connections", connections=8),
    Scenario("hello-c256", "hello, 256 connections", connections=256),
    Scenario("hello-c1024", "hello, 1,024 connections", connections=1024),
    Scenario("browser", "hello, 18 browser headers, 32 connections", headers=BROWSER),
    Scenario("flask", "Flask app, 32 connections", app="benchmarks.http.flask_app:app"),
    Scenario("new-connection", "new connection per request, 32 clients", headers=_CLOSE),
    Scenario("tls", "TLS, keep-alive hello, 32 connections", tls=True),
    Scenario(
        "tls-connection", "new TLS connection per request, 32 clients", headers=_CLOSE, tls=True
    ),
    Scenario("log", "hello, access log on, 32 connections", log=True),
    Scenario("stream", "streaming 1,000 chunks, 8 clients", app=f"{_APPS}:stream", connections=8),
    Scenario("echo", "64 KB echo POST", f"{_APPS}:echo", method="POST", body=65_536),
    Scenario("upload-1k", "1 KB upload", f"{_APPS}:upload", method="POST", body=1024),
    Scenario("upload-64k", "64 KB upload", f"{_APPS}:upload", method="POST", body=65_536),
    Scenario(
        "upload", "1 MB upload, 8 clients", f"{_APPS}:upload", connections=8, method="POST",
        body=1_048_576,
    ),
    Scenario(
        "upload-4m", "4 MB upload, 8 clients", f"{_APPS}:upload", connections=8, method="POST",
        body=4_194_304,
    ),
    Scenario("file", "100 MB file, 4 clients", app=f"{_APPS}:send_file", connections=4),
)  # fmt: skip
