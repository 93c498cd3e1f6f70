"""Every option, declared once.

`ServerConfig` and `Limits` are frozen dataclasses whose fields carry an `Option` with the
help text and the checks. Everything else derives from them: command-line flags
(`aserve.cli`), `[tool.aserve]` in pyproject.toml, `ASERVE_*` variables, keyword arguments of
`serve`, `open_server` and `run`, `aserve config`, and the options table of the documentation.

`aserve.resolve` merges the sources; what an option is stands in `aserve.options`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypedDict, get_type_hints

from .errors import ConfigError
from .options import (
    Option,
    at_least,
    between,
    check_value,
    debug_pin_value,
    declare,
    file_descriptor,
    host_name,
    kind_of,
    not_empty,
)
from .sealed import Sealed

__all__ = [
    "APP_OPTION",
    "LOG_LEVELS",
    "Limits",
    "ReloadConfig",
    "ServerConfig",
    "ServerOptions",
    "Timeouts",
    "iter_options",
]

LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")

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
    check=not_empty,
    optional=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what a client may send. Each one is named in the 4xx that it causes."""

    # http.server's, and with it Werkzeug's. gunicorn and nginx stop at 8,190, and a form that is
    # sent by GET may be longer.
    limit_request_line: int = declare(
        65_536, "Longest request line; longer ones are answered 414.",
        group="Limits", is_rare=True, unit="bytes", check=at_least(64),
    )  # fmt: skip
    # http.server's own limit; gunicorn allows 100 fields of 8,190 bytes each.
    limit_request_head: int = declare(
        65_536, "Largest header block; larger ones are answered 431.",
        group="Limits", is_rare=True, unit="bytes", check=at_least(256),
    )  # fmt: skip
    # Twice gunicorn's and http.server's 100: proxies and tracing add dozens.
    limit_request_fields: int = declare(
        200, "Most header fields in one request; more are answered 431.",
        group="Limits", is_rare=True, check=at_least(1),
    )  # fmt: skip
    # Chunk extensions and trailers carry nothing that WSGI can pass on; 16 KiB is ample.
    limit_chunk_overhead: int = declare(
        16_384, "Most bytes of chunk extensions and trailers in one request.",
        group="Limits", is_rare=True, unit="bytes", check=at_least(64),
    )  # fmt: skip
    # What an app takes is the app's to say; Flask and Django have settings for it.
    limit_body: int | None = declare(
        None, "Longest request body; longer ones are answered 413. Without a limit when not given.",
        group="Limits", is_rare=True, unit="bytes", check=at_least(0),
    )  # fmt: skip
    # Ten times what a browser test or a load generator opens; the system's limit is often lower.
    limit_connections: int = declare(
        10_000, "Most connections at a time; beyond it the ones at rest are closed, or else new "
        "ones wait. Some of the descriptors that the system allows are left to the app.",
        group="Limits", is_rare=True, check=at_least(1),
    )  # fmt: skip
    # Requests run one at a time, so this bounds memory and not work; the client is held back.
    limit_pipeline: int = declare(
        65_536, "How much a client may send ahead of the answer that it waits for.",
        group="Limits", is_rare=True, unit="bytes", check=at_least(0),
    )  # fmt: skip
    # A form, a JSON call or a photo arrives whole, and no thread waits for its bytes.
    body_buffer: int = declare(
        1_048_576, "Request bodies up to this size are collected before a thread is taken.",
        group="Limits", is_rare=True, unit="bytes", check=at_least(0),
    )  # fmt: skip
    # A browser sends this much before it looks for an answer; beyond it, closing is cheaper.
    drain_body: int = declare(
        262_144, "How much of a body that the app left unread is read to keep the connection.",
        group="Limits", is_rare=True, unit="bytes", check=at_least(0),
    )  # fmt: skip
    # asyncio's own default: below it every write is a stall, above it only memory grows.
    send_buffer: int = declare(
        65_536, "How much of a response waits for a slow client before the app is held back.",
        group="Limits", is_rare=True, unit="bytes", check=at_least(1024),
    )  # fmt: skip


