"""Merging the sources of configuration, and remembering where each value came from.

Precedence: flag > environment > file > default. A value that cannot be used raises
`ConfigError` with the option spelled as in the source that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from .config import APP_OPTION, ServerConfig, iter_options
from .errors import ConfigError
from .options import Option, check_value, unknown_key

__all__ = ["Inputs", "Resolved", "Source", "resolve", "respelled"]


class Source(NamedTuple):
    """Where a value came from: `kind` is flag, environment, file or default; `where` names it."""

    kind: Literal["flag", "environment", "file", "default"]
    where: str


class Resolved(NamedTuple):
    """A configuration and the source of each of its values, by option name.

    Args:
        config: The options, checked.
        sources: Option name -> source; `app` is among them.
        app: What to serve, as it was written; None when nobody said.
    """

    config: ServerConfig
    sources: Mapping[str, Source]
    app: str | None = None

    def is_asked_for(self, name: str) -> bool:
        """Whether a person chose this value, or it is the default."""
        return self.sources[name].kind != "default"


class Inputs(NamedTuple):
    """What the sources say.

    Args:
        flags: Option name -> value, only for flags that were given; texts are converted.
        environment: The environment in force; only `ASERVE_*` names of options are read.
        file_values: The table `[tool.aserve]`; keys may use `-` for `_`.
        file_name: The file's name, for errors and sources.
        env_files: Variable -> name of the file, for variables that come from `.env` files.
    """

    flags: Mapping[str, Any] = {}
    environment: Mapping[str, str] = {}
    file_values: Mapping[str, Any] = {}
    file_name: str = "pyproject.toml"
    env_files: Mapping[str, str] = {}


def resolve(inputs: Inputs) -> Resolved:
    """Merge the sources: flag > environment > file > default.

    Raises:
        ConfigError: With the option spelled as in the source that holds the bad value.
    """
    known = {option.name: option for option in (APP_OPTION, *iter_options())}
    from_file = {key.replace("-", "_"): value for key, value in inputs.file_values.items()}
    for key in from_file:
        if key not in known:
            raise unknown_key(key, list(known), f"[tool.aserve] in {inputs.file_name}")
    inputs = inputs._replace(file_values=from_file)

    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    for name, option in known.items():
        found = _look_up(option, inputs)
        if found is None:
            sources[name] = Source("default", "")
        else:
            sources[name], spelling, value = found
            values[name] = check_value(option, value, spelling)
    app = values.pop("app", None)
    try:
        return Resolved(ServerConfig(**values), sources, app)
    except ConfigError as error:  # options that do not go together
        raise respelled(error, sources) from None


def respelled(error: ConfigError, sources: Mapping[str, Source]) -> ConfigError:
    """The same error, with the option spelled as in the source that holds it."""
    source = sources.get(error.option)
    if source is None or source.kind == "default":
        return error
    spelling = f"{error.option} in {source.where}" if source.kind == "file" else source.where
    return ConfigError(spelling, error.value, error.fix)


def _look_up(option: Option, inputs: Inputs) -> tuple[Source, str, Any] | None:
    """The strongest source that has the option: source, spelling in it, value; None without one."""
    name, variable = option.name, option.environment
    if name in inputs.flags:
        spelling, value = option.flags[0], inputs.flags[name]
        if option.separator:
            value = tuple(item for text in value for item in _split(option, text))
        if isinstance(value, str):
            value = _convert_text(option, value, spelling)
        return Source("flag", spelling), spelling, value
    if variable in inputs.environment:
        origin = inputs.env_files.get(variable)
        spelling = f"{variable} in {origin}" if origin else variable
        value = _convert_text(option, inputs.environment[variable], spelling)
        return Source("environment", spelling), spelling, value
    if name in inputs.file_values:
        spelling = f"{name} in {inputs.file_name}"
        return Source("file", inputs.file_name), spelling, inputs.file_values[name]
    return None


def _split(option: Option, text: str) -> tuple[str, ...]:
    if option.separator:
        return tuple(filter(None, text.split(option.separator)))
    return tuple(text.replace(",", " ").split())


_TRUE: Final = {"1", "true", "yes", "on"}
_FALSE: Final = {"0", "false", "no", "off", ""}


def _convert_text(option: Option, text: str, spelling: str) -> Any:
    """Text of a flag or of an environment variable -> value."""
    if option.kind is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise ConfigError(spelling, text, "is neither yes nor no; write 1 or 0")
    if option.kind in (int, float):
        try:
            return option.kind(text)
        except ValueError:
            what = "a whole number" if option.kind is int else "a number"
            raise ConfigError(spelling, text, f"is not {what}") from None
    if option.is_list:
        return _split(option, text)
    return text
