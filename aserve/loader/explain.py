"""Turn what went wrong with an app into an `AppLoadError` that helps.

Every function returns the error; the caller raises it. The message is one line, the advice
says what to write or do, and `user_traceback` is there only when the app's own code failed.
"""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from ..advice import advise
from ..errors import AppLoadError
from .shape import accepts, callables_near
from .target import APP_NAMES, FACTORY_NAMES, Target

__all__ = [
    "asgi_app",
    "factory_needs_arguments",
    "hidden_module",
    "import_failed",
    "is_target_itself",
    "no_app",
    "no_attribute",
    "no_module",
    "not_callable",
    "wrong_arguments",
]

_OWN_PACKAGE: Final = f"{Path(__file__).absolute().parents[1]}{os.sep}"
_IMPORTLIB: Final = str(Path("importlib", "__init__.py"))


def is_target_itself(error: ModuleNotFoundError, module: str) -> bool:
    """Whether the module that is missing is the one that was asked for.

    A module that the app imports is the app's own failure; then its frames stand in the
    traceback, and there is something to show.
    """
    is_named = error.name == module or module.startswith(f"{error.name}.")
    return is_named and not _user_frames(error)


def no_module(target: Target) -> AppLoadError:
    """There is no such module on the path."""
    import difflib
    import pkgutil

    module = target.module
    parent, _, last = module.rpartition(".")
    folder = target.root.joinpath(*parent.split(".")) if parent else target.root
    names = [info.name for info in pkgutil.iter_modules([str(folder)])]
    near = difflib.get_close_matches(last, names, n=1)
    tail = target.shown[len(module) :]
    if near:
        advice = f"Did you mean {'.'.join(filter(None, (parent, near[0]))) + tail!r}?"
    elif names:
        advice = f"Modules in {folder}: {', '.join(sorted(names)[:12])}."
    else:
        advice = f"Looked in {folder} and on the Python path; {folder} has no modules."
    return AppLoadError(f"There is no module {module!r}.", advice=advice)


def hidden_module(target: Target, module: ModuleType) -> AppLoadError:
    """The file's name belongs to another module, which was imported in its place."""
    origin = module.__file__ or "the interpreter"
    return AppLoadError(
        f"{target.shown!r} cannot be imported: the module {target.module!r} from {origin} "
        "has the same name.",
        advice="Rename the file.",
    )


def no_attribute(module: ModuleType, holder: Any, path: tuple[str, ...]) -> AppLoadError:
    """The module, or an object in it, has no such attribute."""
    import difflib

    wanted = path[-1]
    where = module.__name__ if len(path) == 1 else f"{module.__name__}:{'.'.join(path[:-1])}"
    message = f"{where!r} has no attribute {wanted!r}."
    names = [name for name in dir(holder) if not name.startswith("_")]
    near = difflib.get_close_matches(wanted, names, n=1)
    candidates = callables_near(module) if len(path) == 1 else []
    plain = [name.removesuffix("()") for name in candidates]
    if near and (near[0] in plain or not candidates):
        index = plain.index(near[0]) if near[0] in plain else None
        guess = candidates[index] if index is not None else near[0]
        prefix = f"{module.__name__}:" + "".join(f"{part}." for part in path[:-1])
        return AppLoadError(message, advice=f"Did you mean '{prefix}{guess}'?")
    return AppLoadError(message, advice=_candidates(module, candidates))


def no_app(module: ModuleType, instances: list[str]) -> AppLoadError:
    """The module was named alone, and the choice is not clear."""
    name = module.__name__
    if instances:
        choices = " or ".join(f"`{name}:{item}`" for item in instances)
        return AppLoadError(f"{name!r} has several apps.", advice=f"Write {choices}.")
    wanted = ", ".join((*APP_NAMES, *FACTORY_NAMES))
    advice = _candidates(module, callables_near(module))
    return AppLoadError(f"{name!r} has none of {wanted}.", advice=advice)


def _candidates(module: ModuleType, names: list[str]) -> str:
    if len(names) == 1:
        return f"Did you mean '{module.__name__}:{names[0]}'?"
    if names:
        return "It has " + ", ".join(f"`{module.__name__}:{name}`" for name in names) + "."
    return "Nothing in it looks like a WSGI app; name yours as `module:attr`."


