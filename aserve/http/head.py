"""The head of a request: from checked bytes to a `Request` (RFC 9112 sections 2 to 5).

`parse_head` is a pure function of the head's bytes, and browsers and test clients repeat
theirs to the letter, so its results are remembered. llhttp (through httptools) splits and
checks the header fields; the request line, the target and the meaning of the fields are
ours, because methods are an open set (RFC 9110 section 9.1) and llhttp knows a closed one.
"""

from __future__ import annotations

import functools
import re
from typing import Final

import httptools

from ..errors import RemoteProtocolError
from ..events import Request

__all__ = ["MEMO_SIZE", "parse_head"]

# One page with its assets and a handful of API calls; an entry costs about 2 KB.
MEMO_SIZE: Final = 256

_TCHAR: Final = rb"!#$%&'*+.^_`|~0-9A-Za-z-"  # RFC 9110 section 5.6.2
# RFC 9112 section 3: one space on either side, nothing else. Bytes from 0x80 are outside of
# the URI grammar, but curl and older clients send UTF-8 as it was typed, and PATH_INFO can
# carry it, so they pass.
_REQUEST_LINE: Final = re.compile(
    rb"([" + _TCHAR + rb"]+) ([\x21-\x7e\x80-\xff]+) (HTTP/[0-9]\.[0-9])\r\n"
)
_METHOD: Final = re.compile(rb"[" + _TCHAR + rb"]+")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
# RFC 9112 section 3.2, RFC 3986 section 3.2: reg-name, IPv4 or IP-literal, then a port. It may
# be empty, but a port without a host names nothing (RFC 9110 section 4.2.1).
_HOST: Final = re.compile(
    rb"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+(?::[0-9]{0,5})?)?"
    rb"|\[(?:[0-9A-Fa-f:.]{2,45}|v[0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\](?::[0-9]{0,5})?"
)
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_LINE_BREAKS: Final = re.compile(rb"\r\n[ \t]|(?<!\r)\n|\r(?!\n)|\x00")

_VERSIONS: Final = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}


class _Fields:
    """Collects what httptools calls back."""

    __slots__ = ("headers",)

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))


@functools.lru_cache(maxsize=MEMO_SIZE)
def parse_head(block: bytes, max_fields: int) -> Request:
    """Parse the head of a request.

    Args:
        block: The request line and the header fields with the empty line that ends them.
        max_fields: Most header fields to accept.

    Returns:
        The request; the same object for the same bytes, see `aserve.events`.

    Raises:
        RemoteProtocolError: 400, 431 (too many fields), 501 (a transfer coding or CONNECT)
            or 505 (not HTTP/1).
    """
    match = _REQUEST_LINE.match(block)
    if match is None:
        raise _request_line_error(block)
    method, target, raw_version = match.groups()
    version = _VERSIONS.get(raw_version)
    if version is None:
        raise RemoteProtocolError("only HTTP/1.0 and HTTP/1.1 are spoken here", status_hint=505)

    headers = _parse_fields(block[match.end() :])
    if len(headers) > max_fields:
        raise RemoteProtocolError(
            f"more than {max_fields} header fields (limit_request_fields)", status_hint=431
        )
    path, authority = _split_target(method, target)
    fields = _index(headers)
    host = _effective_host(fields.get(b"host"), authority, version)
    if authority is not None:
        # RFC 9112 section 3.2.2: the target's authority replaces what Host says.
        headers = [(b"host", host), *(item for item in headers if item[0] != b"host")]
    content_length = _body_length(fields, version)
    path, _, query = path.partition(b"?")
    return Request(
        method=method.decode("ascii"),
        target=target,
        path=path,
        query=query,
        http_version=version,
        headers=tuple(headers),
        host=host,
        keep_alive=_keep_alive(fields.get(b"connection"), version),
        content_length=content_length,
        # RFC 9110 section 10.1.1: ignored from an HTTP/1.0 client and without a body.
        expect_continue=(
            version == "1.1"
            and content_length != 0
            and any(value.lower() == b"100-continue" for value in fields.get(b"expect", ()))
        ),
    )


def _request_line_error(block: bytes) -> RemoteProtocolError:
    line = block.partition(b"\r\n")[0]
    if _METHOD.match(line) is None:
        return RemoteProtocolError("the request line does not start with a method")
    return RemoteProtocolError("malformed request line")


