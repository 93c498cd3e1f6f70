"""What the files were when they were loaded, and which of them are different now.

Everything here reads the disk, one call at a time.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from .source import digest_of, stamp_of

__all__ = ["Change", "Interest", "Snapshot"]

# Never the user's own modules, and often huge (B88).
_PRUNED: Final = frozenset(
    ("__pycache__", "node_modules", "site-packages", "dist-packages", "venv", "env")
)
# A project with more directories is watched by the files that are loaded, and these.
_MOST_DIRECTORIES: Final = 4000

# Files beside the loaded ones that are read at the start, so that `touch` is no change: 10 ms.
_MOST_READ: Final = 300
# The digest of a file that nobody has read: its time and size have to tell.
_UNREAD: Final = "?"
_EMPTY: Final = digest_of(b"")

_SETTINGS: Final = (".env", ".flaskenv", "pyproject.toml")


class Change(NamedTuple):
    """A file that is not what was loaded; `kind` is edited, created or deleted."""

    path: str
    kind: str


class Interest(NamedTuple):
    """Which files matter beside those that are loaded.

    Args:
        roots: Directories whose Python files matter, with all below.
        extra: Files, directories and patterns of `glob`; everything in such a directory matters.
        excluded: Patterns of `fnmatch` for the absolute path or the name alone; `*` crosses `/`.
        settings_directory: Where `.env` and its like are looked for.
        told: Patterns of `glob` for files that the app itself wants to be told of.
    """

    roots: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    settings_directory: str = ""
    told: tuple[str, ...] = ()


class Snapshot:
    """The files that matter, and their digests.

    Args:
        interest: Which files matter.
    """

    def __init__(self, interest: Interest) -> None:
        self.interest = interest
        self.directories: tuple[str, ...] = ()
        self._digests: dict[str, str] = {}  # empty text: not there
        self._stamps: dict[str, tuple[int, int, int]] = {}
        # Real path -> the paths that lead to it by links.
        self._aliases: dict[str, set[str]] = {}
        self._settings = tuple(
            os.path.join(interest.settings_directory, name) for name in _SETTINGS
        )
        self._looked_at = 0
        self._scanned: set[str] = set()  # roots
        self._may_read = _MOST_READ
        self._half_written: set[str] = set()

    def __len__(self) -> int:
        return len(self._digests)

    def adopt(
        self, loaded: Mapping[str, str], roots: Iterable[str] = (), told: Iterable[str] = ()
    ) -> list[Change]:
        """A generation was loaded from these files; returns what is different already.

        Args:
            loaded: Path -> digest of what was loaded; an empty one for a file that cannot tell.
            roots: More directories that matter.
            told: See `Interest`.
        """
        if (wanted := tuple(told)) != self.interest.told:
            # As they are now they are known: the app has read none of them before it was loaded.
            self.interest = self.interest._replace(told=wanted)
            for path in self._find_extra({}, wanted):
                if path not in self._digests and not self._is_excluded(path):
                    self._remember(path, self._first_look(path))
        for root in roots:
            if root not in self.interest.roots:
                self.interest = self.interest._replace(roots=(*self.interest.roots, root))
        changes = []
        for path, digest in loaded.items():
            if self._is_excluded(path):
                continue
            self._remember(path, digest or self._digests.get(path) or _read(path))
            if change := self._compare(path):
                changes.append(change)
        # What it has looked at, and has not loaded; the events of that may be on their way.
        return changes + self.compare(self.look_around(len(self._digests)))

    def scan(self) -> list[Change]:
        """Look for files and directories that are new, and for files that are gone."""
        found: set[str] = set()
        new: set[str] = set()
        directories: dict[str, None] = {}
        for root in self.interest.roots:
            for directory, names in self._walk(root):
                directories[directory] = None
                paths = [os.path.join(directory, name) for name in names]
                found.update(paths)
                if root not in self._scanned:  # what is there already is not new
                    new.update(paths)
        self._scanned.update(self.interest.roots)
        is_first = not self.directories
        for path in self._find_extra(directories, (*self.interest.extra, *self.interest.told)):
            found.add(path)
        found.update(path for path in self._settings if os.path.isfile(path))
        changes: list[Change | None] = []
        for path in sorted(found):
            if self._is_excluded(path):
                continue
            if path not in self._digests:
                self._remember(path, self._first_look(path) if path in new or is_first else "")
            # Reading all of them at each new directory would take a tenth of a second.
            if not self._digests[path] or self._stamps[path] != stamp_of(path):
                changes.append(self._compare(path))
        for path in [path for path in self._digests if path not in found]:
            if self._stamps[path] != stamp_of(path):
                changes.append(self._compare(path))
            directories[os.path.dirname(path)] = None  # loaded from elsewhere
        # The target of a link changes where it is.
        directories.update(dict.fromkeys(map(os.path.dirname, self._aliases)))
        if self.interest.settings_directory:
            directories[self.interest.settings_directory] = None
        # One that may not be read would end the watch of all.
        self.directories = tuple(
            path for path in directories if os.path.isdir(path) and os.access(path, os.R_OK)
        )
        return [change for change in changes if change is not None]

    def compare(self, paths: Iterable[str], *, is_whole: bool = False) -> list[Change]:
        """Which of these files are not what was loaded; others than those that matter never are.

        Args:
            paths: The files.
            is_whole: An empty one is empty, and not only about to be written.
        """
        changes: list[Change | None] = []
        for path in dict.fromkeys(paths):
            names = {path, *self._aliases.get(path, ())}
            changes += [self._compare(name, is_whole) for name in names if self._matters(name)]
        return [change for change in changes if change is not None]

    def matters(self, path: str) -> bool:
        """Whether a file that was edited may be of interest. Does not read the disk."""
        return path in self._aliases or self._matters(path)

    def take_half_written(self) -> set[str]:
        """Files that were empty just now, and are to be compared again in a moment."""
        found, self._half_written = self._half_written, set()
        return found

    def look_around(self, most: int) -> list[str]:
        """The next few files whose time or size is new: a net below the system's events."""
        paths = list(self._digests)
        start = self._looked_at if self._looked_at < len(paths) else 0
        self._looked_at = start + most
        return [
            path for path in paths[start : start + most] if self._stamps.get(path) != stamp_of(path)
        ]

    # -- details -------------------------------------------------------------------------

    def _first_look(self, path: str) -> str:
        if self._may_read <= 0:
            return _UNREAD
        self._may_read -= 1
        return _read(path)

    def _remember(self, path: str, digest: str) -> None:
        self._digests[path] = digest
        self._stamps[path] = stamp_of(path)
        real = os.path.realpath(path)
        if real != path:
            self._aliases.setdefault(real, set()).add(path)

    def _compare(self, path: str, is_whole: bool = False) -> Change | None:
        before = self._digests.get(path, "")
        stamp = stamp_of(path)
        if stamp[1] == 0 and stamp[0] and before != _EMPTY and not is_whole:
            # Who writes a file anew empties it first.
            self._half_written.add(path)
            return None
        if before == _UNREAD and stamp == self._stamps[path]:
            return None
        self._stamps[path] = stamp
        now = _read(path)
        if now == before:
            return None
        self._remember(path, now)
        if not now:
            return Change(path, "deleted")
        return Change(path, "edited" if before else "created")

    def _matters(self, path: str) -> bool:
        if path in self._digests:
            return True
        if self._is_excluded(path):
            return False
        if path in self._settings:
            return True
        name = os.path.basename(path)
        if name.endswith(".py") and not name.startswith((".#", ".")):
            return any(path.startswith(os.path.join(root, "")) for root in self.interest.roots)
        return any(_is_below(path, extra) for extra in self.interest.extra) or self.is_told(path)

    def is_told(self, path: str) -> bool:
        """Whether the app wants to be told of this file, and nobody else of it."""
        return (
            any(_is_below(path, pattern) for pattern in self.interest.told)
            and not path.endswith(".py")
            and path not in self._settings
            and not any(_is_below(path, extra) for extra in self.interest.extra)
        )

    def _is_excluded(self, path: str) -> bool:
        name = os.path.basename(path)
        return any(
            fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(name, pattern)
            for pattern in self.interest.excluded
        )

    def _walk(self, root: str) -> Iterator[tuple[str, list[str]]]:
        """Directories below a root and the names of their Python files."""
        seen: set[str] = set()
        for directory, folders, files in os.walk(root, followlinks=True):
            real = os.path.realpath(directory)
            if real in seen or len(seen) > _MOST_DIRECTORIES:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in sorted(folders) if _is_wanted(directory, name)]
            names = [name for name in files if name.endswith(".py") and not name.startswith(".")]
            yield directory, names

    def _find_extra(self, directories: dict[str, None], patterns: Iterable[str]) -> Iterator[str]:
        for pattern in patterns:
            directories[os.path.dirname(pattern)] = None
            for path in glob.glob(pattern, recursive=True) or [pattern]:
                if os.path.isdir(path):
                    for directory, _, names in os.walk(path):
                        directories[directory] = None
                        yield from (os.path.join(directory, name) for name in names)
                elif os.path.isfile(path):
                    directories[os.path.dirname(path)] = None
                    yield path


def _is_wanted(directory: str, name: str) -> bool:
    return not (
        name.startswith(".")
        or name in _PRUNED
        or os.path.isfile(os.path.join(directory, name, "pyvenv.cfg"))
    )


def _is_below(path: str, extra: str) -> bool:
    if path == extra or path.startswith(os.path.join(extra, "")) or fnmatch.fnmatch(path, extra):
        return True
    # To `glob`, `**/` may be no folder at all, and to `fnmatch` it is one.
    return "**/" in extra and fnmatch.fnmatch(path, extra.replace("**/", ""))


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return digest_of(file.read())
    except OSError:
        return ""


def absolute(paths: Sequence[str], directory: str) -> tuple[str, ...]:
    """Paths as a person wrote them, from a directory."""
    return tuple(
        os.path.abspath(os.path.join(directory, os.path.expanduser(path))) for path in paths
    )
