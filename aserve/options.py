"""What an option is, and how its values are checked; the options stand in `aserve.config`.

A value that cannot be used raises `ConfigError`, which names the option as its user wrote it,
the value, and the fix.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field
from typing import Any, Final, NamedTuple

from .errors import ConfigError
from .sealed import Sealed

__all__ = [
    "DEBUG_PIN_VARIABLE",
    "ENVIRONMENT_PREFIX",
    "Check",
    "Option",
    "at_least",
    "between",
    "check_value",
    "debug_pin_value",
    "declare",
    "file_descriptor",
    "host_name",
    "kind_of",
    "not_empty",
    "unknown_key",
]

ENVIRONMENT_PREFIX: Final = "ASERVE_"
# Taken out of the environment by whoever has read it: variables are shown, copied and inherited.
DEBUG_PIN_VARIABLE: Final = "ASERVE_DEBUG_PIN"

Check = Callable[[Any], str | None]


class Option(NamedTuple):
    """What the doors need to know about one field of a configuration class.

    Args:
        name: The field, the key in pyproject.toml and the keyword argument.
        kind: The Python type of the value; `tuple` for a list of texts.
        default: Its default.
        help: One sentence for `--help` and the reference.
        group: The heading it stands under in `--help`.
        flags: Spellings on the command line, the long one first.
        off_flag: The spelling that switches a boolean off, or None.
        metavar: What stands for the value in `--help`.
        choices: The allowed texts, or empty.
        unit: "seconds", "bytes" or empty.
        check: Returns the fix for a bad value, or None for a good one; of a list, for each item.
        optional: Whether None is a value.
        separator: What stands between the items of a list in a text; empty for commas and spaces.
        is_secret: Its value is shown nowhere.
        is_rare: Few need it: only `--help-all` and the reference tell of it.
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
    separator: str = ""
    is_secret: bool = False
    is_rare: bool = False

    @property
    def environment(self) -> str:
        """The environment variable, e.g. `ASERVE_PORT`."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def is_list(self) -> bool:
        """Whether the value is a tuple of texts, so that the flag may be repeated."""
        return self.kind is tuple


def declare(
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
    separator: str = "",
    is_secret: bool = False,
    is_rare: bool = False,
) -> Any:
    """The default of a field that is an option; the arguments are those of `Option`."""
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
                "separator": separator,
                "is_secret": is_secret,
                "is_rare": is_rare,
            }
        },
    )


def between(low: float, high: float) -> Check:
    """A check: within the bounds."""

    def check(value: Any) -> str | None:
        return None if low <= value <= high else f"is not between {low:g} and {high:g}"

    return check


def at_least(low: float) -> Check:
    """A check: no less."""

    def check(value: Any) -> str | None:
        return None if value >= low else f"must be at least {low:g}"

    return check


def not_empty(value: Any) -> str | None:
    """A check: some text."""
    return None if value else "is empty; give a value or leave the option away"


def debug_pin_value(value: str) -> str | None:
    """A check: a PIN that can be typed, or `off`."""
    digits = value.replace("-", "")
    if value == "off" or (len(digits) >= 4 and digits.isascii() and digits.isdigit()):
        return None
    return "is neither `off` nor four digits or more"


def file_descriptor(value: int) -> str | None:
    """A check: a number that the system can give to a file."""
    if value < 0:
        return "must be at least 0"
    return None if value < 2**31 else "is larger than any descriptor"


# RFC 1123 section 2.1, in ASCII; a first label `*` stands for all.
_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME: Final = rf"(\*\.)?({_LABEL}\.)*{_LABEL}"


def host_name(value: str) -> str | None:
    """A check: a host name in ASCII, or an IP address."""
    if re.fullmatch(_HOST_NAME, value.lower()) or _is_ipv6(value):
        return None
    return "is no host name in ASCII; write e.g. shop.localhost"


def _is_ipv6(text: str) -> bool:
    import ipaddress  # loaded with every server, but not with `import aserve`

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def kind_of(hint: Any) -> tuple[type, bool]:
    """Split `int | None` into (int, True); a Literal of texts counts as str."""
    if getattr(hint, "__origin__", None) is tuple:
        return tuple, False
    arguments: tuple[Any, ...] = getattr(hint, "__args__", ())
    if type(None) in arguments:
        return arguments[0], True
    if arguments and all(isinstance(argument, str) for argument in arguments):
        return str, False
    return hint, False


_EXPECTED: Final = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text",
    tuple: "a list of texts",
}


def check_value(option: Option, value: Any, spelling: str) -> Any:
    """Check a value of the right Python type.

    Args:
        option: The option it is for.
        value: The value; an int is taken for a float, and a list for a tuple.
        spelling: The option as its user wrote it, for the error.

    Returns:
        The value, as the option's type; a secret sealed.

    Raises:
        ConfigError: For a wrong type or a value outside the option's bounds.
    """
    if (value is None and option.optional) or (option.is_secret and isinstance(value, Sealed)):
        return value
    if option.kind is float and type(value) is int:
        value = float(value)
    if option.is_list and type(value) is list:  # of a file, or of somebody who writes one
        value = tuple(value)
    if not _has_type(option, value):
        raise ConfigError(spelling, value, f"must be {_EXPECTED[option.kind]}")
    if option.choices and value not in option.choices:
        raise ConfigError(spelling, value, f"is not one of {', '.join(option.choices)}")
    for item in value if option.is_list else (value,):
        if option.check is not None and (fix := option.check(item)) is not None:
            raise ConfigError(spelling, "..." if option.is_secret else item, fix)
    return Sealed(value) if option.is_secret else value


def _has_type(option: Option, value: Any) -> bool:
    # Exactly: True would be an int, too.
    if option.is_list:
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    return type(value) is option.kind


def unknown_key(key: str, known: list[str], where: str) -> ConfigError:
    """The error for a key that no option has, with the nearest one that exists."""
    import difflib

    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
    return ConfigError(where, key, f"is not an option{hint}")
