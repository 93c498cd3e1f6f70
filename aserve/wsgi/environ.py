"""From a `Request` to an environ (PEP 3333, section "environ Variables").

What only depends on the head is computed once and kept in the request's `derived` slot; what
belongs to the connection comes from a template; so an environ is two dictionary copies and a
handful of stores.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from ..events import Request
from ..types import Environ, InputStream, RawHeaders

__all__ = ["build_environ"]

# RFC 9110 section 5.3: fields with one name form a list; cookies are joined as RFC 6265
# section 5.4 does, because a comma may stand inside of a cookie's value.
_SEPARATORS: Final = {"HTTP_COOKIE": "; "}

# CGI names of their own (RFC 3875 sections 4.1.2, 4.1.3), never HTTP_*.
_CGI: Final = {"HTTP_CONTENT_TYPE": "CONTENT_TYPE", "HTTP_CONTENT_LENGTH": "CONTENT_LENGTH"}


def build_environ(
    request: Request,
    template: Mapping[str, Any],
    body: InputStream,
) -> Environ:
    """The environ of one request. Called in the worker thread.

    Args:
        request: The request.
        template: What the server and the connection contribute: SERVER_NAME, REMOTE_ADDR,
            `wsgi.url_scheme`, `wsgi.multithread` and their like.
        body: The value of `wsgi.input`.
    """
    items = request.derived
    if items is None:
        items = request.derived = _items_of(request)
    environ = {**template, **items}
    environ["wsgi.input"] = body
    return environ


def _items_of(request: Request) -> Environ:
    query = request.query.decode("latin-1")
    # REQUEST_URI is uWSGI's and mod_wsgi's name, RAW_URI gunicorn's: the target as it came.
    target = request.target.decode("latin-1")
    environ: Environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        # PEP 3333 "Unicode Issues": the decoded bytes, each as one latin-1 character.
        # `OPTIONS *` is about no path, and RFC 3875 section 4.1.5 has one or nothing here.
        "PATH_INFO": ""
        if request.path == b"*"
        else unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": query,
        "REQUEST_URI": target,
        "RAW_URI": target,
        "SERVER_PROTOCOL": "HTTP/" + request.http_version,
    }
    _add_headers(environ, request.headers)
    return environ


def _add_headers(environ: Environ, headers: RawHeaders) -> None:
    for name, value in headers:
        key = _environ_key(name)
        if key is None:
            continue
        text = value.decode("latin-1")
        if key in environ:
            text = environ[key] + _SEPARATORS.get(key, ",") + text
        environ[key] = text
    # The framing was consumed: the app reads until the end (wsgi.input_terminated). An
    # HTTP_TRANSFER_ENCODING in the environ makes frameworks believe that they have to decode.
    environ.pop("HTTP_TRANSFER_ENCODING", None)


@functools.lru_cache(maxsize=512)
def _environ_key(name: bytes) -> str | None:
    if b"_" in name:
        # `X_Real` and `X-Real` would meet in one key, so a client could forge what a proxy
        # sets (Django's CVE-2015-0219); nginx drops these too.
        return None
    key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    return _CGI.get(key, key)
