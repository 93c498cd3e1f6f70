"""Apps that break PEP 3333 as rows: what their client gets, and what the log says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .pep3333 import BUFFERING, LENGTH, START, answering
from .wsgi_server import App

CUT = 0  # instead of a status: the response breaks off


@dataclass(frozen=True)
class WrongRow:
    """What must come back (a status or CUT), and what the log must say."""

    section: str
    name: str
    app: App
    status: int
    log: str
    body: bytes | None = None


def _raising(error: BaseException) -> App:
    def app(environ: Any, start_response: Any) -> Any:
        raise error

    return app


def _raising_midway(error: BaseException) -> App:
    def items() -> Iterator[bytes]:
        yield b"first"
        raise error

    return answering(items)


def _starts_twice(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return [b"x"]


def _exc_info_too_late(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])(b"first")
    try:
        raise ValueError("too late")
    except ValueError:
        start_response("500 Oh", [], sys.exc_info())
    return []


def _never_starts(environ: Any, start_response: Any) -> list[bytes]:
    return [b"x"]


def _writes_text(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])("text")
    return []


class _BrokenClose:
    def __iter__(self) -> Iterator[bytes]:
        return iter([b"x"])

    def close(self) -> None:
        raise ValueError("close failed")


BROKE = r"ERROR GET /: the application broke WSGI \(PEP 3333\): "
RAISED = r"ERROR GET /: the application raised an exception\n(?s:.*)"
ERRORS = "Error Handling"
THREE = ("Content-Length", "3")

WRONG = [
    WrongRow(START, "never called", _never_starts, 500, BROKE + ".*did not call start_response"),
    WrongRow(START, "B60 called twice", _starts_twice, 500, BROKE + ".*second time"),
    WrongRow(START, "status is a number", answering([], status=200), 500,  # type: ignore[arg-type]
             BROKE + "the status must be str, not int"),
    WrongRow(START, "status is bytes", answering([], status=b"200 OK"), 500,  # type: ignore[arg-type]
             BROKE + "the status must be str, not bytes"),
    WrongRow(START, "status without code", answering([], status="OK"), 500, BROKE + ".*digits"),
    WrongRow(START, "status with a line break", answering([], status="200 A\r\nX: 1"), 500,
             BROKE + ".*one line"),
    WrongRow(START, "header with a line break", answering([], ("X", "secret\r\nY: 1")), 500,
             BROKE + "the response header X has a control character"),
    WrongRow(START, "header with NUL", answering([], ("X", "secret\0")), 500, BROKE + ".*X has"),
    WrongRow(START, "name that is no token", answering([], ("X Y", "1")), 500, BROKE + ".*token"),
    WrongRow(START, "name is bytes", answering([], (b"X", "1")), 500,  # type: ignore[arg-type]
             BROKE + ".*must both be str"),
    WrongRow(START, "value is a number", answering([], ("X", 1)), 500,  # type: ignore[arg-type]
             BROKE + ".*'X' must both be str"),
    WrongRow(START, "value outside latin-1", answering([], ("X", "☃")), 500, BROKE + ".*latin-1"),
    WrongRow(LENGTH, "is not a number", answering([], ("Content-Length", "x")), 500,
             BROKE + "Content-Length must be a number"),
    WrongRow(LENGTH, "list too short", answering([b"ab"], THREE), 500, BROKE + ".*has 2 bytes"),
    WrongRow(LENGTH, "list too long", answering([b"abcd"], THREE), 500, BROKE + ".*has 4 bytes"),
    WrongRow(LENGTH, "generator too short", answering(lambda: iter([b"ab"]), THREE), CUT,
             BROKE + ".*1 bytes shorter", b"ab"),
    WrongRow(LENGTH, "generator without bytes", answering(lambda: iter([]), THREE), 500,
             BROKE + ".*is empty"),
    WrongRow(LENGTH, "generator too long", answering(lambda: iter([b"ab", b"cd"]), THREE), 200,
             BROKE + ".*1 bytes longer", b"abc"),
    WrongRow(BUFFERING, "B63 list of str", answering(["abc"]), 500, BROKE + ".*bytes, not str"),
    WrongRow(BUFFERING, "B63 a str", answering("abc"), 500, BROKE + ".*bytes, not str"),
    WrongRow(BUFFERING, "B63 generator of str", answering(lambda: iter(["abc"])), 500,
             BROKE + ".*bytes, not str"),
    WrongRow(BUFFERING, "B63 str after bytes", answering(lambda: iter([b"a", "b"])), CUT,
             BROKE + ".*bytes, not str", b"a"),
    WrongRow("The write() Callable", "B63 of str", _writes_text, 500, BROKE + ".*bytes, not str"),
    WrongRow(BUFFERING, "returns None", answering(None), 500,
             BROKE + "the application returned None"),
    WrongRow(ERRORS, "B57 raises", _raising(ValueError("oh")), 500, RAISED + "ValueError: oh"),
    WrongRow(ERRORS, "SystemExit", _raising(SystemExit(3)), 500, RAISED + "SystemExit: 3"),
    WrongRow(ERRORS, "KeyboardInterrupt", _raising(KeyboardInterrupt()), 500,
             RAISED + "KeyboardInterrupt"),
    WrongRow(ERRORS, "BaseException", _raising(BaseException("base")), 500,
             RAISED + "BaseException: base"),
    WrongRow(ERRORS, "OSError of its own (B65)", _raising(OSError(5, "disk")), 500,
             RAISED + "OSError: .*disk"),
    WrongRow(ERRORS, "B56 raises midway", _raising_midway(ValueError("oh")), CUT,
             RAISED + "ValueError: oh", b"first"),
    WrongRow(ERRORS, "B56 SystemExit midway", _raising_midway(SystemExit()), CUT,
             RAISED + "SystemExit", b"first"),
    WrongRow(ERRORS, "B60 exc_info too late", _exc_info_too_late, CUT,
             RAISED + "ValueError: too late", b"first"),
    WrongRow("Specification Details", "B58 close() raises", answering(_BrokenClose), 200,
             RAISED + "ValueError: close failed", b"x"),
]  # fmt: skip
