"""Read the text that names an application, or look for one; nothing is imported here."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..errors import AppLoadError

__all__ = ["APP_NAMES", "FACTORY_NAMES", "Target", "discover", "parse_spec"]

# The names that frameworks' documentation uses; the first that exists is taken.
APP_NAMES: Final = ("app", "application")
FACTORY_NAMES: Final = ("create_app", "make_app")
_FILES: Final = ("app.py", "wsgi.py", "main.py")

_FORMS: Final = (
    "Write `module:attr`, `module:factory()`, `module`, "
    "or a file such as `app.py` or `app.py:attr`."
)

# Whether a file is worth importing: it seems to define one of the names at top level.
# Texts, compiled by the first search, which most starts do not need.
_DEFINES_APP: Final = (
    rf"^(?:{'|'.join(APP_NAMES)})\b\s*[:=,]"
    rf"|^(?:def|class)\s+(?:{'|'.join(APP_NAMES + FACTORY_NAMES)})\b"
    rf"|^from\s.*\simport\s.*\b(?:{'|'.join(APP_NAMES + FACTORY_NAMES)})\b"
)
_DJANGO_SETTINGS: Final = r"""DJANGO_SETTINGS_MODULE["']\s*[,\]]\s*=?\s*["']([\w.]+)["']"""


class Target(NamedTuple):
    """What is to be imported.

    Args:
        root: The directory that goes first on `sys.path`.
        module: The module's dotted name.
        shown: How the person named it, for messages.
        file: The file, when a file was named; the import must end there.
        attribute: The attribute path in the module; empty to choose.
        call: The arguments to call it with, or None.
        call_text: The arguments as they were written, with parentheses.
        django_settings: The settings module that `manage.py` names; then `module` is unused.
    """

    root: Path
    module: str
    shown: str
    file: Path | None = None
    attribute: tuple[str, ...] = ()
    call: tuple[tuple[Any, ...], dict[str, Any]] | None = None
    call_text: str = ""
    django_settings: str = ""


def parse_spec(spec: str, directory: Path) -> Target:
    """Read the text of APP.

    Args:
        spec: The text, not empty.
        directory: Where module names and relative paths start; absolute.

    Raises:
        AppLoadError: The text has none of the forms, or names a file that does not exist.
    """
    place, colon, expression = _split(spec)
    if not place:
        raise AppLoadError(f"{spec!r} names no module before the colon.", advice=_FORMS)
    if colon and not expression:
        raise AppLoadError(f"{spec!r} names nothing after the colon.", advice=_FORMS)
    attribute, call, call_text = _parse_expression(expression, spec)
    path = (directory / place).expanduser()
    is_module = (path / "__init__.py").exists() or path.with_name(f"{path.name}.py").exists()
    if path.is_dir() and not colon and ("/" in place or os.sep in place or not is_module):
        return discover(path)
    if place.endswith(".py") or "/" in place or os.sep in place:
        root, module, file = _module_of(path, place)
    elif all(part.isidentifier() for part in place.split(".")):
        root, module, file = directory, place, None
    else:
        raise AppLoadError(f"{place!r} is neither a module nor a Python file.", advice=_FORMS)
    return Target(root, module, spec, file, attribute, call, call_text)


def _split(spec: str) -> tuple[str, str, str]:
    """Split at the first colon, but not at the one of a Windows drive."""
    start = 2 if re.match(r"[A-Za-z]:[\\/]", spec) else 0
    head, colon, tail = spec[start:].partition(":")
    return spec[:start] + head, colon, tail


def _parse_expression(
    expression: str, spec: str
) -> tuple[tuple[str, ...], tuple[tuple[Any, ...], dict[str, Any]] | None, str]:
    """Read `attr.sub` or `factory(1, name="x")`; the arguments must be literals.

    Never evaluated: the text may come from a file.
    """
    if not expression:
        return (), None, ""
    bad = AppLoadError(
        f"{expression!r} in {spec!r} is neither an attribute nor a call with literal arguments.",
        advice=_FORMS,
    )
    try:
        node = ast.parse(expression.strip(), mode="eval").body
        call = None
        call_text = ""
        if isinstance(node, ast.Call):
            if any(keyword.arg is None for keyword in node.keywords):
                raise bad
            positional = tuple(ast.literal_eval(item) for item in node.args)
            named = {str(item.arg): ast.literal_eval(item.value) for item in node.keywords}
            call = (positional, named)
            call_text = expression.strip()[node.func.end_col_offset or 0 :]
            node = node.func
    except (SyntaxError, ValueError):
        raise bad from None
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise bad
    return (node.id, *names), call, call_text


def _module_of(path: Path, shown: str) -> tuple[Path, str, Path]:
    """The import root, the dotted name and the file of a Python file."""
    if path.suffix != ".py" and path.with_name(path.name + ".py").is_file():
        path = path.with_name(path.name + ".py")
    if path.is_dir() and (path / "__init__.py").is_file():
        path = path / "__init__.py"
    if not path.is_file():
        raise _no_file(path, shown)
    path = path.resolve()
    parts = [] if path.stem == "__init__" else [path.stem]
    root = path.parent
    # As `python -m` wants it: the first parent that is no package itself.
    while (root / "__init__.py").is_file() and root != root.parent:
        parts.insert(0, root.name)
        root = root.parent
    if any("." in part for part in parts):
        raise AppLoadError(
            f"{shown!r} cannot be imported, because a module's name has no dot.",
            advice=f"Rename {path.name} to {path.stem.replace('.', '_')}.py.",
        )
    return root, ".".join(parts), path


def _no_file(path: Path, shown: str) -> AppLoadError:
    if path.exists():
        return AppLoadError(f"{shown!r} is no Python file.", advice=_FORMS)
    import difflib

    near: list[str] = []
    if path.parent.is_dir():
        names = [item.name for item in path.parent.iterdir() if item.suffix == ".py"]
        near = difflib.get_close_matches(path.name, names, n=1)
    if near:
        advice = f"Did you mean {str(Path(shown).with_name(near[0]))!r}?"
    elif path.parent.is_dir():
        advice = f"Python files in {path.parent}: {', '.join(sorted(names)) or 'none'}."
    else:
        advice = f"The directory {path.parent} does not exist either."
    return AppLoadError(f"There is no file {shown!r}.", advice=advice)


def discover(directory: Path) -> Target:
    """Look for an application when none was named.

    The first of `app.py`, `wsgi.py` and `main.py` that defines `app`, `application`,
    `create_app` or `make_app`; else the first of them that exists; else `manage.py`.

    Raises:
        AppLoadError: There is none.
    """
    directory = directory.resolve()
    existing = [directory / name for name in _FILES if (directory / name).is_file()]
    package = directory / "app" / "__init__.py"
    if package.is_file():
        existing.append(package)
    chosen = next((path for path in existing if _defines_app(path)), None)
    manage = directory / "manage.py"
    if chosen is None and manage.is_file():
        found = re.search(_DJANGO_SETTINGS, _text(manage))
        if found:
            return Target(directory, "", "manage.py", django_settings=found[1])
    if chosen is None and existing:
        chosen = existing[0]
    if chosen is None:
        raise _nothing(directory, manage.is_file())
    root, module, file = _module_of(chosen, chosen.name)
    return Target(root, module, str(chosen.relative_to(directory)), file)


def _defines_app(path: Path) -> bool:
    return re.search(_DEFINES_APP, _text(path), re.MULTILINE) is not None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _nothing(directory: Path, has_manage: bool) -> AppLoadError:
    likely = [
        path.name
        for path in sorted(directory.glob("*.py"))
        if path.name not in (*_FILES, "manage.py") and _defines_app(path)
    ]
    if likely:
        advice = f"Did you mean `aserve {likely[0]}`?"
    elif has_manage:
        advice = "manage.py is there, but it names no DJANGO_SETTINGS_MODULE. " + _FORMS
    else:
        advice = _FORMS + " `aserve demo` serves an app that is built in."
    looked_for = f"{', '.join(_FILES)} or manage.py"
    return AppLoadError(f"No app was named, and {directory} has no {looked_for}.", advice=advice)
