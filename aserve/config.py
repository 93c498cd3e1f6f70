"""Every option, declared once.

`ServerConfig` and `Limits` are frozen dataclasses whose fields carry an `Option` with the
help text and the checks. Everything else derives from them: command-line flags
(`aserve.cli`), `[tool.aserve]` in pyproject.toml, `ASERVE_*` variables, keyword arguments of
`serve`, `open_server` and `run`, `aserve config`, and the options table of the documentation.

`aserve.resolve` merges the sources. A value that cannot be used raises `ConfigError`, which
names the option as its user wrote it, the value, and the fix.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypedDict, get_type_hints

from .errors import ConfigError

__all__ = [
    "APP_OPTION",
    "ENVIRONMENT_PREFIX",
    "LOG_LEVELS",
    "Limits",
    "Option",
    "ServerConfig",
    "ServerOptions",
    "check_value",
    "iter_options",
    "unknown_key",
]

ENVIRONMENT_PREFIX: Final = "ASERVE_"
LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")

Check = Callable[[Any], str | None]


class Option(NamedTuple):
    """What the doors need to know about one field of a configuration class.

    Args:
        name: The field, the key in pyproject.toml and the keyword argument.
        kind: The Python type of the value.
        default: Its default.
        help: One sentence for `--help` and the reference.
        group: The heading it stands under in `--help`.
        flags: Spellings on the command line, the long one first.
        off_flag: The spelling that switches a boolean off, or None.
        metavar: What stands for the value in `--help`.
        choices: The allowed texts, or empty.
        unit: "seconds", "bytes" or empty.
        check: Returns the fix for a bad value, or None for a good one.
        optional: Whether None is a value.
    """

    name: str
    kind: type
    default: Any
    help: str
    group: str
    flags: tuple[str, ...]
    off_flag: str | None
    metavar: str
    choices: tuple[str, ...]
    unit: str
    check: Check | None
    optional: bool

    @property
    def environment(self) -> str:
        """The environment variable, e.g. `ASERVE_PORT`."""
        return ENVIRONMENT_PREFIX + self.name.upper()


def _option(
    default: Any,
    help: str,
    *,
    group: str,
    flags: tuple[str, ...] = (),
    off_flag: str | None = None,
    metavar: str = "",
    choices: tuple[str, ...] = (),
    unit: str = "",
    check: Check | None = None,
) -> Any:
    return field(
        default=default,
        metadata={
            "option": {
                "help": help,
                "group": group,
                "flags": flags,
                "off_flag": off_flag,
                "metavar": metavar,
                "choices": choices,
                "unit": unit,
                "check": check,
            }
        },
    )


def _between(low: float, high: float) -> Check:
    def check(value: Any) -> str | None:
        return None if low <= value <= high else f"is not between {low:g} and {high:g}"

    return check


def _at_least(low: float) -> Check:
    def check(value: Any) -> str | None:
        return None if value >= low else f"must be at least {low:g}"

    return check


def _not_empty(value: Any) -> str | None:
    return None if value else "is empty; give a value or leave the option away"


# What to serve. It is no field of `ServerConfig`, because `serve` and `run` get the app itself;
# in the shell it is the argument, and a setting like the others.
APP_OPTION: Final = Option(
    name="app",
    kind=str,
    default=None,
    help="The app to serve: `module:attr`, `module:factory()`, `module` or a file.",
    group="App",
    flags=("APP",),
    off_flag=None,
    metavar="APP",
    choices=(),
    unit="",
    check=_not_empty,
    optional=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what a client may send. Each one is named in the 4xx that it causes."""

    # nginx and gunicorn (8,190) draw the line here; browsers stop at about 8,000 themselves.
    limit_request_line: int = _option(
        8190, "Longest request line; longer ones are answered 414.",
        group="Limits", unit="bytes", check=_at_least(64),
    )  # fmt: skip
    # http.server's own limit; gunicorn allows 100 fields of 8,190 bytes each.
    limit_request_head: int = _option(
        65_536, "Largest header block; larger ones are answered 431.",
        group="Limits", unit="bytes", check=_at_least(256),
    )  # fmt: skip
    # Twice gunicorn's and http.server's 100: proxies and tracing add dozens.
    limit_request_fields: int = _option(
        200, "Most header fields in one request; more are answered 431.",
        group="Limits", check=_at_least(1),
    )  # fmt: skip
    # Chunk extensions and trailers carry nothing that WSGI can pass on; 16 KiB is ample.
    limit_chunk_overhead: int = _option(
        16_384, "Most bytes of chunk extensions and trailers in one request.",
        group="Limits", unit="bytes", check=_at_least(64),
    )  # fmt: skip
    # One socket buffer: a form or a JSON call arrives whole, and no thread waits for its bytes.
    body_buffer: int = _option(
        65_536, "Request bodies up to this size are collected before a thread is taken.",
        group="Limits", unit="bytes", check=_at_least(0),
    )  # fmt: skip
    # A browser sends this much before it looks for an answer; beyond it, closing is cheaper.
    drain_body: int = _option(
        262_144, "How much of a body that the app left unread is read to keep the connection.",
        group="Limits", unit="bytes", check=_at_least(0),
    )  # fmt: skip
    # asyncio's own default: below it every write is a stall, above it only memory grows.
    send_buffer: int = _option(
        65_536, "How much of a response waits for a slow client before the app is held back.",
        group="Limits", unit="bytes", check=_at_least(1024),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig(Limits):
    """How to listen and how to serve; see the field comments and `aserve --help`."""

    host: str = _option(
        "localhost", "Name or address to listen on; `localhost` means 127.0.0.1 and ::1; "
        "`unix://PATH` a Unix socket.",
        group="Listening", flags=("--host", "-h"), metavar="HOST", check=_not_empty,
    )  # fmt: skip
    port: int = _option(
        8000, "Port to listen on; 0 picks a free one.",
        group="Listening", flags=("--port", "-p"), metavar="PORT", check=_between(0, 65535),
    )  # fmt: skip
    strict_port: bool = _option(
        False, "Never move to the next free port when the default one is taken.",
        group="Listening",
    )  # fmt: skip
    uds: str | None = _option(
        None, "Listen on this Unix socket instead of host and port.",
        group="Listening", metavar="PATH", check=_not_empty,
    )  # fmt: skip
    fd: int | None = _option(
        None, "Listen on this inherited file descriptor instead of host and port.",
        group="Listening", metavar="NUMBER", check=_at_least(0),
    )  # fmt: skip
    # uvicorn's number. Clients wait here while the app restarts, so 128 would refuse some;
    # the kernel lowers it to net.core.somaxconn by itself.
    backlog: int = _option(
        2048, "Connections that may wait to be accepted.",
        group="Listening", metavar="NUMBER", check=_between(1, 65535),
    )  # fmt: skip

    cert: str | None = _option(
        None, "Serve HTTPS with this certificate, a PEM file with its chain.",
        group="HTTPS", metavar="FILE", check=_not_empty,
    )  # fmt: skip
    key: str | None = _option(
        None, "The certificate's private key, when it is in a PEM file of its own.",
        group="HTTPS", metavar="FILE", check=_not_empty,
    )  # fmt: skip

    # anyio's and Starlette's default. Threads are made when needed and leave when idle.
    threads: int = _option(
        40, "Most threads that run the app at the same time.",
        group="Serving", metavar="NUMBER", check=_between(1, 10_000),
    )  # fmt: skip
    # Long enough for a page, short enough for a person who pressed Ctrl-C.
    grace: float = _option(
        5.0, "How long running requests may finish at the end, before they are cut.",
        group="Serving", metavar="SECONDS", unit="seconds", check=_between(0, 86_400),
    )  # fmt: skip
    loop: Literal["auto", "asyncio", "uvloop"] = _option(
        "auto", "Event loop of the command line; auto takes uvloop when it is installed.",
        group="Serving", choices=("auto", "asyncio", "uvloop"),
    )  # fmt: skip

    access_log: bool = _option(
        True, "Log one line per request.",
        group="Output", off_flag="--no-access-log",
    )  # fmt: skip
    log_level: str = _option(
        "info", "Least severe messages to show.",
        group="Output", choices=LOG_LEVELS,
    )  # fmt: skip
    open: bool = _option(
        False, "Open the page in a browser when the server is ready.",
        group="Output", flags=("--open", "-o"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        for option in iter_options():
            object.__setattr__(
                self, option.name, check_value(option, getattr(self, option.name), option.name)
            )
        if self.key is not None and self.cert is None:
            raise ConfigError("key", self.key, "has no certificate; name its file with cert")


class ServerOptions(TypedDict, total=False):
    """The same fields as keyword arguments, without `host` and `port`, which come first.

    `tests/test_config.py` proves that they agree.
    """

    limit_request_line: int
    limit_request_head: int
    limit_request_fields: int
    limit_chunk_overhead: int
    body_buffer: int
    drain_body: int
    send_buffer: int
    strict_port: bool
    uds: str | None
    fd: int | None
    backlog: int
    cert: str | None
    key: str | None
    threads: int
    grace: float
    loop: Literal["auto", "asyncio", "uvloop"]
    access_log: bool
    log_level: str
    open: bool


def _kind_of(hint: Any) -> tuple[type, bool]:
    """Split `int | None` into (int, True); a Literal of texts counts as str."""
    arguments: tuple[Any, ...] = getattr(hint, "__args__", ())
    if type(None) in arguments:
        return arguments[0], True
    if arguments and all(isinstance(argument, str) for argument in arguments):
        return str, False
    return hint, False


def _declare() -> tuple[Option, ...]:
    hints = get_type_hints(ServerConfig)
    options = []
    for item in dataclasses.fields(ServerConfig):
        declared = dict(item.metadata["option"])
        kind, optional = _kind_of(hints[item.name])
        long_flag = "--" + item.name.replace("_", "-")
        declared["flags"] = declared["flags"] or (long_flag,)
        declared["metavar"] = declared["metavar"] or declared["unit"].upper() or "NUMBER"
        if kind is bool and declared["off_flag"] is None:
            declared["off_flag"] = None if item.default is False else f"--no-{long_flag[2:]}"
        options.append(
            Option(name=item.name, kind=kind, default=item.default, optional=optional, **declared)
        )
    # Limits come first as base-class fields, but last in what people read.
    return tuple(sorted(options, key=lambda option: option.group == "Limits"))


_OPTIONS: tuple[Option, ...] = ()


def iter_options() -> Iterator[Option]:
    """Every option, in the order of `--help`."""
    global _OPTIONS
    if not _OPTIONS:
        _OPTIONS = _declare()
    return iter(_OPTIONS)


def check_value(option: Option, value: Any, spelling: str) -> Any:
    """Check a value of the right Python type.

    Args:
        option: The option it is for.
        value: The value; an int is taken for a float.
        spelling: The option as its user wrote it, for the error.

    Returns:
        The value, as the option's type.

    Raises:
        ConfigError: For a wrong type or a value outside the option's bounds.
    """
    if value is None and option.optional:
        return None
    if option.kind is float and type(value) is int:
        value = float(value)
    if type(value) is not option.kind:
        expected = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
        raise ConfigError(spelling, value, f"must be {expected[option.kind]}")
    if option.choices and value not in option.choices:
        raise ConfigError(spelling, value, f"is not one of {', '.join(option.choices)}")
    if option.check is not None and (fix := option.check(value)) is not None:
        raise ConfigError(spelling, value, fix)
    return value


def unknown_key(key: str, known: list[str], where: str) -> ConfigError:
    """The error for a key that no option has, with the nearest one that exists."""
    import difflib

    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
    return ConfigError(where, key, f"is not an option{hint}")
