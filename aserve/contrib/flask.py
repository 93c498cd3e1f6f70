"""`flask aserve`: what `flask run` does, with aserve.

Flask finds the command by the entry point `flask.commands`, and reads `.env`, `.flaskenv`,
FLASK_APP and FLASK_DEBUG before it calls it. Every `flask` command imports this module, so
whatever it takes to serve is imported in the functions.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import click
from flask.cli import CertParamType, FlaskGroup, ScriptInfo, pass_script_info
from flask.helpers import get_debug_flag, get_load_dotenv

if TYPE_CHECKING:
    import ssl

    from ..api import Hooks
    from ..config import ServerOptions
    from ..errors import ConfigError
    from ..types import Environ, StartResponse, WSGIApp

__all__ = ["command"]

# What Flask loads by itself; the order does not matter here.
_ENV_FILES: Final = (".env", ".flaskenv")


def _set_debug(_ctx: click.Context, _param: click.Parameter, value: bool | None) -> None:
    # Flask reads it there whenever it wants to know, and so does the process of the reloader.
    if value is not None:
        os.environ["FLASK_DEBUG"] = "1" if value else "0"


def _split(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(part for part in (value or "").split(os.pathsep) if part)


@click.command("aserve", short_help="Run the app with aserve.")
@click.option(
    "--debug/--no-debug", default=None, is_eager=True, expose_value=False, callback=_set_debug,
    help="Set debug mode.",
)  # fmt: skip
@click.option(
    "--host", "-h", default="127.0.0.1", show_default=True, help="Name or address to listen on.",
)  # fmt: skip
@click.option(
    "--port", "-p", type=click.IntRange(0, 65535), default=5000, show_default=True,
    help="Port to listen on; 0 picks a free one.",
)  # fmt: skip
@click.option(
    "--cert", type=CertParamType(), is_eager=True,
    help="Serve HTTPS with this certificate: a file, 'adhoc', or the import name of an SSLContext.",
)  # fmt: skip
@click.option(
    "--key", type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="The certificate's private key, when it is in a file of its own.",
)  # fmt: skip
@click.option(
    "--reload/--no-reload", default=None,
    help="Load the app anew when its files change; in debug mode without being asked.",
)  # fmt: skip
@click.option(
    "--debugger/--no-debugger", default=None,
    help="Show a page for exceptions, with a console; in debug mode without being asked.",
)  # fmt: skip
@click.option(
    "--with-threads/--without-threads", default=True,
    help="Run the app in several threads at the same time, or in one.",
)  # fmt: skip
@click.option(
    "--extra-files", callback=_split, metavar="PATHS",
    help=f"Further files, directories and patterns whose change reloads, with {os.pathsep!r} "
    "between them.",
)  # fmt: skip
@click.option(
    "--exclude-patterns", callback=_split, metavar="PATTERNS",
    help=f"Files that never reload, by patterns with {os.pathsep!r} between them.",
)  # fmt: skip
@pass_script_info
def command(
    info: ScriptInfo,
    /,
    *,
    host: str,
    port: int,
    cert: ssl.SSLContext | str | None,
    key: str | None,
    reload: bool | None,
    debugger: bool | None,
    with_threads: bool,
    extra_files: tuple[str, ...],
    exclude_patterns: tuple[str, ...],
) -> None:
    """Run the app with aserve, a development server.

    It takes the options of `flask run`, and reads the same variables. In debug mode it reloads
    when a file changes.
    """
    from ..config import ReloadConfig
    from ..errors import ConfigError, ListenError
    from ..reload import role
    from ..running import run

    hooks, options = _tls(cert, key)
    if not with_threads:
        options["threads"] = 1
    options["debug"] = get_debug_flag() if debugger is None else debugger
    how = ReloadConfig(extra_files=extra_files, exclude_patterns=exclude_patterns)
    if role.serve_here is not None:
        # A process of the reloader: it has the sockets already, and FLASK_DEBUG may have changed.
        run(_load(info), host, port, reload=how, hooks=hooks, **options)
        return
    is_reloading = get_debug_flag() if reload is None else reload
    app = _loaded_elsewhere if is_reloading else info.load_app()
    if is_reloading:
        from ..debug.settings import pin_of_environment

        pin_of_environment()  # read for good: the processes get it by their channel
        _forget_env_files()
    try:
        run(app, host, port, reload=how if is_reloading else False, hooks=hooks, **options)
    except ConfigError as error:
        raise _as_clicks(error) from None
    except ListenError as error:
        raise click.ClickException(str(error)) from None


def _share_variables_of_run(options: Iterable[click.Parameter]) -> None:
    """FLASK_RUN_PORT is the one that people have set; click itself would read FLASK_ASERVE_PORT."""
    for option in options:
        if isinstance(option, click.Option) and option.name is not None:
            name = option.name.upper()
            option.envvar = [f"FLASK_ASERVE_{name}", f"FLASK_RUN_{name}"]


_share_variables_of_run(command.params)


def _as_clicks(error: ConfigError) -> click.UsageError:
    """An error of an option in click's words, with the option's name as it was typed."""
    if error.option not in (option.name for option in command.params):
        return click.UsageError(str(error))
    flag = f"--{error.option.replace('_', '-')}"
    return click.BadParameter(f"{error.value!r} {error.fix}.", param_hint=repr(flag))


def _tls(cert: ssl.SSLContext | str | None, key: str | None) -> tuple[Hooks, ServerOptions]:
    from ..api import Hooks

    is_file = isinstance(cert, str) and cert != "adhoc"
    if key is not None and not is_file:
        fix = "It needs --cert." if cert is None else "It goes with a --cert that is a file only."
        raise click.BadParameter(fix, param_hint="'--key'")
    if cert is None:
        return Hooks(), {}
    if not isinstance(cert, str):
        return Hooks(ssl_context=cert), {}
    if cert == "adhoc":
        return Hooks(), {"ssl": "adhoc"}
    return Hooks(), {"cert": cert, "key": key}


def _loaded_elsewhere(environ: Environ, start_response: StartResponse) -> Any:
    """What stands in `run` for the app where the app is not imported: in the supervisor."""
    raise AssertionError("the supervisor serves nothing")


def _load(info: ScriptInfo) -> WSGIApp:
    """The app, for the process that serves; an error is raised for the page that shows it.

    Left to click, an error of Flask's would be printed, and become an exit without a reason.
    """
    reason: ImportError
    try:
        return info.load_app()
    except click.ClickException as error:
        # Flask has put the text of the import's traceback into its message.
        cause = error.__context__
        reason = cause if isinstance(cause, ImportError) else ImportError(error.format_message())
    raise reason


def _forget_env_files() -> None:
    """Take out of the environment what Flask has read from files.

    The processes of the reloader inherit the environment, and run `flask` again: what is missing
    is read anew, so that an edit of `.env` counts.
    """
    group = click.get_current_context().find_root().command
    if not (isinstance(group, FlaskGroup) and get_load_dotenv(group.load_dotenv)):
        return
    with contextlib.suppress(ImportError):
        import dotenv

        for name in _ENV_FILES:
            path = dotenv.find_dotenv(name, usecwd=True)
            values = dotenv.dotenv_values(path, encoding="utf-8") if path else {}
            for variable, value in values.items():
                if value is not None and os.environ.get(variable) == value:
                    del os.environ[variable]