def _parse_fields(lines: bytes) -> list[tuple[bytes, bytes]]:
    # RFC 9112 sections 2.2, 5.2: a bare CR or LF, NUL and line folding are refused here and not
    # left to llhttp, whose leniency is a matter of its version.
    if _LINE_BREAKS.search(lines):
        raise RemoteProtocolError("a bare CR or LF, NUL or a folded line in the header fields")
    fields = _Fields()
    parser = httptools.HttpRequestParser(fields)
    try:
        # The neutral request line keeps llhttp's list of methods out of play.
        parser.feed_data(b"GET / HTTP/1.1\r\n" + lines)
    except httptools.HttpParserUpgrade:
        # WSGI has no upgrade; what follows the head is read as HTTP all the same.
        pass
    except httptools.HttpParserError as error:
        raise RemoteProtocolError(f"malformed header fields: {error}") from None
    return fields.headers


def _index(headers: list[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    """The values of the fields that decide about framing and routing."""
    index: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in _DECISIVE:
            index.setdefault(name, []).append(value)
    return index


_DECISIVE: Final = frozenset(
    (b"host", b"connection", b"content-length", b"transfer-encoding", b"expect")
)


def _split_target(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """The path with its query, and the authority of an absolute-form target (section 3.2)."""
    if method == b"CONNECT":
        raise RemoteProtocolError("CONNECT is for proxies; this is not one", status_hint=501)
    if b"#" in target:
        raise RemoteProtocolError("the request target has a fragment")
    if target.startswith(b"/"):
        return target, None
    if target == b"*" and method == b"OPTIONS":
        return target, None
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise RemoteProtocolError("the request target is neither a path nor an http URL")
    authority, path = match.groups()
    # RFC 9110 section 4.2.4: user information in an http URL is an attack or a mistake.
    if not authority or b"@" in authority:
        raise RemoteProtocolError("the authority of the request target is malformed")
    if not path.startswith(b"/"):
        # RFC 9112 section 3.2.4: OPTIONS for an authority alone is about the whole server.
        path = b"*" if method == b"OPTIONS" and not path else b"/" + path
    return path, authority


def _effective_host(hosts: list[bytes] | None, authority: bytes | None, version: str) -> bytes:
    # RFC 9112 section 3.2: missing, repeated and malformed Host fields are answered with 400.
    if hosts is None:
        if version == "1.1":
            raise RemoteProtocolError("the Host header is missing")
        hosts = [b""]
    if len(hosts) > 1:
        raise RemoteProtocolError("the Host header is repeated")
    if _HOST.fullmatch(hosts[0]) is None:
        raise RemoteProtocolError("the Host header is malformed")
    if authority is None:
        return hosts[0]
    if _HOST.fullmatch(authority) is None:
        raise RemoteProtocolError("the authority of the request target is malformed")
    return authority


def _body_length(fields: dict[bytes, list[bytes]], version: str) -> int | None:
    """Bytes of the body, None when it is chunked (RFC 9112 section 6.3)."""
    codings = fields.get(b"transfer-encoding")
    lengths = fields.get(b"content-length")
    if codings is not None:
        # Section 6.1: both at once, or a coding from HTTP/1.0, is how requests are smuggled.
        if lengths is not None:
            raise RemoteProtocolError("both Content-Length and Transfer-Encoding")
        if version == "1.0":
            raise RemoteProtocolError("Transfer-Encoding in an HTTP/1.0 request")
        names = [name.strip(b" \t").lower() for name in b",".join(codings).split(b",")]
        if names == [b"chunked"]:
            return None
        if names[-1] != b"chunked" or names.count(b"chunked") > 1:
            raise RemoteProtocolError("the body does not end with the chunked transfer coding")
        raise RemoteProtocolError("no transfer coding but chunked is known", status_hint=501)
    if lengths is None:
        return 0
    if len(lengths) > 1 or _DIGITS.fullmatch(lengths[0]) is None:
        raise RemoteProtocolError(
            "Content-Length is repeated, or not a number of at most 18 digits"
        )
    return int(lengths[0])


def _keep_alive(connection: list[bytes] | None, version: str) -> bool:
    # RFC 9112 section 9.3: 1.1 stays unless told to close, 1.0 closes unless told to stay.
    if connection is None:
        return version == "1.1"
    options = {option.strip(b" \t").lower() for option in b",".join(connection).split(b",")}
    return b"close" not in options and (version == "1.1" or b"keep-alive" in options)
