"""`manage.py runserver` with aserve: Django's arguments, checks and static files.

With the reloader on, the process that was started supervises, and `manage.py` is run again in
another one, which checks and serves. Django has set itself up in both before it looks for a
command; its own reloader does the same.
"""

# Django has no types, and need not be installed.
# mypy: disable-error-code="import-not-found, import-untyped, misc"

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from django.conf import settings
from django.core.management import CommandError, CommandParser
from django.core.management.commands import runserver
from django.db import connections
from django.urls import get_resolver
from django.utils import autoreload

from .....config import ServerOptions
from .....errors import ConfigError, ListenError
from .....loader.errors_out import let_errors_out
from .....net.address import is_literal
from .....reload import role
from .....reload.script import add_argument
from .....running import run
from .....types import Environ, StartResponse

__all__ = ["Command"]

_APP: Final = "aserve.contrib.django"
_NAME: Final = "runserver"
_COLOUR: Final = re.compile(r"\x1b\[[\d;]*m")


def _base() -> Any:
    """The command that would be there without this app: of the next one that has it, or Django's.

    That is how WhiteNoise changes a default of it, and Django's own app for static files adds what
    they need. Asked of the settings: while an app is broken, the registry of the apps is empty.
    """
    for name in _apps_behind_this_one():
        try:
            if find_spec(f"{name}.management.commands.{_NAME}") is not None:
                command: Any = import_module(f"{name}.management.commands.{_NAME}").Command
                break
        except Exception:
            continue  # broken, or no package: Django tells of those that are apps
    else:
        command = runserver.Command
    return command if issubclass(command, runserver.Command) else runserver.Command


def _apps_behind_this_one() -> Iterator[str]:
    names = [str(name) for name in settings.INSTALLED_APPS] if settings.configured else []
    mine = next((n for n, name in enumerate(names) if name.startswith(_APP)), -1)
    for name in names[mine + 1 :]:
        yield name
        # The class of its configuration may stand in the place of the app.
        yield name.rpartition(".apps.")[0] or name


class Command(_base()):
    """What Django calls, in this order: `run_from_argv`, `handle`, `run`."""

    _is_typed = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the option that is our own."""
        super().add_arguments(parser)
        parser.add_argument(
            "--debugger",
            action="store_true",
            help="Shows exceptions on a page with a console, instead of Django's own page.",
        )

    def run_from_argv(self, argv: list[str]) -> None:
        """Called for a command line, and not by `call_command`."""
        self._is_typed = True
        super().run_from_argv(argv)

    def handle(self, *args: Any, **options: Any) -> None:
        """Read the address, and run."""
        try:
            super().handle(*args, **options)
        except CommandError as error:
            if role.serve_here is None:
                raise
            # Left to Django, it would be printed and become an exit without a reason.
            reason = RuntimeError(_COLOUR.sub("", str(error)).strip())
        else:
            return
        raise reason

    def run(self, **options: Any) -> None:
        """Supervise, or serve."""
        if role.serve_here is not None or not options["use_reloader"]:
            self.inner_run(None, **options)
            return
        if self._is_typed:
            # For the processes that serve, which run the same words: without the option Django
            # would hide an error of the apps from them, for the sake of its own reloader.
            add_argument("--noreload", behind="runserver")
        self._serve(_loaded_elsewhere, options)

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Check and serve, in the process that does."""
        # What Django has hidden after all, because the words are a program's own.
        autoreload.raise_last_exception()
        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            # Since Django 5.2. The method of `runserver` itself selects no checks, so that nothing
            # is checked before `handle`.
            usual = getattr(super(runserver.Command, self), "get_check_kwargs", None)
            kwargs = usual(options) if usual is not None else {}
            self.check(**{**kwargs, "display_num_errors": True})
        self.check_migrations()
        for connection in connections.all(initialized_only=True):
            connection.close()
        handler = self.get_handler(*args, **options)
        if role.serve_here is not None:
            # With the checks it is loaded already. Without them an error in it belongs on the page
            # that waits for a change.
            _ = get_resolver().url_patterns
        version = self.get_version()
        self.stdout.write(f"Django version {version}, using settings {settings.SETTINGS_MODULE!r}")
        self.stdout.flush()
        self._serve(handler, options)
        if message := options.get("shutdown_message"):
            self.stdout.write(message)

    def _serve(self, app: Any, options: dict[str, Any]) -> None:
        more: ServerOptions = {"debug": bool(options.get("debugger"))}
        if not options["use_threading"]:
            more["threads"] = 1
        if more["debug"]:
            let_errors_out(app)
        is_reloading = role.serve_here is not None or options["use_reloader"]
        try:
            run(app, self._host(), int(self.port), reload=is_reloading, **more)
        except (ConfigError, ListenError) as error:
            self.stderr.write(f"Error: {error}")
            sys.exit(1)

    def _host(self) -> str:
        host: str = self.addr
        if self.use_ipv6 and host == "localhost":
            return str(self.default_addr_ipv6)
        if not self.use_ipv6 or is_literal(host):
            return host
        # A name, and `--ipv6`: of its addresses one of that family.
        try:
            found = socket.getaddrinfo(host, None, socket.AF_INET6, socket.SOCK_STREAM)
        except OSError:
            return host  # unknown; `run` says so
        return str(found[0][4][0])


def _loaded_elsewhere(environ: Environ, start_response: StartResponse) -> Any:
    """What stands in `run` for the app where no app is served: in the supervisor."""
    raise AssertionError("the supervisor serves nothing")
