"""The request as the error page shows it: told from the environ, with its secrets hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final
from urllib.parse import parse_qsl, quote

from .model import RequestView, Value
from .redact import HIDDEN, hide, hide_pairs, is_secret

__all__ = ["view_request"]

_MOST_VALUES: Final = 200
_MOST_CHARACTERS: Final = 4000

# What RFC 3986 lets stand in a path, in a query and in an authority.
_PATH: Final = "/:@!$&'()*+,;=~"
_QUERY: Final = _PATH + "?%"
_AUTHORITY: Final = "[]:!$&'()*+,;=~%"

# Words of names of fields that are not spelled with one capital.
_SPELLINGS: Final = {
    "Ch": "CH", "Csrf": "CSRF", "Csrftoken": "CSRFToken", "Dnt": "DNT", "Etag": "ETag",
    "Gpc": "GPC", "Http2": "HTTP2", "Id": "ID", "Ip": "IP", "Md5": "MD5", "Ua": "UA", "Url": "URL",
    "Uri": "URI", "Websocket": "WebSocket", "Www": "WWW", "Xsrf": "XSRF",
}  # fmt: skip

# What servers tell of a request. Other names in capitals come from the environment of the process,
# which some servers mix in.
_CGI: Final = frozenset(
    {
        "AUTH_TYPE", "GATEWAY_INTERFACE", "HTTPS", "PATH_INFO", "PATH_TRANSLATED", "QUERY_STRING",
        "RAW_URI", "REMOTE_ADDR", "REMOTE_HOST", "REMOTE_IDENT", "REMOTE_PORT", "REMOTE_USER",
        "REQUEST_METHOD", "REQUEST_SCHEME", "REQUEST_URI", "SCRIPT_NAME", "SERVER_ADDR",
        "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "SERVER_SOFTWARE",
    }
)  # fmt: skip
_PLAIN: Final = (str, int, bool, float, type(None))


def view_request(environ: dict[str, Any], request: object = None) -> RequestView:
    """What the page shows of a request. Never raises, and never reads `wsgi.input`.

    Args:
        environ: Of WSGI; nothing in it is trusted to be what PEP 3333 says.
        request: Of Flask, Werkzeug or Django, if somebody has it: a form that it has parsed is
            shown. Flask takes its own out of the environ before the exception comes here.
    """
    sections = []
    readers: tuple[tuple[str, Callable[[dict[str, Any]], Iterable[Value]]], ...] = (
        ("Headers", _headers),
        ("Query", _query),
        ("Cookies", _cookies),
        ("Form", lambda environ: _form(environ, request)),
        ("Environ", _environ),
    )
    for title, read in readers:
        try:
            values = tuple(islice(read(environ), _MOST_VALUES))
        except Exception:  # an object of the app may do anything when it is asked
            values = (Value(name="", type="", text="<cannot be shown>"),)
        if values:
            sections.append((title, values))
    try:
        url = _url(environ)
    except Exception:
        url = ""
    return RequestView(
        method=_text(environ, "REQUEST_METHOD")[:40], url=url, sections=tuple(sections)
    )


def _text(environ: dict[str, Any], key: str) -> str:
    value = environ.get(key)
    return value if type(value) is str else ""


def _url(environ: dict[str, Any]) -> str:
    """As PEP 3333 puts it together."""
    scheme = _text(environ, "wsgi.url_scheme") or "http"
    host = _text(environ, "HTTP_HOST").rpartition("@")[2]
    if not host:
        host, port = _text(environ, "SERVER_NAME"), _text(environ, "SERVER_PORT")
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        if port and port != {"http": "80", "https": "443"}.get(scheme):
            host += f":{port}"
    path = quote(_bytes(_text(environ, "SCRIPT_NAME") + _text(environ, "PATH_INFO")), safe=_PATH)
    query = quote(_bytes(_text(environ, "QUERY_STRING")), safe=_QUERY)
    url = f"{quote(scheme, safe='+')}://{quote(_bytes(host), safe=_AUTHORITY)}{path}"
    return _bounded(f"{url}?{hide_pairs(query)}" if query else url)


def _bytes(text: str) -> bytes:
    """What the client sent: environs hold bytes as latin-1, and strange ones anything."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")


