"""Run the program of the supervisor once more, in another process: a script that calls `run`."""

from __future__ import annotations

import builtins
import importlib.util
import os
import shlex
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from .channel import Message
from .child import program_index
from .source import Sources

__all__ = ["add_argument", "describe", "directory_at_start", "environment_at_start", "rerun"]

# A word of the command line -> what the processes that serve find behind it.
_added: dict[str, str] = {}


def add_argument(word: str, *, behind: str) -> None:
    """Have the program that is run again see one more argument, which nobody has typed.

    Args:
        word: The argument.
        behind: The one in front of it; without it among them nothing is added.
    """
    _added[behind] = word


def describe() -> Message | None:
    """What this process runs; None when it cannot be run again, as in an interactive shell.

    Returns:
        "kind" ("module", "file", "place" for a directory or a zip, "command"), "name", the
        "arguments", those of them that were "typed", and "path", which goes first on `sys.path`
        as Python puts it there, whatever the program has put in front of it; None for nothing.
    """
    main = sys.modules.get("__main__")
    words = sys.orig_argv[program_index(sys.orig_argv) :]
    if main is None or not words:
        return None
    spec = getattr(main, "__spec__", None)
    directory = directory_at_start()
    if words[0].startswith("-c"):
        glued = words[0] != "-c"
        code = words[0][2:] if glued else words[1]
        return _message("command", code, words[1 if glued else 2 :], "")
    if words[0].startswith("-m") and spec is not None:
        name = spec.name.removesuffix(".__main__")
        return _message("module", name, words[2 if words[0] == "-m" else 1 :], directory)
    file = getattr(main, "__file__", None)
    path = os.path.join(directory, words[0])
    if file is None or not os.path.exists(path):
        return None
    if spec is not None:
        return _message("place", path, words[1:], None)  # which puts itself there
    return _message("file", path, words[1:], os.path.dirname(os.path.realpath(path)))


def directory_at_start() -> str:
    """The working directory that this process was started in, as far as that can be known.

    Python makes the path of a script absolute before it runs it, and only then may it go elsewhere.
    """
    file = getattr(sys.modules.get("__main__"), "__file__", None) or ""
    word = sys.orig_argv[program_index(sys.orig_argv) :][:1]
    if word and not os.path.isabs(word[0]) and file.endswith(os.sep + word[0]):
        return file.removesuffix(word[0]).rstrip(os.sep) or os.sep
    return os.getcwd()


def environment_at_start() -> dict[str, str]:
    """The variables that this process was started with, whatever it has set since.

    A program that is run again sets them again. Left in, they would outlive the line that has set
    them, and a new process would not have them. Only Linux tells; elsewhere what is set now.
    """
    try:
        data = Path("/proc/self/environ").read_bytes()
    except OSError:
        return dict(os.environ)
    pairs = [line.partition(b"=") for line in data.split(b"\0") if line]
    if not all(equals for _, equals, _ in pairs):
        return dict(os.environ)  # the place is used otherwise, such as for the name of the process
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def _message(kind: str, name: str, typed: list[str], path: str | None) -> Message:
    arguments = typed
    for behind, word in _added.items():
        if behind in arguments:
            index = arguments.index(behind) + 1
            arguments = [*arguments[:index], word, *arguments[index:]]
    first = None if sys.flags.safe_path else path
    return {"kind": kind, "name": name, "arguments": arguments, "typed": typed, "path": first}


def rerun(script: Message, sources: Sources) -> None:
    """Run it as `__main__`, with its arguments. Main thread.

    Args:
        script: What `describe` has returned in the supervisor.
        sources: Gets to know the file.
    """
    kind, name = script["kind"], script["name"]
    if script["path"] is not None and sys.path[:1] != [script["path"]]:
        sys.path.insert(0, script["path"])
    main = ModuleType("__main__")
    vars(main)["__builtins__"] = builtins
    if kind == "command":
        sys.argv = ["-c", *script["arguments"]]
        code: CodeType = compile(name, "<string>", "exec")
    elif kind == "file":
        sys.argv = [name, *script["arguments"]]
        main.__file__ = name
        code = sources.compile(name)
    else:
        spec = _find(kind, name)
        main.__spec__ = spec
        main.__loader__ = spec.loader
        main.__file__ = spec.origin
        main.__package__ = spec.parent
        sys.argv = [spec.origin or name, *script["arguments"]]
        loader: Any = spec.loader
        code = loader.get_code(spec.name)
    sys.modules["__main__"] = main
    exec(code, vars(main))


def _find(kind: str, name: str) -> ModuleSpec:
    if kind == "place":
        sys.path.insert(0, name)
        spec = PathFinder.find_spec("__main__", [name])
    else:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return spec


def shown_name(script: Message) -> str:
    """How to name it to a person."""
    if script["kind"] == "command":
        return "-c"
    if script["kind"] == "module":
        return shlex.join(["-m", script["name"], *script["typed"]])
    path = Path(script["name"])
    # Of a command that is installed, the name alone is that of a library: `flask` has not failed.
    return path.name if path.suffix else shlex.join([path.name, *script["typed"]])
