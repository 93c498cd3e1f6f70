"""The shape of the command line: words, options from `aserve.config`, help, completion.

`aserve [OPTIONS] [APP]`, `aserve demo` and `aserve config [APP]` share one set of options;
`callback` has some of its own. The words of commands are reserved; everything else is an app.
What the commands *do* is in `aserve.cli`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

from .._version import __version__
from ..config import APP_OPTION, iter_options
from ..options import Option
from ..sealed import Sealed

__all__ = ["RESERVED", "DefaultGroup", "PlainCommand", "ServingCommand", "seal_words"]

_DEFAULT: Final = "serve"
RESERVED: Final = ("demo", "config", "callback", "trust", "untrust", "pin")
# What is wider is hard to read; narrower terminals get narrower lines.
_WIDTH: Final = 100
# Longer lists of choices stand in the text, or else they push it to the right edge.
_LONGEST_CHOICES: Final = 24

_APPS: Final = (
    ("module:attr", "an app in a module; also module:factory() and module:factory('x')"),
    ("module", "its app, application, create_app() or make_app()"),
    ("app.py", "the same for a file; also dir/app.py:attr"),
    ("(nothing)", "app.py, wsgi.py, main.py, or the settings of manage.py"),
)
_EXAMPLES: Final = (
    ("aserve", "serve the app of this directory"),
    ("aserve shop:app -p 9000 --open", "on another port, and open the browser"),
    ("aserve 'shop:create_app()' -h 0.0.0.0", "reachable from the network"),
    ("aserve demo", "serve an app that is built in"),
    ("aserve config", "show every option's value and where it comes from"),
    ("aserve callback", "wait for the redirect of an OAuth flow and print it"),
    ("aserve trust", "let browsers trust the certificates of --https"),
)
_EXITS: Final = (
    ("0", "stopped, by Ctrl-C or SIGTERM"),
    ("1", "the server crashed"),
    ("2", "wrong usage or configuration, or no app found"),
    ("3", "the app failed to import"),
    ("4", "the address cannot be listened on, e.g. it is in use"),
    ("5", "a store of certificates could not be changed (aserve trust)"),
    ("130", "Ctrl-C before the server was ready, or the callback came"),
)
_SETTINGS: Final = (
    "Each option is also a variable, such as ASERVE_PORT, and a key of [tool.aserve] in "
    "pyproject.toml. Flags win over variables, and those over the file. Variables may stand in "
    ".env or .flaskenv."
)
_COMPLETION: Final = 'Completion: eval "$(_ASERVE_COMPLETE=bash_source aserve)"; also zsh, fish.'


class DefaultGroup(click.Group):
    """A group whose first word may be left away: then it is `serve`."""

    def __init__(self, commands: list[click.Command]) -> None:
        super().__init__(
            "aserve",
            {str(command.name): command for command in commands},
            add_help_option=False,
            context_settings={"max_content_width": _WIDTH},
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front, unless another one stands there."""
        if not args or args[0] == _DEFAULT or args[0] not in self.commands:
            # A module may be called `serve`: the default command's own name is no word.
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


class ServingCommand(click.Command):
    """A command with every option of `aserve.config`.

    Args:
        name: The word that selects it.
        callback: Called with the flags that were given, by option name.
        takes_app: Whether APP may follow.
    """

    def __init__(self, name: str, callback: Callable[..., int], *, takes_app: bool) -> None:
        params: list[click.Parameter] = []
        if takes_app:
            params.append(click.Argument([APP_OPTION.name], required=False, shell_complete=_apps))
        params += [_click_option(option) for option in iter_options()]
        params += [_eager("--help", "Show this help.", _show_help())]
        params += [
            _eager("--help-all", "Show also the options that few need.", _show_help(is_long=True))
        ]
        params += [_eager("--version", "Show the version.", _show_version)]
        super().__init__(name, callback=callback, params=params, add_help_option=False)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the synopsis; `serve` is never seen."""
        if self.name == _DEFAULT:
            formatter.write_usage("aserve", "[OPTIONS] [APP]")
            formatter.write_usage("aserve", "demo [OPTIONS]", prefix="       ")
            formatter.write_usage("aserve", "config [OPTIONS] [APP]", prefix="       ")
            formatter.write_usage("aserve", "callback | trust | untrust | pin", prefix="       ")
        else:
            app = " [APP]" if self.name == "config" else ""
            formatter.write_usage("aserve", f"{self.name} [OPTIONS]{app}")

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help, grouped; what few need only at `--help-all`."""
        self.format_usage(ctx, formatter)
        _section(formatter, "APP", _APPS)
        is_long = bool(ctx.meta.get("aserve.help_all"))
        groups: dict[str, list[tuple[str, str]]] = {}
        for option in iter_options():
            if is_long or not option.is_rare:
                groups.setdefault(option.group, []).append(_help_row(option))
        for group, rows in groups.items():
            _section(formatter, group, rows)
        others = [p for p in self.params if isinstance(p, click.Option) and p.is_eager]
        _section(formatter, "Other", [(p.opts[0], p.help or "") for p in others])
        _section(formatter, "Examples", _EXAMPLES)
        _section(formatter, "Exit status", _EXITS)
        formatter.write_paragraph()
        formatter.write_text(_SETTINGS)
        formatter.write_paragraph()
        formatter.write_text(_COMPLETION)