# Without slots: of several base classes only one can have some.
@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long a client may take; 0 is for ever. Time in which the server stands still, as under a
    debugger, does not count.
    """

    # A browser opens connections ahead, and uses most of them within seconds.
    first_byte_timeout: float = declare(
        30.0, "How long a new connection may say nothing, before it is closed.",
        group="Time-outs", is_rare=True, unit="seconds", check=between(0, 86_400),
    )  # fmt: skip
    # A head is one packet or a few. It is the whole that counts: a byte now and then is no excuse.
    head_timeout: float = declare(
        10.0, "How long a request's head may take, from its first byte; then it is answered 408.",
        group="Time-outs", is_rare=True, unit="seconds", check=between(0, 86_400),
    )  # fmt: skip
    # Two round trips.
    handshake_timeout: float = declare(
        10.0, "How long the handshake of TLS may take.",
        group="Time-outs", is_rare=True, unit="seconds", check=between(0, 86_400),
    )  # fmt: skip
    # Longer than browsers' and proxies' own 60 s, so that they close first, and no request is sent
    # into a connection that is just being closed.
    keep_alive_timeout: float = declare(
        65.0, "How long a connection may rest between two requests.",
        group="Time-outs", is_rare=True, unit="seconds", check=between(0, 86_400),
    )  # fmt: skip
    body_timeout: float = declare(
        30.0, "How long nothing of a request's body may come; then it is answered 408.",
        group="Time-outs", is_rare=True, unit="seconds", check=between(0, 86_400),
    )  # fmt: skip
    # A person may stop a download for a moment; a laptop that was closed is gone.
    send_timeout: float = declare(
        60.0, "How long a client may take nothing of its answer, before it is cut.",
        group="Time-outs", is_rare=True, unit="seconds", check=between(0, 86_400),
    )  # fmt: skip
    stuck_after: float = declare(
        10.0, "When to say in the log where a request is that has not begun its answer.",
        group="Time-outs", is_rare=True, unit="seconds", check=between(0, 86_400),
    )  # fmt: skip


# Without slots: of several base classes only one can have some.
@dataclass(frozen=True, kw_only=True)
class ReloadConfig:
    """How changes are noticed, and what happens to requests then."""

    extra_files: tuple[str, ...] = declare(
        (), "Further files, directories and patterns whose change reloads; may be repeated.",
        group="Reloading", metavar="PATH", check=not_empty, separator=os.pathsep,
    )  # fmt: skip
    exclude_patterns: tuple[str, ...] = declare(
        (), "Files that never reload, by a pattern like `*/tests/*`; may be repeated.",
        group="Reloading", metavar="PATTERN", check=not_empty, separator=os.pathsep,
    )  # fmt: skip
    watch: tuple[str, ...] = declare(
        (), "Further directories whose Python files reload; may be repeated.",
        group="Reloading", metavar="DIRECTORY", check=not_empty, separator=os.pathsep,
    )  # fmt: skip
    reloader: Literal["auto", "watchfiles", "stat"] = declare(
        "auto", "How changes are noticed: by events of the system, or by looking again and again.",
        group="Reloading", choices=("auto", "watchfiles", "stat"),
    )  # fmt: skip
    reloader_interval: float = declare(
        1.0, "How long the reloader `stat` waits between two looks.",
        group="Reloading", metavar="SECONDS", unit="seconds", check=between(0.01, 3600),
        is_rare=True,
    )  # fmt: skip
    # The new code serves already: this only bounds how long old code lives on beside it.
    reload_grace: float = declare(
        5.0, "How long running requests may finish at a reload, before they are cut.",
        group="Reloading", metavar="SECONDS", unit="seconds", check=between(0, 86_400),
        is_rare=True,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig(Limits, Timeouts, ReloadConfig):
    """How to listen and how to serve; see the field comments and `aserve --help`."""

    host: str = declare(
        "localhost", "Name or address to listen on; `localhost` means 127.0.0.1 and ::1; "
        "`unix://PATH` a Unix socket.",
        group="Listening", flags=("--host", "-h"), metavar="HOST", check=not_empty,
    )  # fmt: skip
    port: int = declare(
        8000, "Port to listen on; 0 picks a free one.",
        group="Listening", flags=("--port", "-p"), metavar="PORT", check=between(0, 65535),
    )  # fmt: skip
    strict_port: bool = declare(
        False, "Never move to the next free port when the default one is taken.",
        group="Listening", is_rare=True,
    )  # fmt: skip
    uds: str | None = declare(
        None, "Listen on this Unix socket instead of host and port.",
        group="Listening", metavar="PATH", check=not_empty,
    )  # fmt: skip
    fd: int | None = declare(
        None, "Listen on this inherited file descriptor instead of host and port.",
        group="Listening", metavar="NUMBER", check=file_descriptor, is_rare=True,
    )  # fmt: skip
    # uvicorn's number. Clients wait here while the app restarts, so 128 would refuse some;
    # the kernel lowers it to net.core.somaxconn by itself.
    backlog: int = declare(
        2048, "Connections that may wait to be accepted.",
        group="Listening", metavar="NUMBER", check=between(1, 65535), is_rare=True,
    )  # fmt: skip

    allowed_hosts: tuple[str, ...] = declare(
        (), "Further host that requests may be for, e.g. `shop.test` or `.shop.test`; `*` for all.",
        group="Listening", flags=("--allowed-host",), metavar="HOST", check=not_empty,
    )  # fmt: skip

    https: bool = declare(
        False, "Serve HTTPS with a certificate of your development authority; see `aserve trust`.",
        group="HTTPS",
    )  # fmt: skip
    names: tuple[str, ...] = declare(
        (), "Further name in the certificate that is made, e.g. `shop.localhost`; may be repeated.",
        group="HTTPS", flags=("--name",), metavar="NAME", check=host_name,
    )  # fmt: skip
    ssl: str | None = declare(
        None, "Serve HTTPS with a certificate that is made for this run and that nobody trusts.",
        group="HTTPS", choices=("adhoc",),
    )  # fmt: skip
    cert: str | None = declare(
        None, "Serve HTTPS with this certificate, a PEM file with its chain.",
        group="HTTPS", metavar="FILE", check=not_empty,
    )  # fmt: skip
    key: str | None = declare(
        None, "The certificate's private key, when it is in a PEM file of its own.",
        group="HTTPS", metavar="FILE", check=not_empty,
    )  # fmt: skip
    client_ca: str | None = declare(
        None, "Let in only clients with a certificate of this authority, a PEM file.",
        group="HTTPS", metavar="FILE", check=not_empty,
    )  # fmt: skip
    http_too: bool = declare(
        False, "Serve plain HTTP on the same port, instead of sending it to HTTPS.",
        group="HTTPS",
    )  # fmt: skip

    # anyio's and Starlette's default. Threads are made when needed and leave when idle.
    threads: int = declare(
        40, "Most threads that run the app at the same time.",
        group="Serving", metavar="NUMBER", check=between(1, 10_000),
    )  # fmt: skip
    processes: int = declare(
        1, "Processes that serve, each with its threads; one that dies is replaced.",
        group="Serving", metavar="NUMBER", check=between(1, 100),
    )  # fmt: skip
    # Long enough for a page, short enough for a person who pressed Ctrl-C.
    grace: float = declare(
        5.0, "How long running requests may finish at the end, before they are cut.",
        group="Serving", metavar="SECONDS", unit="seconds", check=between(0, 86_400),
    )  # fmt: skip

    reload: bool | None = declare(
        None, "Load the app anew when its files change; without a word from you on a terminal, and "
        "where FLASK_DEBUG is on.",
        group="Reloading", off_flag="--no-reload",
    )  # fmt: skip

    debug: bool | None = declare(
        None, "Show a page for exceptions of the app; without a word from you on the command line, "
        "for a server on loopback.",
        group="Debugging", off_flag="--no-debug",
    )  # fmt: skip
    debug_eval: bool = declare(
        True, "Offer a Python console in the frames of the page, behind the PIN.",
        group="Debugging", off_flag="--no-debug-eval", is_rare=True,
    )  # fmt: skip
    debug_eval_from_network: bool = declare(
        False, "Offer the console to other machines, too: with the PIN, they can run any code.",
        group="Debugging", is_rare=True,
    )  # fmt: skip
    debug_console: bool = declare(
        False, "Offer a console of its own, at /console.",
        group="Debugging", is_rare=True,
    )  # fmt: skip
    debug_pin: str | Sealed | None = declare(
        None, "The PIN of the console, instead of one that is made for you; `off` for none.",
        group="Debugging", metavar="PIN", check=debug_pin_value, is_secret=True,
    )  # fmt: skip
    editor: str | None = declare(
        None, "What opens files of the page, e.g. `code`, or with `{file}` and `{line}` in it.",
        group="Debugging", metavar="COMMAND", check=not_empty,
    )  # fmt: skip

    access_log: bool = declare(
        True, "Log one line per request.",
        group="Output", off_flag="--no-access-log",
    )  # fmt: skip
    log_level: str = declare(
        "info", "Least severe messages to show.",
        group="Output", choices=LOG_LEVELS,
    )  # fmt: skip
    open: bool = declare(
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
        asked = [name for name in ("https", "ssl", "cert") if getattr(self, name)]
        if len(asked) > 1:
            first, second = asked[:2]
            value = getattr(self, second)
            raise ConfigError(second, value, f"cannot be combined with {first}; choose one")
        if self.http_too and self.client_ca is not None:
            fix = "lets in clients without a certificate; leave client_ca or this away"
            raise ConfigError("http_too", True, fix)


class ServerOptions(TypedDict, total=False):
    """The same fields as keyword arguments, without `host` and `port`, which come first, and
    without `reload`, which is only for `run`.

    `tests/test_config.py` proves that they agree.
    """

    limit_request_line: int
    limit_request_head: int
    limit_request_fields: int
    limit_chunk_overhead: int
    limit_body: int | None
    limit_connections: int
    limit_pipeline: int
    body_buffer: int
    drain_body: int
    send_buffer: int
    first_byte_timeout: float
    head_timeout: float
    handshake_timeout: float
    keep_alive_timeout: float
    body_timeout: float
    send_timeout: float
    stuck_after: float
    strict_port: bool
    uds: str | None
    fd: int | None
    backlog: int
    allowed_hosts: tuple[str, ...]
    https: bool
    names: tuple[str, ...]
    ssl: str | None
    cert: str | None
    key: str | None
    client_ca: str | None
    http_too: bool
    threads: int
    processes: int
    grace: float
    extra_files: tuple[str, ...]
    exclude_patterns: tuple[str, ...]
    watch: tuple[str, ...]
    reloader: Literal["auto", "watchfiles", "stat"]
    reloader_interval: float
    reload_grace: float
    debug: bool | None
    debug_eval: bool
    debug_eval_from_network: bool
    debug_console: bool
    debug_pin: str | Sealed | None
    editor: str | None
    access_log: bool
    log_level: str
    open: bool


def _declare() -> tuple[Option, ...]:
    hints = get_type_hints(ServerConfig)
    options = []
    for item in dataclasses.fields(ServerConfig):
        declared = dict(item.metadata["option"])
        kind, optional = kind_of(hints[item.name])
        long_flag = "--" + item.name.replace("_", "-")
        declared["flags"] = declared["flags"] or (long_flag,)
        declared["metavar"] = declared["metavar"] or declared["unit"].upper() or "NUMBER"
        if kind is bool and declared["off_flag"] is None:
            declared["off_flag"] = None if item.default is False else f"--no-{long_flag[2:]}"
        options.append(
            Option(name=item.name, kind=kind, default=item.default, optional=optional, **declared)
        )
    # The fields of base classes come first, but in what people read each group is together, begins
    # with its main switch, and the limits are last.
    inherited = sum(len(dataclasses.fields(base)) for base in (Limits, Timeouts, ReloadConfig))
    ordered = options[inherited:] + options[:inherited]
    groups = list(dict.fromkeys(option.group for option in ordered))
    for last in ("Limits", "Time-outs"):
        groups.append(groups.pop(groups.index(last)))
    return tuple(sorted(ordered, key=lambda option: groups.index(option.group)))


_OPTIONS: tuple[Option, ...] = ()


def iter_options() -> Iterator[Option]:
    """Every option, in the order of `--help`."""
    global _OPTIONS
    if not _OPTIONS:
        _OPTIONS = _declare()
    return iter(_OPTIONS)
