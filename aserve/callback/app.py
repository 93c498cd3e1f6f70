"""The WSGI app of a callback server. Runs in worker threads.

It never raises: whoever wrote the function that answers is told by path only which request it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes

from ..errors import AserveError
from ..events import ExchangeRecord
from ..hosts import Hosts, name_of
from ..safe_log import get_logger
from ..types import Environ, StartResponse
from .inbox import Feeds, Inbox, Slot, Verdict
from .messages import CallbackAnswer, CallbackRequest, page, plain, printable, redirect
from .options import CallbackOptions

__all__ = ["CallbackApp", "params_of"]

_log: Final = get_logger("aserve.error")

_FORM: Final = "application/x-www-form-urlencoded"
# More is no answer of an authorization server.
_MOST_PARAMS: Final = 100

_DONE: Final = "You can close this window and go back to the program."


def params_of(text: str) -> dict[str, str] | None:
    """The parameters of a query or a form; None if they are not those of an answer.

    RFC 6749 section 3.1: a parameter must not stand there twice.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_PARAMS)
    except ValueError:
        return None
    params = dict(pairs)
    return params if params and len(params) == len(pairs) else None


class CallbackApp:
    """See the module's docstring.

    Args:
        path: Where the answer arrives.
        options: The options.
        inbox: Where it goes.
        feeds: Where all requests go.
    """

    # Read by the engine, when it names a request in the log.
    has_secret_queries = True

    def __init__(
        self, path: str, options: CallbackOptions, inbox: Inbox, feeds: Feeds[CallbackRequest]
    ) -> None:
        self._path = _decoded(unquote_to_bytes(path))
        self._options = options
        self._method = "GET" if options.response_mode == "query" else "POST"
        self._hosts = Hosts(options.allowed_hosts)
        self._inbox = inbox
        self._feeds = feeds

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        taken: list[Slot] = []
        try:
            answer = self._answer(environ, taken.append)
            status, headers, body = answer.parts()
        except BaseException:
            # The path alone: the rest of the address may be secret.
            place = printable(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
            _log.exception("%s: the callback server failed", place)
            status, headers, body = plain(500, "The callback server failed; see its log.").parts()
        start_response(status, headers)
        # `on_exchange` has to hear of it at once.
        return _in_pieces(body) if taken else [body]

    def on_exchange(self, record: ExchangeRecord) -> None:
        """An answer is out, or its reader has left. The server's loop thread."""
        if record.request is not None:
            self._inbox.on_sent(record.request.method, record.request.target)

    def _answer(self, environ: Environ, on_taken: Callable[[Slot], object]) -> CallbackAnswer:
        host = environ.get("HTTP_HOST", "")
        if not self._hosts.allow(host):
            # A name that leads here for the sake of reading what is here (DNS rebinding).
            return plain(403, f"There is nothing here for the host {printable(name_of(host))}.")
        try:
            request = self._read(environ)
        except (AserveError, OSError):  # the body is broken, or its sender has left
            return plain(400, "The body did not arrive.")
        if request is None:
            return plain(413, f"The body may have {self._options.body_limit} bytes at most.")
        if not self._feeds.put(request, _size_of(request)):
            return plain(503, "Too many requests wait to be read.", ("Retry-After", "1"))
        if self._options.answer is not None:
            answer: object = self._options.answer(request)
            if isinstance(answer, int):
                return CallbackAnswer(answer)
            if isinstance(answer, CallbackAnswer):
                return answer
            if answer is not None:
                kind = type(answer).__name__
                raise TypeError(f"`answer` returned {kind}, and not CallbackAnswer, int or None")
        return self._answer_callback(request, environ["RAW_URI"].encode("latin-1"), on_taken)

    def _read(self, environ: Environ) -> CallbackRequest | None:
        """The request with its body; None when that is too long."""
        limit = self._options.body_limit
        body = environ["wsgi.input"].read(limit + 1)
        if len(body) > limit:
            return None
        headers = {
            key.removeprefix("HTTP_").replace("_", "-").lower(): value
            for key, value in environ.items()
            if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
        }
        return CallbackRequest(
            method=environ["REQUEST_METHOD"],
            path=_decoded(environ["PATH_INFO"].encode("latin-1")),
            query=environ["QUERY_STRING"],
            headers=headers,
            body=body,
        )

    def _answer_callback(
        self, request: CallbackRequest, target: bytes, on_taken: Callable[[Slot], object]
    ) -> CallbackAnswer:
        if request.path != self._path:
            return plain(404, "There is nothing here.")
        if request.method != self._method:
            return plain(405, f"Only {self._method} is answered here.", ("Allow", self._method))
        if "prefetch" in request.headers.get("sec-purpose", request.headers.get("purpose", "")):
            # Nobody has seen it; when somebody does, the browser asks again.
            return plain(503, "This address is not to be fetched ahead.")
        text = request.query
        if self._method == "POST":
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            text = request.body.decode("utf-8", "replace") if kind == _FORM else ""
        params = params_of(text) or {}
        verdict, slot = self._inbox.take(params, (request.method, target))
        if verdict is Verdict.TAKEN and slot is not None:
            on_taken(slot)
            return self._page_for(params)
        if verdict is Verdict.REPEATED:
            return page(200, "This has been done already", _DONE)
        return page(
            400,
            "This is not what the program waits for",
            "The address belongs to another attempt, or is not complete. Begin again in the "
            "program; it still waits.",
        )

    def _page_for(self, params: dict[str, str]) -> CallbackAnswer:
        if "error" in params:
            reason = printable(params.get("error_description") or params["error"])
            return page(200, "It was not granted", f"The answer is: {reason}. {_DONE}")
        if self._options.redirect is not None:
            return redirect(self._options.redirect)
        return page(200, "All is well", self._options.text or _DONE)


def _decoded(path: bytes) -> str:
    return path.decode("utf-8", "replace")


def _in_pieces(body: bytes) -> Iterator[bytes]:
    """What comes in one piece is sent by the worker, and the loop hears of it some time later."""
    yield body[:1]
    yield body[1:]


def _size_of(request: CallbackRequest) -> int:
    """About how much memory it holds, in bytes."""
    fields = sum(len(name) + len(value) for name, value in request.headers.items())
    return len(request.body) + len(request.query) + len(request.path) + fields
