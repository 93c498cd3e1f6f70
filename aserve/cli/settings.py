"""Gather the settings of the shell: flags, environment, `.env` files, pyproject.toml."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..config import APP_OPTION, ServerConfig, iter_options
from ..errors import ConfigError
from ..options import DEBUG_PIN_VARIABLE, ENVIRONMENT_PREFIX
from ..resolve import Inputs, Resolved, resolve

__all__ = ["Settings", "gather", "read_env_files", "table", "unknown_variables"]

# The first file that sets a variable wins; the order is Flask's.
_ENV_FILES: Final = (".env", ".flaskenv")


class Settings(NamedTuple):
    """What is to be done, and why.

    Args:
        resolved: The options, the app's name and their sources.
        directory: Where the app's name starts: the directory of pyproject.toml if the name
            stands there, else the current one.
        variables: What the `.env` files add to the environment.
    """

    resolved: Resolved
    directory: Path
    variables: Mapping[str, str]

    def with_config(self, config: ServerConfig) -> Settings:
        """The same with other options."""
        return self._replace(resolved=self.resolved._replace(config=config))


def gather(
    flags: Mapping[str, Any], *, directory: Path, environment: Mapping[str, str]
) -> Settings:
    """Read every source and merge them: flag > environment > `.env` files > pyproject.toml.

    Changes nothing; whoever serves adds `variables` to the environment.

    Args:
        flags: Option name -> text or truth value, only for flags that were given.
        directory: The current directory; files are looked for here and upwards.
        environment: The process environment.

    Raises:
        ConfigError: A value cannot be used, or a file cannot be read.
    """
    found = read_env_files(directory, environment)
    variables = {name: value for name, (value, _) in found.items()}
    origins = {name: origin for name, (_, origin) in found.items()}
    project, file_values = _read_pyproject(directory)
    file_name = _shown(project, directory) if project else "pyproject.toml"
    resolved = resolve(Inputs(flags, {**variables, **environment}, file_values, file_name, origins))
    if project is not None and resolved.sources["app"].kind == "file":
        directory = project.parent
    # What was read is for the server alone.
    variables.pop(DEBUG_PIN_VARIABLE, None)
    return Settings(resolved, directory, variables)


def _upwards(directory: Path, name: str) -> Path | None:
    """The nearest file of that name, from the directory upwards."""
    for place in (directory, *directory.parents):
        path = place / name
        try:
            # A directory `.env` is a virtual environment.
            if path.is_file():
                return path
        except OSError:
            continue
    return None


def _shown(path: Path, directory: Path) -> str:
    return path.name if path.parent == directory else os.path.relpath(path, directory)


def read_env_files(directory: Path, environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Variable -> (value, file) for what the real environment does not set.

    Raises:
        ConfigError: A file cannot be read.
    """
    found: dict[str, tuple[str, str]] = {}
    for name in _ENV_FILES:
        path = _upwards(directory, name)
        if path is None:
            continue
        # Imported only now: most projects have no such file.
        from dotenv import dotenv_values

        shown = _shown(path, directory)
        try:
            values = dotenv_values(path)
        except UnicodeDecodeError:
            raise ConfigError(shown, str(path), "is not encoded as UTF-8") from None
        except OSError as error:
            raise ConfigError(shown, str(path), f"cannot be read: {error.strerror}") from None
        for variable, value in values.items():
            if value is not None and variable not in environment:
                found.setdefault(variable, (value, shown))
    return found


def _read_pyproject(directory: Path) -> tuple[Path | None, dict[str, Any]]:
    """The nearest pyproject.toml and its `[tool.aserve]`; the search ends at the first file."""
    path = _upwards(directory, "pyproject.toml")
    if path is None:
        return None, {}
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError("pyproject.toml", str(path), "is not encoded as UTF-8") from None
    except OSError as error:
        raise ConfigError(
            "pyproject.toml", str(path), f"cannot be read: {error.strerror}"
        ) from None
    if "aserve" not in text:
        # Most have no such table, and the parser takes longer to import than this to look.
        return path, {}
    import tomllib

    try:
        table = tomllib.loads(text).get("tool", {}).get("aserve", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("pyproject.toml", str(path), f"is not valid TOML: {error}") from None
    if not isinstance(table, dict):
        raise ConfigError("aserve in pyproject.toml", table, "must be a table: [tool.aserve]")
    return path, table


def table(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Rows of `aserve config`: option, value, where the value came from."""
    resolved = settings.resolved
    for option in (APP_OPTION, *iter_options()):
        value = resolved.app if option is APP_OPTION else getattr(resolved.config, option.name)
        source = resolved.sources[option.name]
        if option.is_secret and value is not None:
            text = "(hidden)"
        elif value is None or value == ():
            text = "(looked for)" if option is APP_OPTION else "-"
        elif isinstance(value, tuple):
            text = ",".join(value)
        elif isinstance(value, bool):
            text = "yes" if value else "no"
        else:
            text = f"{value:g}" if isinstance(value, float) else str(value)
        yield option.name, text, source.where or source.kind


def unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """One line for each `ASERVE_*` variable that no option reads."""
    # Compared without the prefix: it alone makes any two of them look alike.
    known = {option.name.upper() for option in (APP_OPTION, *iter_options())}
    for name in sorted(environment):
        # `_ASERVE_COMPLETE` belongs to the shell completion and has another prefix.
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        bare = name.removeprefix(ENVIRONMENT_PREFIX)
        if bare not in known:
            import difflib  # a start without a mistake need not load it

            near = difflib.get_close_matches(bare, known, n=1)
            hint = f"; did you mean {ENVIRONMENT_PREFIX}{near[0]}?" if near else "."
            yield f"{name} is not an option{hint}"
