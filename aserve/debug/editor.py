"""Open a file of the project in the editor of whoever sits at this machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

from .. import native

__all__ = ["EditorError", "has_editor", "open_in_editor"]

# Tried in this order without a setting.
_USUAL: Final = ("code", "cursor", "codium", "pycharm", "charm", "zed", "subl")

_GOTO: Final = ("--goto", "{file}:{line}")
_LINE: Final = ("--line", "{line}", "{file}")
_COLON: Final = ("{file}:{line}",)
# A terminal of its own is what these cannot have here, so the file goes to one that runs
# already: vim started with --servername, or nvim with $NVIM or --listen.
_REMOTE: Final = ("--remote-silent", "+{line}", "{file}")
_KNOWN: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("code", "code-insiders", "codium", "cursor", "windsurf"), _GOTO),
    **dict.fromkeys(("pycharm", "charm", "idea"), _LINE),
    **dict.fromkeys(("subl", "zed"), _COLON),
    **dict.fromkeys(("vim", "gvim", "mvim", "nvim"), _REMOTE),
    "emacsclient": ("-n", "+{line}", "{file}"),
}
_PLACEHOLDER: Final = re.compile(r"\{(file|line)\}")

# Seconds in which a wrong option or a missing display shows.
_PATIENCE: Final = 0.3


class EditorError(Exception):
    """The file was not opened; the text says why, in one line."""


def open_in_editor(file: str, line: int, *, root: str, editor: str | None) -> None:
    """Start the editor, and wait a moment for it to fail. Blocks for 0.3 seconds; any thread.

    Args:
        file: In full.
        line: Counted from 1.
        root: Of the project; the file must really be below it.
        editor: The setting: a command, perhaps with `{file}` and `{line}`, which is run without
            a shell. None or empty for the first usual one that is installed.

    Raises:
        EditorError: No such file below the root, no such editor, or it failed at once.
    """
    path = _below(file, root)
    words = _command(editor)
    places = {"file": path, "line": str(max(1, line))}
    # After the split and in one go: whatever a file is called, it stays in its argument.
    argv = [_PLACEHOLDER.sub(lambda match: places[match[1]], word) for word in words]
    if argv[0].lower().endswith((".cmd", ".bat")) and re.search(r'["&|<>^%!\r\n]', path):
        # Windows runs these in its shell, which would read such characters.
        raise EditorError(f"{Path(path).name!r} cannot be given to a batch file")
    _start(argv, root)


def has_editor(editor: str | None) -> bool:
    """Whether there is a command that `open_in_editor` would start."""
    try:
        _command(editor)
    except EditorError:
        return False
    return True


def _below(file: str, root: str) -> str:
    """The real path of a regular file in the project."""
    try:
        path, top = Path(file).resolve(strict=True), Path(root).resolve(strict=True)
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError, RuntimeError):  # missing, a null byte, a circle of links
        raise EditorError("there is no such file") from None
    if not Path(file).is_absolute() or not is_regular:
        raise EditorError("this is not a regular file")
    if not path.is_relative_to(top):
        raise EditorError("the file is not one of the project")
    return str(path)


def _command(editor: str | None) -> list[str]:
    """Program, as a path, and arguments, with placeholders."""
    words = _split(editor or "")
    if not words:
        found = next((name for name in _USUAL if shutil.which(name)), None)
        if found is None:
            raise EditorError("no editor was found; set ASERVE_EDITOR to the command of yours")
        words = [found]
    # Expanded here, for there is no shell that does it.
    program = shutil.which(os.path.expanduser(words[0]))  # noqa: PTH111  # Path drops a "./"
    if program is None:
        raise EditorError(f"the editor {words[0]!r} was not found; see ASERVE_EDITOR")
    arguments = words[1:]
    if not any(_PLACEHOLDER.search(word) for word in arguments):
        arguments += _KNOWN.get(_name_of(words[0]), ("{file}",))
    # It is started in another directory.
    return [str(Path(program).absolute()), *arguments]


def _split(editor: str) -> list[str]:
    try:
        if sys.platform == "win32":
            # There a backslash is no escape.
            return [word.strip('"') for word in shlex.split(editor, posix=False)]
        return shlex.split(editor)
    except ValueError as error:
        raise EditorError(f"the command of ASERVE_EDITOR cannot be split: {error}") from None


def _name_of(program: str) -> str:
    name = Path(program).name.lower()
    return re.sub(r"\.(exe|cmd|bat)\Z", "", name)


def _start(argv: list[str], directory: str) -> None:
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    name = Path(argv[0]).name
    try:
        process = subprocess.Popen(
            argv,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            creationflags=flags,
        )
    except OSError as error:
        raise EditorError(f"{name} could not be started: {error.strerror}") from None
    try:
        status = process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        # It goes on; somebody has to take its status, or it stays as a zombie.
        native.threading.Thread(
            target=process.wait, name="aserve-debug-editor", daemon=True
        ).start()
        return
    if status:
        raise EditorError(f"{name} ended at once with status {status}")
