"""`aserve callback`: waits for the redirect of an OAuth flow, and prints what it brought."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import click

from ..errors import CallbackError, ConfigError, sentence

if TYPE_CHECKING:
    from ..callback import CallbackServer

__all__ = ["HELP", "options", "print_callback"]

HELP: Final = (
    "Wait on 127.0.0.1 and ::1 for the redirect of an OAuth flow, and print its parameters as one "
    "JSON object, also those of a refusal. Where to wait is told on standard error. On a terminal, "
    "the address can be pasted from the browser, too. Exit status: 6 after a refusal, 7 when none "
    "came in time."
)

_STDOUT: Final = 1
_STDERR: Final = 2


def options() -> list[click.Option]:
    """The options of the command."""
    return [
        click.Option(
            ["--path"], default="/callback", metavar="PATH",
            help="Where the redirect arrives. [/callback]",
        ),
        click.Option(
            ["--port", "-p", "ports"], type=int, multiple=True, metavar="PORT",
            help="A port that is registered with the provider; may be repeated, the first free one "
            "is taken. Without any, a free one.",
        ),
        click.Option(
            ["--state"], metavar="TEXT",
            help="What the redirect's `state` has to be. Without it, {state} in --open makes one "
            "up; else it is yours to check.",
        ),
        click.Option(
            ["--timeout"], type=float, default=300.0, metavar="SECONDS",
            help="How long to wait. [300]",
        ),
        click.Option(
            ["--open", "-o", "open_url"], metavar="URL",
            help="Open the browser here; {redirect_uri} and {state} are filled in.",
        ),
    ]  # fmt: skip


def print_callback(
    *, path: str, ports: tuple[int, ...], state: str | None, timeout: float, open_url: str | None
) -> None:
    """Wait, and print the parameters.

    Args:
        path: Where the redirect arrives.
        ports: The ports to try in turn; empty for any.
        state: What its state has to be; None to check only one that is put into `open_url`.
        timeout: Seconds.
        open_url: What to open in the browser, with placeholders.

    Raises:
        CallbackError: The redirect brought an error; it is printed, too.
        CallbackTimeout: None came in time.
    """
    from ..callback import CallbackOptions, wait_for_callback

    # Elsewhere SIGTERM is an orderly end with status 0, which a script would take for success.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not timeout >= 0:
        raise ConfigError("--timeout", timeout, "is negative; give seconds")

    def authorize(server: CallbackServer) -> str | None:
        click.echo(f"aserve: waiting for the callback at {server.url}", err=True)
        if sys.stdin is not None and sys.stdin.isatty():
            threading.Thread(target=_feed, args=(server,), daemon=True).start()
        return _filled(open_url, server) if open_url is not None else None

    given = CallbackOptions(
        ports=ports or (0,), check_state=state is not None or "{state}" in (open_url or "")
    )
    failure: CallbackError | None = None
    try:
        with _free_stdout():
            params = wait_for_callback(authorize, path, state=state, timeout=timeout, options=given)
    except CallbackError as error:
        failure = error
        fields = {"error_description": error.description, "error_uri": error.uri}
        params = {"error": error.error} | {name: text for name, text in fields.items() if text}
    click.echo(json.dumps(params))
    if failure is not None:
        raise failure


def _filled(url: str, server: CallbackServer) -> str:
    filled = url.replace("{redirect_uri}", quote(server.url, safe=""))
    return filled.replace("{state}", quote(server.state, safe=""))


def _feed(server: CallbackServer) -> None:
    """What is pasted into the terminal. A thread of its own, until the process ends."""
    # Not by `sys.stdin`: the interpreter cannot end well while a thread waits in there.
    descriptor = sys.stdin.fileno()
    rest = b""
    while data := os.read(descriptor, 65_536):
        *lines, rest = (rest + data).split(b"\n")
        for line in filter(None, map(bytes.strip, lines)):
            try:
                server.feed(line.decode(errors="replace"))
            except ConfigError as error:
                click.echo(f"aserve: {sentence(str(error))}", err=True)


@contextlib.contextmanager
def _free_stdout() -> Iterator[None]:
    """Browsers say things on the standard output that they inherit; ours is for the result."""
    try:
        kept = os.dup(_STDOUT)
    except OSError:  # there is none
        yield
        return
    with contextlib.suppress(OSError):
        os.dup2(_STDERR, _STDOUT)
    try:
        yield
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)
