"""Running an application: `start_response`, `write`, iteration, `close` (PEP 3333).

`ResponseWriter` is used by one worker thread, for one request. What it makes goes into a
`Sink`, which may block (back-pressure) or raise `ClientDisconnected`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any, Final, Protocol

from ..errors import WSGIError
from ..events import Response
from ..safe_log import get_logger
from ..types import Environ, ExcInfo, Write, WSGIApp, WSGIHeaders
from .file_wrapper import FileWrapper

__all__ = ["ResponseWriter", "Sink", "make_response"]

# PEP 3333: a status is "999 Reason", neither with control characters; a reason may be missing.
_STATUS: Final = re.compile(r"([1-9][0-9]{2})(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.1
# RFC 9110 section 5.5: CR, LF and NUL are dangerous, the other controls invalid.
_BAD_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# PEP 3333 "Other HTTP Features": an application may not frame its own message.
_FRAMING: Final = ("transfer-encoding", "keep-alive")

_log: Final = get_logger("aserve.error")


class Sink(Protocol):
    """Where a response goes; the methods are called in the worker thread."""

    def whole(self, response: Response, body: bytes) -> None:
        """The complete response."""
        ...

    def head(self, response: Response) -> None:
        """The head; body and end follow."""
        ...

    def data(self, data: bytes) -> None:
        """A piece of the body. May block; raises `ClientDisconnected`, also for an empty one."""
        ...

    def file(self, descriptor: int, offset: int, size: int) -> int | None:
        """Let the kernel send a part of a file; None when it cannot, else the bytes sent."""
        ...

    def end(self) -> None:
        """The response is complete."""
        ...


@functools.lru_cache(maxsize=256)
def make_response(status: str, headers: tuple[tuple[str, str], ...]) -> Response:
    """Check status and headers and make the event, the same one for the same arguments.

    Raises:
        WSGIError: They cannot be sent; the message names the header, not its value.
    """
    match = _STATUS.fullmatch(status)
    if match is None:
        raise WSGIError("the status must be three digits, a space and a reason in one line")
    if match[1] < "200":
        # RFC 9110 section 15.2: an interim one, behind which clients wait for the answer.
        raise WSGIError(f"the status {match[1]} is no final one: it must be 200 or more")
    raw = []
    length: int | None = None
    for name, value in headers:
        if _NAME.fullmatch(name) is None:
            raise WSGIError(f"the response header name {name!r} is not a token")
        if _BAD_VALUE.search(value):
            raise WSGIError(f"the response header {name} has a control character in its value")
        try:
            raw.append((name.encode("ascii"), value.strip(" \t").encode("latin-1")))
        except UnicodeEncodeError:
            raise WSGIError(f"the response header {name} has characters outside latin-1") from None
        key = name.lower()
        if key == "content-length":
            length = _content_length(value.strip(), length)
        elif key in _FRAMING:
            # Mostly copied from the answer of another server, so the rest of it is fine.
            raw.pop()
            _log.warning("The response header %s was left out: framing is up to the server", name)
    reason = (match[2] or "").encode("latin-1", "replace")
    return Response(int(match[1]), reason, tuple(raw), length)


def _content_length(text: str, earlier: int | None) -> int:
    # 18 digits are an exabyte; Python itself refuses to convert some thousands of them.
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise WSGIError(f"Content-Length must be a number, not {text!r}")
    if earlier is not None:
        raise WSGIError("Content-Length is given twice")
    return int(text)


def _check_types(status: object, headers: object) -> tuple[tuple[str, str], ...]:
    """Headers as a tuple of pairs of str, or a WSGIError that says what is wrong."""
    if not isinstance(status, str):
        raise WSGIError(f"the status must be str, not {type(status).__name__}")
    if not isinstance(headers, list):
        raise WSGIError(f"the headers must be a list, not {type(headers).__name__}")
    for item in headers:
        if not (isinstance(item, tuple) and len(item) == 2):
            raise WSGIError("each header must be a tuple of a name and a value")
        name, value = item
        if not isinstance(name, str) or not isinstance(value, str):
            raise WSGIError(f"name and value of the header {name!r} must both be str")
    return tuple(headers)


class ResponseWriter:
    """Runs the application for one request and sends what it answers.

    Args:
        sink: Where the response goes.
        is_head: The request's method is HEAD, so a body is neither sent nor counted.
    """

    __slots__ = (
        "_bodiless",
        "_complete",
        "_headers",
        "_is_head",
        "_left",
        "_response",
        "_sink",
        "_status",
        "started",
    )

    def __init__(self, sink: Sink, *, is_head: bool) -> None:
        self._sink = sink
        self._is_head = is_head
        self._status: str | None = None
        self._headers: tuple[tuple[str, str], ...] = ()
        self._response: Response | None = None
        self._bodiless = is_head
        # Bytes of the body still to be sent by Content-Length; None when it is open.
        self._left: int | None = None
        self._complete = False  # the whole response went out in one piece
        # Whether the head was sent, so that no other answer is possible.
        self.started = False

    def run(self, app: WSGIApp, environ: Environ) -> None:
        """Call the application and send its response. `close()` is called in every case.

        Raises:
            WSGIError: The application broke PEP 3333.
            ClientDisconnected: The client left.
            BaseException: Whatever the application raised.
        """
        result = app(environ, self.start_response)
        try:
            if type(result) is list or type(result) is tuple:
                self._send_list(result)
            elif isinstance(result, FileWrapper):
                self._send_file(result)
            else:
                self._send_iterable(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def start_response(
        self, status: str, headers: WSGIHeaders, exc_info: ExcInfo | None = None, /
    ) -> Write:
        """The callable of PEP 3333; nothing is sent before the first bytes of the body.

        Raises:
            WSGIError: Called twice without `exc_info`, or with something that cannot be sent.
        """
        if exc_info is not None:
            try:
                if self.started:
                    # The head is gone: nothing can be replaced, the request has failed.
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # PEP 3333: break the reference cycle through the frame
        elif self._status is not None:
            raise WSGIError("start_response was called a second time without exc_info")
        pairs = _check_types(status, headers)
        self._response = make_response(status, pairs)
        self._status, self._headers = status, pairs
        return self.write

    def write(self, data: bytes) -> None:
        """The legacy `write` callable: sends at once, may block.

        Raises:
            WSGIError: Not bytes, before `start_response`, or more than Content-Length.
            ClientDisconnected: The client left.
        """
        if type(data) is not bytes:
            data = _as_bytes(data)
        if not data:
            if self.started:
                self._sink.data(data)  # a step is a step: the client may have left
            return
        if not self.started:
            if self._is_all(data):
                return
            self._start()
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                # PEP 3333: a server must not send more; the part that fits goes out.
                surplus = -self._left
                self._left = 0
                if surplus < len(data):
                    self._sink.data(data[:-surplus])
                raise WSGIError(f"the body is {surplus} bytes longer than Content-Length, or more")
        self._sink.data(data)

    def _is_all(self, data: bytes) -> bool:
        """Whether the first piece is the whole body, as frameworks make it; then it is sent.

        PEP 3333 ("Handling the Content-Length Header") lets a server stop there: whatever the
        application does behind it, the client need not wait for.
        """
        response = self._response
        if response is None or response.content_length != len(data) or self._has_no_body(response):
            return False
        self.started = self._complete = True
        self._left = 0
        self._sink.whole(response, data)
        return True

    def _start(self) -> None:
        response = self._response
        if response is None:
            raise WSGIError("the application did not call start_response before the first bytes")
        self.started = True
        self._bodiless = self._has_no_body(response)
        self._left = None if self._bodiless else response.content_length
        self._sink.head(response)

    def _has_no_body(self, response: Response) -> bool:
        return self._is_head or response.status_code in (204, 304)

    def _send_list(self, result: list[bytes] | tuple[bytes, ...]) -> None:
        """All of the body is here: send it in one piece, with its length."""
        if self.started:  # write() was used before
            self._send_iterable(result)
            return
        body = result[0] if len(result) == 1 else b"".join(map(_as_bytes, result))
        if type(body) is not bytes:
            body = _as_bytes(body)
        response = self._response
        if response is None:
            raise WSGIError("the application did not call start_response")
        if response.content_length is None:
            response = self._with_length(response, len(body))
        elif response.content_length != len(body) and not self._has_no_body(response):
            raise WSGIError(
                f"the body has {len(body)} bytes, but Content-Length says {response.content_length}"
            )
        self.started = True
        self._sink.whole(response, body)

    def _with_length(self, response: Response, length: int) -> Response:
        if response.status_code in (204, 304):
            # RFC 9110 section 8.6: a length here would be a guess about another response.
            return response
        if self._is_head and not length:
            return response  # the application may have left the body away by itself
        assert self._status is not None
        return make_response(self._status, (*self._headers, ("Content-Length", str(length))))

    def _send_iterable(self, result: Iterable[bytes] | None) -> None:
        if result is None:
            raise WSGIError("the application returned None, not an iterable of bytes")
        for item in result:
            self.write(item)
            if self._bodiless and self.started:
                # The rest would be thrown away (HEAD, 204, 304), and may have no end.
                break
        self._finish()

    def _finish(self) -> None:
        if not self.started:
            # Nothing but empty items: still a response (PEP 3333, "Handling the Content-Length").
            response = self._response
            if response is None:
                raise WSGIError("the application did not call start_response")
            if response.content_length and not self._has_no_body(response):
                raise WSGIError(
                    f"the body is empty, but Content-Length says {response.content_length}"
                )
            if response.content_length is None:
                response = self._with_length(response, 0)
            self.started = True
            self._sink.whole(response, b"")
            return
        if self._left:
            raise WSGIError(f"the body is {self._left} bytes shorter than Content-Length")
        if not self._complete:
            self._sink.end()

    def _send_file(self, wrapper: FileWrapper) -> None:
        response = self._response
        if response is not None and self._has_no_body(response):
            self._send_iterable(wrapper)
            return
        region = None if response is None or self.started else wrapper.region()
        if response is None or region is None or not self._send_region(response, *region):
            self._copy_file(wrapper)
        self._finish()

    def _send_region(self, response: Response, descriptor: int, offset: int, size: int) -> bool:
        """Have the kernel send the body; False when it cannot, and then only the head is out."""
        if response.content_length is None:
            self._response = self._with_length(response, size)
        else:
            size = min(size, response.content_length)
        self._start()
        sent = self._sink.file(descriptor, offset, size)
        if sent is None:
            return False
        assert self._left is not None
        self._left -= sent
        return True

    def _copy_file(self, wrapper: FileWrapper) -> None:
        """What the kernel does elsewhere: no more than Content-Length, however long the file is."""
        for block in wrapper:
            if not self.started:
                self._start()
            self.write(block[: self._left])
            if self._left == 0:
                break


def _as_bytes(data: Any) -> bytes:
    # PEP 3333 wants bytes; bytearray and memoryview are harmless and copied.
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise WSGIError(f"the body must be bytes, not {type(data).__name__}")
