"""From a request to an environ, in memory."""

from __future__ import annotations

import io
from typing import Any

import pytest

from aserve.events import Request
from aserve.wsgi.environ import build_environ

TEMPLATE = {"SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8000", "wsgi.url_scheme": "http"}


def request(
    target: bytes = b"/",
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    http_version: str = "1.1",
    path: bytes | None = None,
) -> Request:
    """A request as the parser would make it."""
    whole = target if path is None else path
    path, _, query = whole.partition(b"?")
    return Request(
        method=method,
        target=target,
        path=path,
        query=query,
        http_version=http_version,
        headers=headers,
        host=b"",
        keep_alive=True,
        content_length=0,
        expect_continue=False,
    )


def environ_of(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return build_environ(request(*args, **kwargs), TEMPLATE, io.BytesIO())


def test_request_line() -> None:
    """B28, B29, B46."""
    environ = environ_of(b"/%C3%A9/%2F?q=%20x&y", method="PURGE", http_version="1.0")
    assert environ == {
        **TEMPLATE,
        "REQUEST_METHOD": "PURGE",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/é//".encode().decode("latin-1"),
        "QUERY_STRING": "q=%20x&y",
        "REQUEST_URI": "/%C3%A9/%2F?q=%20x&y",
        "RAW_URI": "/%C3%A9/%2F?q=%20x&y",
        "SERVER_PROTOCOL": "HTTP/1.0",
        "wsgi.input": environ["wsgi.input"],
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/", "/"),
        (b"//a//b", "//a//b"),
        (b"/%41%zz%", "/A%zz%"),
        (b"/\xc3\xa9", "/\xc3\xa9"),
        (b"/%ff%fe", "/\xff\xfe"),
        (b"/a+b;c=d", "/a+b;c=d"),
        (b"*", ""),  # `OPTIONS *`; RFC 3875 section 4.1.5
    ],
)
def test_path_info(path: bytes, expected: str) -> None:
    """B28, B33: decoded bytes as latin-1, and no slash is lost."""
    assert environ_of(path)["PATH_INFO"] == expected


def test_raw_bytes_in_the_query_become_latin_1() -> None:
    """B28."""
    assert environ_of(b"/?q=\xc3\xa9")["QUERY_STRING"] == "q=\xc3\xa9"


def test_absolute_target() -> None:
    """B32: REQUEST_URI is the target as it came, PATH_INFO its path."""
    environ = environ_of(b"http://x.example/y", (b"host", b"x.example"), path=b"/y")
    assert (environ["REQUEST_URI"], environ["PATH_INFO"]) == ("http://x.example/y", "/y")
    assert environ["HTTP_HOST"] == "x.example"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"accept", b"a"), (b"accept", b"b  c")], {"HTTP_ACCEPT": "a,b  c"}),
        ([(b"cookie", b"a=1"), (b"cookie", b"b=2")], {"HTTP_COOKIE": "a=1; b=2"}),
        ([(b"x-name", b"\xc3\xa9")], {"HTTP_X_NAME": "\xc3\xa9"}),
        ([(b"content-type", b"text/plain")], {"CONTENT_TYPE": "text/plain"}),
        ([(b"content-length", b"0")], {"CONTENT_LENGTH": "0"}),
        ([(b"x_real", b"forged"), (b"x-real", b"true")], {"HTTP_X_REAL": "true"}),
        ([(b"content_length", b"9")], {}),
        ([(b"transfer-encoding", b"chunked")], {}),
        ([(b"x-empty", b"")], {"HTTP_X_EMPTY": ""}),
    ],
)
def test_headers(headers: list[tuple[bytes, bytes]], expected: dict[str, str]) -> None:
    """B34, B35, B36, B38."""
    environ = environ_of(b"/", *headers)
    found = {key: environ[key] for key in environ if key.startswith(("HTTP_", "CONTENT_"))}
    assert found == expected


def test_environs_of_a_shared_request_are_independent() -> None:
    """The parser hands out one request for equal bytes; an app may change its environ."""
    shared = request(b"/", (b"accept", b"a"))
    first = build_environ(shared, TEMPLATE, io.BytesIO())
    first["HTTP_ACCEPT"] = "changed"
    first["new"] = 1
    body = io.BytesIO()
    second = build_environ(shared, TEMPLATE, body)
    assert second["HTTP_ACCEPT"] == "a"
    assert second["wsgi.input"] is body
    assert "new" not in second
    assert TEMPLATE.keys().isdisjoint({"new", "wsgi.input"})