def not_callable(module: ModuleType, attribute: str, value: Any) -> AppLoadError:
    """A WSGI app is called for each request, and this cannot be called."""
    name = f"{module.__name__}:{attribute}"
    if isinstance(value, ModuleType):
        message = f"{name!r} is a module, not an app."
        return AppLoadError(message, advice=_candidates(value, callables_near(value)))
    message = f"{name!r} is of type {type(value).__name__}, which cannot be called."
    if value is None and attribute.endswith(")"):
        message = f"{name!r} returned None; a factory returns the app."
    others = [item for item in callables_near(module) if item != attribute]
    return AppLoadError(message, advice=_candidates(module, others))


def factory_needs_arguments(module: ModuleType, name: str) -> AppLoadError:
    """A factory was found, but it cannot be called without arguments."""
    return AppLoadError(
        f"'{module.__name__}:{name}' is a factory that needs arguments.",
        advice=f"Write them as literals: \"{module.__name__}:{name}('value')\".",
    )


def wrong_arguments(name: str, value: Any) -> AppLoadError:
    """A function or class that cannot take `environ, start_response`."""
    message = f"{name!r} is no WSGI app: it cannot be called with (environ, start_response)."
    if accepts(value, 0):
        return AppLoadError(message, advice=f"If it makes the app, write '{name}()'.")
    advice = f"If it makes the app, write its arguments as literals: \"{name}('value')\"."
    return AppLoadError(message, advice=advice)


def asgi_app(name: str, reason: str) -> AppLoadError:
    """An ASGI app speaks another protocol than WSGI."""
    variable = name.partition(":")[2]
    return AppLoadError(
        f"{name!r} is an ASGI app, and aserve serves WSGI apps: {reason}.",
        advice="Use an ASGI server such as uvicorn or hypercorn, or wrap it: "
        f"`from a2wsgi import ASGIMiddleware; wsgi_app = ASGIMiddleware({variable})`.",
    )


def import_failed(shown: str, error: BaseException) -> AppLoadError:
    """The app's own code raised while it was imported or made."""
    if isinstance(error, SystemExit):
        what = f"it called sys.exit({'' if error.code is None else repr(error.code)})"
    else:
        what = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    return AppLoadError(
        f"{shown!r} failed to import: {what}",
        advice=advise(error),
        user_traceback=_user_traceback(error),
    )


def _is_user_frame(filename: str) -> bool:
    if filename.startswith((_OWN_PACKAGE, "<frozen ")):
        return False
    return not filename.endswith(_IMPORTLIB)


def _user_frames(error: BaseException) -> list[traceback.FrameSummary]:
    return [f for f in traceback.extract_tb(error.__traceback__) if _is_user_frame(f.filename)]


def _from_users_code(
    part: traceback.TracebackException, frames: list[traceback.FrameSummary]
) -> list[traceback.FrameSummary]:
    """Without the frames of a framework that only lead to the user's code."""
    from ..reload.source import is_users  # hashlib: a start without an error need not load it

    first = next((i for i, frame in enumerate(frames) if is_users(frame.filename)), None)
    if first is None:
        # A SyntaxError names its place by itself.
        return [] if getattr(part, "lineno", None) is not None else frames
    return frames[first:]


def _user_traceback(error: BaseException) -> str:
    """Format the traceback without the frames of the import system and of aserve.

    Chained causes and the members of exception groups are kept, and reduced alike.
    """
    whole = traceback.TracebackException.from_exception(error)
    pending: list[traceback.TracebackException | None] = [whole]
    seen: set[int] = set()
    while pending:
        part = pending.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        kept = [frame for frame in part.stack if _is_user_frame(frame.filename)]
        part.stack = traceback.StackSummary.from_list(_from_users_code(part, kept))
        pending += [part.__cause__, part.__context__, *(part.exceptions or ())]
    text = "".join(whole.format()).rstrip()
    if not whole.stack and whole.__cause__ is None and whole.__context__ is None:
        # A SyntaxError in the file itself: it has a place of its own and no frames.
        text = text.removeprefix("Traceback (most recent call last):\n")
    return text