class PlainCommand(click.Command):
    """A command without an app, and with no options but its own.

    Args:
        name: The word that selects it.
        callback: What it does; called with its options, and returns the exit status.
        help: What its `--help` says.
        options: Its options.
    """

    def __init__(
        self,
        name: str,
        callback: Callable[..., int],
        help: str,
        options: Sequence[click.Option] = (),
    ) -> None:
        params: list[click.Parameter] = [
            *options,
            _eager("--help", "Show this help.", _show_help()),
        ]
        super().__init__(name, callback=callback, params=params, help=help, add_help_option=False)


def _section(
    formatter: click.HelpFormatter, title: str, rows: list[tuple[str, str]] | tuple[Any, ...]
) -> None:
    with formatter.section(title):
        formatter.write_dl(rows, col_max=39)


def _help_row(option: Option) -> tuple[str, str]:
    text = ", ".join(sorted(option.flags, key=len))
    help = option.help.replace("`", "")
    if option.kind is bool:
        text += f" / {option.off_flag}" if option.off_flag else ""
    elif option.choices and len("|".join(option.choices)) <= _LONGEST_CHOICES:
        text += f" {'|'.join(option.choices)}"
    elif option.choices:
        text += " " + option.name.rpartition("_")[2].upper()
        help = f"{help.removesuffix('.')}: {', '.join(option.choices)}."
    else:
        text += f" {option.metavar}"
    is_silent = option.default in (None, ()) or option.kind is bool
    default = "" if is_silent else f" [{_number(option.default)}]"
    return text, help + default


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _click_option(option: Option) -> click.Option:
    """One option of `aserve.config`; its text is converted and checked there, not by click."""
    declarations = list(option.flags)
    if option.kind is bool:
        if option.off_flag:
            declarations[0] += f"/{option.off_flag}"
        return click.Option([*declarations, option.name], is_flag=True, default=None)
    return click.Option(
        [*declarations, option.name],
        default=None,
        type=_Secret() if option.is_secret else None,
        metavar=option.metavar,
        multiple=option.is_list,
        shell_complete=_values,
    )


class _Secret(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A value that no frame of click is to hold; see `seal_words`."""

    name = "text"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Sealed:
        """What stood there."""
        number = str(value).removeprefix(_SEALED)
        return _sealed[int(number)] if number.isdecimal() and number != value else Sealed.of(value)


_SEALED: Final = "\0sealed "
_sealed: Final[list[Sealed]] = []


def seal_words(words: Sequence[str]) -> list[str]:
    """The words of a command line with marks in place of secrets: their frames stay for long."""
    flags = {flag for option in iter_options() if option.is_secret for flag in option.flags}
    shown: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        is_next = bool(shown) and shown[-1] in flags
        if is_next or (equals and name in flags):
            _sealed.append(Sealed(word if is_next else value))
            mark = f"{_SEALED}{len(_sealed) - 1}"
            shown.append(mark if is_next else f"{name}={mark}")
        else:
            shown.append(word)
    return shown


def _eager(
    flag: str, help: str, callback: Callable[[click.Context, click.Parameter, bool], None]
) -> click.Option:
    return click.Option(
        [flag], is_flag=True, is_eager=True, expose_value=False, help=help, callback=callback
    )


def _show_help(*, is_long: bool = False) -> Callable[[click.Context, click.Parameter, bool], None]:
    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta["aserve.help_all"] = is_long
            click.echo(ctx.get_help())
            ctx.exit()

    return show


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"aserve {__version__}")
        ctx.exit()


def _apps(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the reserved words, and files by the shell itself."""
    # Imported only now: it is needed in a shell that completes, never to serve.
    from click.shell_completion import CompletionItem

    words = () if ctx.info_name == "config" else RESERVED
    items = [CompletionItem(word) for word in words if word.startswith(incomplete)]
    return [*items, CompletionItem(incomplete, type="file")]


def _values(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    option = next(option for option in iter_options() if option.name == param.name)
    if option.metavar in ("PATH", "FILE"):
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(choice) for choice in option.choices if choice.startswith(incomplete)]
