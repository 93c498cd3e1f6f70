"""`aserve.console`: banner, access lines, logging rule, colours."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aserve.config import ServerConfig
from aserve.console import About, Console, access_line, configure_logging, wants_colour
from aserve.console.logs import OwnHandler
from aserve.events import ExchangeRecord, Request
from aserve.net.address import urls_of
from aserve.net.listeners import open_listeners

_WHEN = time.mktime((2026, 11, 21, 12, 3, 4, 0, 0, -1))


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and keeps what is written."""

    def isatty(self) -> bool:
        return True


def _record(target: bytes = b"/", status: int = 200, *, complete: bool = True) -> ExchangeRecord:
    request = Request("GET", target, b"/", b"", "1.1", (), b"localhost", True, 0, False)
    return ExchangeRecord(request, b"", status, 12, _WHEN, 0.0015, "127.0.0.1", complete)


def _unparsable(raw_head: bytes) -> ExchangeRecord:
    return replace(_record(status=400), request=None, raw_head=raw_head)


@pytest.fixture(autouse=True)
def no_colour_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the shell of the developer says about colours."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


@contextlib.contextmanager
def fresh_logging() -> Iterator[None]:
    """Nothing is configured, as in a fresh process; put back what was there.

    A decorator and no fixture: pytest adds its handlers after the fixtures were made.
    """
    loggers = [logging.root, *map(logging.getLogger, ("aserve", "aserve.access", "aserve.error"))]
    saved = [(logger, logger.handlers[:], logger.level, logger.disabled) for logger in loggers]
    for logger in loggers:
        logger.handlers[:] = []
    for logger in loggers[1:]:
        logger.setLevel(logging.NOTSET)
    try:
        yield
    finally:
        for logger, handlers, level, disabled in saved:
            logger.handlers[:] = handlers
            logger.setLevel(level)
            logger.disabled = disabled
            logger.filters[:] = []


# --- access lines ---------------------------------------------------------------------------


def test_access_line() -> None:
    """B116: client, time, request, status, size, duration."""
    line = access_line(_record(b"/a?b=c"))
    assert line == '127.0.0.1 [2026-11-21 12:03:04] "GET /a?b=c HTTP/1.1" 200 12 1.5ms'


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/w%C3%B6rld", "/wörld"),
        (b"/w\xc3\xb6rld", "/wörld"),
        (b"/%e2%82%ac?q=%E2%82%AC", "/€?q=€"),
        (b"/%FF", "/\\xff"),
        (b"/\xff", "/\\xff"),
        (b"/%0d%0aforged", "/\\x0d\\x0aforged"),
        (b"/%1b[31m", "/\\x1b[31m"),
        (b"/%C2%9b31m", "/\\x9b31m"),
        (b"/%E2%80%AEtxt", "/\\u202etxt"),
        (b"/a\\b%5Cc", "/a\\\\b\\\\c"),
        (b"/a%20b%22c%25d", "/a%20b%22c%25d"),
        (b'/a"b', "/a%22b"),
        (b"/%zz%", "/%zz%"),
    ],
)
def test_target_is_readable_and_safe(target: bytes, shown: str) -> None:
    """B116: an IRI for people; control characters and the backslash are escaped."""
    assert f'"GET {shown} HTTP/1.1"' in access_line(_record(target))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"NONSENSE\r\nx: y", "NONSENSE"),
        (b"\x16\x03\x01\x02", "\\x16\\x03\\x01\\x02"),
        (b'GET "\\\xff', "GET \\x22\\\\\\xff"),
        (b"A" * 500, "A" * 120),
        (b"", "-"),
    ],
)
def test_unparsable_request_is_shown_safely(raw: bytes, shown: str) -> None:
    """B118."""
    assert f'"{shown}" 400 ' in access_line(_unparsable(raw))


@given(st.binary(max_size=80), st.booleans())
def test_no_request_forges_a_line(raw: bytes, parsed: bool) -> None:
    """B116, B118: one printable line with exactly two quotes, whatever was sent."""
    line = access_line(_record(raw) if parsed else _unparsable(raw))
    assert line.splitlines() == [line]
    assert line.count('"') == 2
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", line)


@pytest.mark.parametrize(
    ("status", "complete", "end"),
    [
        (200, False, '" 200 12 1.5ms (cut)'),
        (0, False, '" - 12 1.5ms (cut)'),
        (101, True, '" 101 12 1.5ms'),
    ],
)
def test_end_of_the_line(status: int, complete: bool, end: str) -> None:
    assert access_line(_record(status=status, complete=complete)).endswith(end)


@pytest.mark.parametrize(
    ("status", "code"),
    [(101, "\x1b[2m"), (304, "\x1b[36m"), (404, "\x1b[33m"), (500, "\x1b[1;31m")],
)
def test_colour_follows_the_class_of_the_status(status: int, code: str) -> None:
    """B117."""
    line = access_line(_record(status=status), colour=True)
    assert f'{code}"GET / HTTP/1.1" {status}\x1b[0m 12' in line
    assert access_line(_record(), colour=True) == access_line(_record())


