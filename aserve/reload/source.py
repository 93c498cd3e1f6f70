"""How the child loads the user's modules: as they are on the disk, and remembered with a digest.

A .pyc file records the time of its source in whole seconds, and its size: two edits of the same
size within one second leave the code of the first (cpython#75953). So a .pyc that was written less
than two seconds behind the last change of its source is not believed, and is written anew.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.machinery
import importlib.util
import os
import site
import sys
import sysconfig
from pathlib import Path
from types import CodeType
from typing import Any, Final

__all__ = ["Sources", "digest_of", "is_users"]

_RACY_SECONDS: Final = 2.0

_OWN_PACKAGE: Final = str(Path(__file__).resolve().parents[1])


def _foreign_places() -> tuple[str, ...]:
    """Where other people's code is: the standard library, installed packages, and aserve."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {*site.getsitepackages(), site.getusersitepackages(), _OWN_PACKAGE}
    return tuple(
        os.path.join(os.path.realpath(path), "") for path in paths if path
    )  # with a separator at the end, so that `lib2` is not below `lib`


_FOREIGN: Final = _foreign_places()
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def is_users(path: str) -> bool:
    """Whether a file is the user's own code: neither the standard library nor installed."""
    return _is_users_folder(os.path.dirname(path))


@functools.cache
def _is_users_folder(folder: str) -> bool:
    # Resolving a path takes 20 us, and there are hundreds of modules in few folders.
    real = os.path.join(os.path.realpath(folder), "")
    return not real.startswith(_FOREIGN) and not any(part in real for part in _INSTALLED)


def digest_of(data: bytes) -> str:
    """What tells whether a file has changed; not for secrets."""
    return hashlib.blake2b(data, digest_size=12).hexdigest()


class Sources:
    """Loads the user's modules from source, and knows what was loaded. Importing thread only."""

    def __init__(self) -> None:
        # Path -> digest of the bytes that were compiled.
        self.loaded: dict[str, str] = {}

    def install(self) -> None:
        """From here on modules are loaded this way."""
        loader = _make_loader(self.loaded)
        details: list[Any] = [
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
            (loader, importlib.machinery.SOURCE_SUFFIXES),
            (importlib.machinery.SourcelessFileLoader, importlib.machinery.BYTECODE_SUFFIXES),
        ]
        hook = importlib.machinery.FileFinder.path_hook(*details)

        def for_users_only(path: str) -> Any:
            if not is_users(os.path.join(path or os.getcwd(), "module.py")):
                raise ImportError("left to the usual finder", path=path)
            return hook(path)

        sys.path_hooks.insert(0, for_users_only)
        # The other finders know their folders already; listing them again takes milliseconds.
        for path in list(sys.path_importer_cache):
            if is_users(os.path.join(path, "module.py")):
                del sys.path_importer_cache[path]

    def compile(self, path: str) -> CodeType:
        """The code of a file that is run, not imported."""
        source = Path(path).read_bytes()
        self.loaded[os.path.abspath(path)] = digest_of(source)
        return compile(source, path, "exec", dont_inherit=True)

    def files(self) -> dict[str, str]:
        """Path -> digest of every file of the user that is in use; empty for an unknown one."""
        found = dict(self.loaded)
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and is_users(path):
                path = _file_of(os.path.abspath(path))
                if path:
                    found.setdefault(path, "")
        return found


def installed_modules() -> list[str]:
    """Names of the modules of other people, in the order of their import."""
    return [
        name
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] not in ("__main__", "__mp_main__", "aserve")
        and (path := getattr(module, "__file__", None))
        and not is_users(path)
    ]


def _file_of(path: str) -> str:
    """The file itself; for a module in a zip the zip, which is what may change (B86)."""
    while path and not os.path.isfile(path):
        above = os.path.dirname(path)
        path = above if above != path else ""
    return path


def _make_loader(loaded: dict[str, str]) -> type[importlib.machinery.SourceFileLoader]:
    class UsersLoader(importlib.machinery.SourceFileLoader):
        """Reads the source each time, and believes a .pyc only when it is surely newer."""

        def get_code(self, fullname: str) -> CodeType | None:
            path = self.get_filename(fullname)
            # Read once: what is compiled and what is remembered must be the same bytes.
            source = self.get_data(path)
            loaded[os.path.abspath(path)] = digest_of(source)
            if _is_believable(path, len(source)):
                return super().get_code(fullname)
            code: CodeType = self.source_to_code(source, path)
            self._write(path, source, code)
            return code

        def _write(self, path: str, source: bytes, code: CodeType) -> None:
            if sys.dont_write_bytecode:
                return
            # With the time of the bytes that were read, if they are still there.
            status = os.stat(path)
            if status.st_size != len(source):
                return
            header = importlib.util.MAGIC_NUMBER + (0).to_bytes(4, "little")
            header += (int(status.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little")
            header += (len(source) & 0xFFFFFFFF).to_bytes(4, "little")
            import marshal

            target = importlib.util.cache_from_source(path)
            self._cache_bytecode(path, target, header + marshal.dumps(code))  # type: ignore[attr-defined]

    return UsersLoader


def _is_believable(path: str, size: int) -> bool:
    try:
        status = os.stat(path)
        cached = os.stat(importlib.util.cache_from_source(path))
    except (OSError, NotImplementedError):
        return False
    return status.st_size == size and cached.st_mtime > status.st_mtime + _RACY_SECONDS
