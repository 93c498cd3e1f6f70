"""How the child loads the user's modules: as they are on the disk, and remembered with a digest.

A .pyc file records the time of its source in whole seconds, and its size: two edits of the same
size within one second leave the code of the first (cpython#75953), and so does another file that
is moved into its place. So only a .pyc that records a hash of its source (PEP 552) is believed;
others are written anew as such ones, which Python itself compares with the source, too.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.machinery
import importlib.util
import marshal
import os
import site
import sys
import sysconfig
from pathlib import Path
from types import CodeType
from typing import Any, Final, cast

__all__ = ["Sources", "digest_of", "installed_modules", "is_users", "users_modules"]

# PEP 552: the code is of the source with this hash, and Python shall look at it.
_CHECKED_HASH: Final = (0b11).to_bytes(4, "little")

_OWN_PACKAGE: Final = str(Path(__file__).resolve().parents[1])


def _foreign_places() -> tuple[str, ...]:
    """Where other people's code is: the standard library, installed packages, and aserve."""
    names = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")  # `flask` is in the last
    paths = {sysconfig.get_path(name) for name in names}
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


def stamp_of(path: str) -> tuple[int, int, int]:
    """What is another one when a file has changed; zeros for one that is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)


class Sources:
    """Loads the user's modules from source, and knows what was loaded. Importing thread only."""

    def __init__(self) -> None:
        # Path -> digest of the bytes that were compiled.
        self.loaded: dict[str, str] = {}

    def install(self) -> None:
        """From here on modules are loaded this way, whoever has found them."""
        loader: Any = importlib.machinery.SourceFileLoader
        usual = loader.get_code

        def get_code(self_: Any, fullname: str) -> CodeType | None:
            path = self_.get_filename(fullname)
            if not is_users(path):
                code: CodeType | None = usual(self_, fullname)
                return code
            # Read once: what is compiled and what is remembered must be the same bytes.
            source = self_.get_data(path)
            self.loaded[os.path.abspath(path)] = digest_of(source)
            return _code_of(self_, path, source)

        loader.get_code = get_code
        # What is known of the user's folders may be older than a file in them; listing the others
        # again would take milliseconds.
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
    """Names of the modules of other people, in the order in which their import ended."""
    return [
        name
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] not in ("__main__", "__mp_main__", "aserve")
        and (path := getattr(module, "__file__", None))
        and not is_users(path)
    ]


def users_modules() -> list[str]:
    """Top-level names of the user's modules."""
    tops = {name.partition(".")[0] for name in list(sys.modules)} - {"__main__", "__mp_main__"}
    return sorted(
        name
        for name in tops
        if (path := getattr(sys.modules.get(name), "__file__", None)) and is_users(path)
    )


def _file_of(path: str) -> str:
    """The file itself; for a module in a zip the zip, which is what may change (B86)."""
    while path and not os.path.isfile(path):
        above = os.path.dirname(path)
        path = above if above != path else ""
    return path


def _code_of(loader: Any, path: str, source: bytes) -> CodeType:
    """Compiled, or as it was compiled from the same bytes before."""
    hashed = importlib.util.source_hash(source)
    header = importlib.util.MAGIC_NUMBER + _CHECKED_HASH + hashed
    try:
        cached = importlib.util.cache_from_source(path)
    except NotImplementedError:
        cached = ""
    if cached:
        with contextlib.suppress(OSError, ValueError, EOFError, TypeError):
            data = Path(cached).read_bytes()
            if data.startswith(header):
                code = marshal.loads(data[len(header) :])
                # Tracebacks name the file where it was compiled, and folders are moved.
                if isinstance(code, CodeType) and code.co_filename == path:
                    return code
    code = cast(CodeType, loader.source_to_code(source, path))
    if cached and not sys.dont_write_bytecode:
        loader._cache_bytecode(path, cached, header + marshal.dumps(code))
    return code