@fresh_logging()
def test_many_targets_do_not_grow_the_memory() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    console = Console(ServerConfig(), stream=stream)
    for number in range(2000):
        console.on_exchange(_record(b"/%d" % number))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2000
    assert '"GET /1999 HTTP/1.1"' in lines[-1]
    assert len(console._lines._requests) <= 512


# --- logging --------------------------------------------------------------------------------


@fresh_logging()
def test_lines_are_written_directly_while_nothing_else_listens() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    Console(ServerConfig(), stream=stream).on_exchange(_record())
    assert stream.getvalue() == access_line(_record()) + "\n"


@fresh_logging()
def test_own_handler_is_silent_when_the_app_has_one() -> None:
    """B115: one line, by whoever configured logging, whenever that was."""
    ours, theirs = io.StringIO(), io.StringIO()
    configure_logging("info", ours)
    console = Console(ServerConfig(), stream=ours)
    handler = logging.StreamHandler(theirs)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    logging.root.addHandler(handler)
    console.on_exchange(_record())
    logging.getLogger("aserve.error").error("broken")
    assert ours.getvalue() == ""
    assert theirs.getvalue().splitlines() == [
        f"aserve.access INFO {access_line(_record())}",
        "aserve.error ERROR broken",
    ]
    logging.root.removeHandler(handler)
    console.on_exchange(_record())
    assert ours.getvalue() == access_line(_record()) + "\n"


@fresh_logging()
def test_handler_beside_ours_gets_the_record() -> None:
    seen: list[logging.LogRecord] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    configure_logging("info", io.StringIO())
    logging.getLogger("aserve.access").addHandler(Collect())
    record = _record()
    Console(ServerConfig()).on_exchange(record)
    assert seen[0].exchange is record  # type: ignore[attr-defined]


@fresh_logging()
def test_filter_is_obeyed() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    logging.getLogger("aserve.access").addFilter(
        lambda record: "/health" not in record.getMessage()
    )
    console = Console(ServerConfig(), stream=stream)
    console.on_exchange(_record(b"/health"))
    console.on_exchange(_record(b"/page"))
    assert [line.split()[4] for line in stream.getvalue().splitlines()] == ["/page"]


@fresh_logging()
def test_null_handler_is_no_handler() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    logging.getLogger("aserve.access").addHandler(logging.NullHandler())
    Console(ServerConfig(), stream=stream).on_exchange(_record())
    assert stream.getvalue() == access_line(_record()) + "\n"


@fresh_logging()
def test_level_is_set_only_when_the_app_did_not() -> None:
    """B115."""
    package = logging.getLogger("aserve")
    configure_logging("warning", io.StringIO())
    assert package.level == logging.WARNING
    configure_logging("debug", io.StringIO())
    assert package.level == logging.DEBUG
    assert len(package.handlers) == 1
    package.setLevel(logging.CRITICAL)
    configure_logging("info", io.StringIO())
    assert package.level == logging.CRITICAL


@fresh_logging()
def test_level_above_info_silences_access_lines_and_banner() -> None:
    stream = io.StringIO()
    configure_logging("warning", stream)
    console = Console(ServerConfig(log_level="warning"), stream=stream)
    console.on_exchange(_record())
    console.on_ready(_Server(("http://127.0.0.1:1",)))
    assert stream.getvalue() == ""


@fresh_logging()
def test_loggers_are_switched_on_again() -> None:
    """`logging.config` disables loggers that it does not know; errors must not vanish by that."""
    logger = logging.getLogger("aserve.error")
    logger.disabled = True
    stream = io.StringIO()
    configure_logging("info", stream)
    logger.error("heard")
    assert stream.getvalue().endswith("] ERROR heard\n")


@fresh_logging()
def test_error_lines_have_time_level_and_traceback() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    try:
        raise ValueError("inner")
    except ValueError:
        logging.getLogger("aserve.error").exception("GET / failed")
    lines = stream.getvalue().splitlines()
    assert re.fullmatch(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] ERROR GET / failed", lines[0])
    assert lines[-1] == "ValueError: inner"


@fresh_logging()
def test_level_is_coloured_on_a_terminal_only() -> None:
    for stream, expected in ((Terminal(), "\x1b[31mERROR\x1b[0m"), (io.StringIO(), " ERROR ")):
        configure_logging("info", stream)
        logging.getLogger("aserve.error").error("x")
        assert expected in stream.getvalue()


@fresh_logging()
def test_no_access_log() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    Console(ServerConfig(access_log=False), stream=stream).on_exchange(_record())
    assert stream.getvalue() == ""


@fresh_logging()
def test_closed_stream_does_not_stop_the_server() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    console = Console(ServerConfig(), stream=stream)
    stream.close()
    for _ in range(2):
        console.on_exchange(_record())
    logging.getLogger("aserve.error").error("unheard")


