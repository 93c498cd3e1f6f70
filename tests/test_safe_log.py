"""`aserve.safe_log`: whatever an exception says, its log line is one, and obeys nobody."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator

import pytest

from aserve.safe_log import get_logger, log_exception, traceback_text

EVIL = "first\n[2026-01-01] ERROR forged\r\n\x1b[2J\u202e\n\tindented"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What a handler of the app writes, with a formatter of the app."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)


def raised(make: Callable[[], BaseException]) -> BaseException:
    try:
        raise make()
    except BaseException as error:
        return error


def with_notes() -> Exception:
    error = ValueError("x")
    error.add_note(EVIL)
    error.__notes__.append(Unsaid())  # type: ignore[arg-type]
    return error


class Unsaid:
    def __str__(self) -> str:
        raise RuntimeError


def chained() -> Exception:
    error = ValueError(EVIL)
    error.__cause__ = raised(lambda: LookupError(EVIL))
    error.__cause__.__context__ = raised(lambda: KeyError(EVIL))
    return error


CASES: dict[str, Callable[[], BaseException]] = {
    "message": lambda: ValueError(EVIL),
    "notes": with_notes,
    "chain": chained,
    "group": lambda: ExceptionGroup(EVIL, [ValueError(EVIL), ExceptionGroup("x", [chained()])]),
    "syntax": lambda: SyntaxError(EVIL, ("<x>", 1, 1, "a =", 1, 2)),
    "file": lambda: SyntaxError("x", (EVIL, 1, 1, "a =", 1, 2)),
    "class": lambda: type("X\n[2026-01-01] ERROR forged", (Exception,), {})("m"),
    "module": lambda: type("X", (Exception,), {"__module__": EVIL})("m"),
    "line": lambda: SyntaxError("m", ("f", "1\n[2026-01-01] ERROR forged", 1, "x")),  # type: ignore[arg-type]
    "controls": lambda: ValueError("a\n\x0b[2026-01-01] ERROR forged\n\x85[2026"),
    "subclass": lambda: type("Own", (Exception,), {"__str__": lambda self: EVIL})(),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_no_exception_begins_a_line(make: Callable[[], BaseException], stream: io.StringIO) -> None:
    error = raised(make)
    get_logger("aserve.error").error("it failed", exc_info=error)
    log_exception(get_logger("aserve"), "it failed", error)
    text = stream.getvalue()
    assert text.count("ERROR it failed\n") == 2
    for line in text.splitlines():
        assert "\x1b" not in line
        assert "\u202e" not in line
        assert not line.lstrip("\\xvb0185").startswith("[2026"), text
    assert "forged" in text or make is CASES["file"]


def test_a_file_whose_name_has_a_line_feed() -> None:
    with pytest.raises(ValueError, match="x") as caught:
        exec(compile("raise ValueError('x')", "a\nforged", "exec"), {"__name__": "x"})
    assert 'File "a\\nforged", line 1' in traceback_text(caught.value)


@pytest.mark.parametrize("name", ["aserve", "aserve.error"])
def test_messages(name: str, stream: io.StringIO) -> None:
    get_logger(name).warning("from %s", EVIL)
    first, *rest = stream.getvalue().split("\n")
    assert first == "WARNING from first"
    assert rest == ["    [2026-01-01] ERROR forged", "    \\x1b[2J\\u202e", "\tindented", ""]
    assert get_logger(name).filters.count(get_logger(name).filters[0]) == 1


def test_what_an_app_does_with_the_exception_is_its_own() -> None:
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = seen.append  # type: ignore[method-assign, assignment]
    logger = get_logger("aserve")
    logger.addHandler(handler)
    try:
        error = raised(lambda: ValueError("x"))
        log_exception(logger, "it failed", error, lambda text: text.replace("x", "y"))
    finally:
        logger.removeHandler(handler)
    (record,) = seen
    assert record.exc_info == (ValueError, error, error.__traceback__)
    assert record.exc_text is not None
    assert record.exc_text.endswith("ValueError: y")


def test_nothing_is_made_that_nobody_writes() -> None:
    logger = get_logger("aserve")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        log_exception(logger, "x", ValueError(), lambda text: pytest.fail("made"))
    finally:
        logger.setLevel(level)