def _decoded(text: str) -> str:
    """The text that these bytes most probably are."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _bounded(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"


def _value(name: str, text: str, *, is_hidden: bool = False, type_: str = "str") -> Value:
    return Value(
        name=_bounded(name),
        type=type_,
        text=HIDDEN if is_hidden else hide(_bounded(text)),
        is_hidden=is_hidden,
    )


def _headers(environ: dict[str, Any]) -> Iterator[Value]:
    for key in list(environ):
        if type(key) is not str:
            continue
        if key.startswith("HTTP_"):
            key_of_field = key[5:]
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key_of_field = key
        else:
            continue
        text = _decoded(_text(environ, key))
        if not text and key_of_field == key:
            continue  # servers put an empty one there for none
        yield _header(_spelled(key_of_field), text)


def _header(name: str, text: str) -> Value:
    if name in ("Authorization", "Proxy-Authorization"):
        scheme, space, _ = text.strip().partition(" ")
        shown = f"{scheme} {HIDDEN}" if space and scheme.isalnum() else HIDDEN
        return Value(name=name, type="str", text=shown, is_hidden=True)
    # No secrets, though their names say so: one asks for a right, the other is of one answer only.
    is_none = name.startswith("Access-Control-") or name == "Sec-WebSocket-Key"
    is_hidden = is_secret(name) and not is_none
    return _value(name, text, is_hidden=is_hidden)


def _spelled(key: str) -> str:
    words = key.replace("_", "-").title().split("-")
    return "-".join(_SPELLINGS.get(word, word) for word in words)


def _query(environ: dict[str, Any]) -> Iterator[Value]:
    query = _decoded(_text(environ, "QUERY_STRING"))
    pairs = parse_qsl(query, keep_blank_values=True)
    is_answer = any(name == "state" for name, _ in pairs)  # see `redact.hide_pairs`
    for name, text in pairs:
        yield _value(name, text, is_hidden=is_secret(name) or (is_answer and name == "code"))


def _cookies(environ: dict[str, Any]) -> Iterator[Value]:
    for pair in _decoded(_text(environ, "HTTP_COOKIE")).split(";"):
        name, equals, text = pair.strip().partition("=")
        if not equals:
            # A value without a name, which browsers send like this: it may be anything.
            name, text = "", name
        if name or text:
            yield _value(name, text, is_hidden=not name or is_secret(name))


def _form(environ: dict[str, Any], request: object) -> Iterator[Value]:
    """What a framework has parsed by now: to ask it for more would read the input."""
    request = environ.get("werkzeug.request") if request is None else request
    state = {} if request is None else vars(request)
    pairs: Iterable[tuple[Any, Any]] = ()
    if (form := state.get("form")) is not None:  # of Werkzeug
        pairs = form.items(multi=True)
    elif (form := state.get("_post")) is not None:  # of Django
        pairs = ((name, text) for name, texts in form.lists() for text in texts)
    elif (form := environ.get("bottle.request.forms")) is not None:
        pairs = form.allitems()
    for name, text in pairs:
        if type(name) is str and type(text) is str:
            yield _value(_decoded(name), _decoded(text), is_hidden=is_secret(name))


def _environ(environ: dict[str, Any]) -> Iterator[Value]:
    for key, value in list(environ.items()):
        if type(key) is not str or not (key in _CGI or ("." in key and not key.isupper())):
            continue
        if type(value) is str:
            text = _decoded(value)
        elif type(value) in _PLAIN or (
            type(value) is tuple and all(type(part) in _PLAIN for part in value)
        ):
            text = repr(value)
        else:
            continue
        yield _value(key, text, is_hidden=is_secret(key), type_=type(value).__name__)