@fresh_logging()
def test_stream_of_a_narrow_encoding() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", line_buffering=True)
    configure_logging("info", stream)
    Console(ServerConfig(), stream=stream).on_exchange(_record(b"/w%C3%B6"))
    assert b"GET /w\\xf6 HTTP/1.1" in raw.getvalue()


# --- colour ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terminal", "environment", "expected"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (True, {"FORCE_COLOR": "0"}, False),
        (False, {"FORCE_COLOR": ""}, False),
        (False, {"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        (True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_when_to_colour(terminal: bool, environment: dict[str, str], expected: bool) -> None:
    """B117: NO_COLOR, FORCE_COLOR, TERM=dumb, and no terminal."""
    assert wants_colour(Terminal() if terminal else io.StringIO(), environment) is expected


def test_closed_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()
    assert not wants_colour(stream, {})


# --- banner ---------------------------------------------------------------------------------


@dataclass
class _Server:
    """What the banner needs of a server."""

    urls: tuple[str, ...] | list[str]
    sockets: tuple[socket.socket, ...] | list[socket.socket] = ()


def _banner(server: _Server, stream: io.StringIO, about: About | None = None) -> str:
    Console(ServerConfig(), about, stream=stream).on_ready(server)
    return stream.getvalue()


_ABOUT = About("shop:app", "shop.py:3", "Flask", notes=("A note.",))


def test_plain_banner_is_one_line_with_the_url() -> None:
    text = _banner(_Server(("http://127.0.0.1:8000", "http://[::1]:8000")), io.StringIO(), _ABOUT)
    note, line = text.splitlines()
    assert note == "A note."
    pattern = (
        r"aserve \S+: shop:app \(Flask, shop\.py:3\) on http://localhost:8000, "
        r"ready in \d+ ms\. Press Ctrl-C to stop\."
    )
    assert re.fullmatch(pattern, line)


def test_banner_is_printed_one_time() -> None:
    """B15."""
    stream = io.StringIO()
    console = Console(ServerConfig(), stream=stream)
    for _ in range(2):
        console.on_ready(_Server(("http://127.0.0.1:8000",)))
    assert stream.getvalue().count("Press Ctrl-C") == 1


def test_banner_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = _banner(_Server(("http://127.0.0.1:8000",)), Terminal(), _ABOUT)
    assert [line.strip() for line in text.splitlines()][2:] == [
        "",
        "App      shop:app (Flask, shop.py:3)",
        "Local    http://127.0.0.1:8000",
        "On       40 threads, access log",
        "",
        "A note.",
        "Press Ctrl-C to stop.",
        "",
    ]


@pytest.mark.parametrize(
    ("processes", "threads", "row"),
    [(1, 1, "1 thread"), (3, 1, "3 processes, 1 thread"), (3, 4, "3 processes, 4 threads")],
)
def test_banner_counts_processes_and_threads(
    monkeypatch: pytest.MonkeyPatch, processes: int, threads: int, row: str
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    config = ServerConfig(processes=processes, threads=threads)
    Console(config, stream=stream).on_ready(_Server(("http://127.0.0.1:8000",)))
    assert f"  On       {row}, access log\n" in stream.getvalue()


def test_colours_of_the_banner_change_no_text() -> None:
    server = _Server(("http://127.0.0.1:8000",))
    coloured = _banner(server, Terminal(), _ABOUT)
    assert "\x1b[36mhttp://127.0.0.1:8000\x1b[0m" in coloured
    assert "\x1b" not in re.sub(r"\x1b\[\d+m", "", coloured)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_all_interfaces_show_loopback_network_and_one_calm_line(host: str) -> None:
    """B14, B16."""
    sockets = open_listeners(host, 0)
    try:
        text = _banner(_Server(urls_of(sockets), sockets), io.StringIO())
    finally:
        for sock in sockets:
            sock.close()
    banner, calm = text.splitlines()
    port = sockets and re.search(r"http://127\.0\.0\.1:(\d+)", banner)
    assert port
    others = re.findall(rf"http://(\S+):{port[1]}\b", banner)[1:]
    assert not {"0.0.0.0", "[::]", "127.0.0.1"} & set(others)
    assert calm == "This is a development server, and it can be reached from the network."


def test_unix_socket_is_shown() -> None:
    assert " on unix:///tmp/a.sock, ready" in _banner(
        _Server(("unix:///tmp/a.sock",)), io.StringIO()
    )


def test_one_family_is_shown_as_it_is() -> None:
    assert "http://[::1]:80," in _banner(_Server(("http://[::1]:80",)), io.StringIO())


def test_an_exception_that_cannot_be_shown_is_told() -> None:
    namespace: dict[str, type[Exception]] = {}
    exec("Nameless = type('Nameless', (Exception,), {})", namespace)
    try:
        raise namespace["Nameless"]("x")
    except Exception as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("aserve", logging.ERROR, "", 0, "failed", None, info)
    text = OwnHandler(io.StringIO()).format(record)
    assert "ERROR failed\n" in text
    assert text.endswith("Nameless (it cannot be shown: AttributeError)")
