"""Static files in front of an app: a WSGI middleware for folders, files and package data.

It takes the same exports as Werkzeug's `SharedDataMiddleware` and `run_simple(static_files=…)`.
What it does not serve goes on to the app: nothing found, a folder, a name that is refused.

Names are refused alike on every system, so that a site behaves on Linux as it will on Windows:
see `_is_plain`. Which file a link leads to is looked up on the open file, not before: in between
it could be another one.
"""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.utils import formatdate, mktime_tz, parsedate_tz
from errno import EIO, EMFILE, ENFILE, ENOMEM
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from .errors import ConfigError
from .types import Environ, StartResponse, WSGIApp, WSGIHeaders

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["StaticFiles", "content_type"]

# A folder or a file; or a package's name and a path inside it, with "/".
Target: TypeAlias = str | os.PathLike[str] | tuple[str, str]

# Bytes per read, where the server cannot send the file by itself.
_BLOCK: Final = 65_536

# Seconds. File times are as coarse as this (FAT), so a file that changed since may change once
# more and look the same; RFC 9110 section 8.8.1 calls such a tag weak.
_REST: Final = 2.0

# Errors of this process or of the disk; all others of opening say that there is no such file.
_OWN_TROUBLE: Final = {EIO, EMFILE, ENFILE, ENOMEM}

# Without O_NONBLOCK, opening a FIFO waits for whoever writes into it.
_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)

# Where Linux tells the path of an open file; elsewhere there is no such folder.
_DESCRIPTORS: Final = Path("/proc/self/fd")

# The registry of Windows and /etc/mime.types may say anything, text/plain for .js among it, and
# with `nosniff` a browser then runs no script. So what a web page needs is settled here.
_TYPES: Final = {
    ".avif": "image/avif", ".bmp": "image/bmp", ".css": "text/css", ".csv": "text/csv",
    ".gif": "image/gif", ".htm": "text/html", ".html": "text/html", ".ico": "image/x-icon",
    ".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".js": "text/javascript",
    ".json": "application/json", ".m4a": "audio/mp4", ".map": "application/json",
    ".md": "text/markdown", ".mjs": "text/javascript", ".mp3": "audio/mpeg", ".mp4": "video/mp4",
    ".ogg": "audio/ogg", ".otf": "font/otf", ".pdf": "application/pdf", ".png": "image/png",
    ".svg": "image/svg+xml", ".ttf": "font/ttf", ".txt": "text/plain", ".vtt": "text/vtt",
    ".wasm": "application/wasm", ".wav": "audio/wav", ".webm": "video/webm",
    ".webmanifest": "application/manifest+json", ".webp": "image/webp", ".woff": "font/woff",
    ".woff2": "font/woff2", ".xhtml": "application/xhtml+xml", ".xml": "application/xml",
    ".zip": "application/zip",
    # Compressed files are sent as they are, so their type is not that of what is inside.
    ".gz": "application/gzip", ".svgz": "application/gzip", ".tgz": "application/gzip",
}  # fmt: skip

# A backslash separates on Windows; a colon stands behind a drive or before a stream of a file.
# Windows drops dots and spaces at the end, so "a.txt." would be "a.txt".
_ODD_NAME: Final = re.compile(r"[\x00-\x1f\\/:]|[. ]\Z")
# Opening one of these on Windows talks to a device, whatever the folder and the suffix.
_DEVICE: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\.|\Z)", re.IGNORECASE
)

# RFC 9110 section 8.8.3; a comma may stand inside the quotes.
_ENTITY_TAG: Final = re.compile(r'(W/)?"([^"]*)"')
# RFC 9110 section 14.1.2. Python refuses to convert numbers of some thousand digits.
_BYTES: Final = re.compile(r"bytes=[ \t]*([0-9]{0,600})-([0-9]{0,600})[ \t]*", re.IGNORECASE)


class _Found(NamedTuple):
    """An open file that may be sent.

    Args:
        name: Its name, for the type.
        stream: At its start; whoever has it closes it.
        size: In bytes.
        modified: Seconds since the epoch, not in the future (RFC 9110 section 8.8.2.1).
        tag: The opaque part of the entity tag.
        is_strong: Whether other bytes would have another tag.
    """

    name: str
    stream: io.FileIO | io.BytesIO
    size: int
    modified: float
    tag: str
    is_strong: bool


class StaticFiles:
    """A WSGI middleware that answers GET and HEAD for files, and hands everything else on.

    Any number of threads may call it. Nothing is kept between requests.

    The entity tag is made of size and times of the file: strong, once the file has been left
    alone for two seconds, else weak, because two quick writes can leave the same times. Data
    from an archive has a strong tag, made of the bytes.

    Args:
        app: The application behind.
        exports: URL prefix -> folder, file, or (package, path inside it); a mapping or pairs.
            Of a mapping the longest prefix is tried first, pairs are tried in their order; a file
            that one of them does not have is looked for in the next. A prefix is relative to
            SCRIPT_NAME and matches whole segments; relative folders are those of the current
            directory, now.
            A package is imported. A folder need not exist yet.
        dot_files: Serve names that start with a dot, too.
        follow_links: Serve files that links inside a folder lead to, outside of it. A link
            that stays inside, and the exported folder or file itself, may be one anyway.
        cache_seconds: How long a browser need not ask again; 0 has it ask every time, which
            costs a short answer without a body when nothing has changed.

    Raises:
        ConfigError: An export or `cache_seconds` cannot be used.
    """

    def __init__(
        self,
        app: WSGIApp,
        exports: Mapping[str, Target] | Iterable[tuple[str, Target]],
        *,
        dot_files: bool = False,
        follow_links: bool = False,
        cache_seconds: int = 0,
    ) -> None:
        if cache_seconds < 0:
            raise ConfigError("cache_seconds", cache_seconds, "is negative; 0 asks every time")
        self.app = app
        self._rules = _Rules(dot_files, follow_links)
        self._cache_control = f"public, max-age={cache_seconds}" if cache_seconds else "no-cache"
        pairs = exports.items() if isinstance(exports, Mapping) else exports
        self._exports = [_export(prefix, target, self._rules) for prefix, target in pairs]
        if isinstance(exports, Mapping):
            # A list is in the order in which to look (B120).
            self._exports.sort(key=lambda export: -len(export.folder))

    def __call__(self, environ: Environ, start_response: StartResponse, /) -> Iterable[bytes]:
        """Answer with a file, or with what the app answers.

        Raises:
            OSError: The process has no descriptors left, or the disk is broken.
        """
        method = environ["REQUEST_METHOD"]
        # Werkzeug answers a POST with the file, too, and hides a form of the app that way.
        found = self._find(environ) if method in ("GET", "HEAD") else None
        if found is None:
            return self.app(environ, start_response)
        try:
            status, headers, span = _answer(found, environ, self._cache_control)
            start_response(status, headers)
            if span and method == "GET":
                return _body(found, environ, span)
        except BaseException:
            found.stream.close()
            raise
        found.stream.close()
        return []

    def _find(self, environ: Environ) -> _Found | None:
        """The open file that the request means; None without one."""
        try:
            # PEP 3333, "Unicode Issues": each character stands for one byte of the path.
            raw = environ.get("PATH_INFO", "").encode("latin-1")
        except UnicodeEncodeError:
            return None
        # What is not UTF-8 can still be a name on a disk.
        path = raw.decode("utf-8", "surrogateescape")
        for export in self._exports:
            if path == export.prefix:
                names = []
            elif path.startswith(export.folder):
                names = path[len(export.folder) :].split("/")
            else:
                continue
            if all(_is_plain(name, self._rules.dot_files) for name in names):
                found = export.source.find(names)
                if found is not None:
                    return found
        return None


class _Rules(NamedTuple):
    dot_files: bool
    follow_links: bool


class _OnDisk:
    """A folder or a file on a disk."""

    def __init__(self, root: Path, rules: _Rules) -> None:
        self._root = root
        self._rules = rules

    def find(self, names: Sequence[str]) -> _Found | None:
        """Open the file with this path; None when there is none that may be served."""
        path = self._root.joinpath(*names)
        try:
            # A look before, because opening a device can do something to it.
            if not stat.S_ISREG(path.stat().st_mode):
                return None
            stream = io.FileIO(path, opener=lambda name, _: os.open(name, _FLAGS))
        except OSError as error:
            if error.errno in _OWN_TROUBLE:
                raise
            return None
        except ValueError:  # the names on this system cannot have such characters
            return None
        found = None
        try:
            status = os.fstat(stream.fileno())
            if stat.S_ISREG(status.st_mode) and (
                not names or self._is_inside(stream, path, status)
            ):
                found = _described(path.name, stream, status)
        except OSError:
            return None
        finally:
            if found is None:
                stream.close()
        return found

    def _is_inside(self, stream: io.FileIO, path: Path, status: os.stat_result) -> bool:
        """Whether an open file is below the folder, and not a link's way to a hidden one."""
        if self._rules.follow_links:
            return True
        root, real = self._root.resolve(), _real_path(stream, path, status)
        if not real.is_relative_to(root):
            return False
        names = real.relative_to(root).parts
        return all(_is_plain(name, self._rules.dot_files) for name in names)


class _Packed:
    """A folder or a file of a package that is not a folder on the disk: read into memory."""

    def __init__(self, root: Traversable, rules: _Rules) -> None:
        self._root = root
        self._rules = rules
        # An archive is read as it was when it was opened: at this time or before.
        self._time = time.time()

    def find(self, names: Sequence[str]) -> _Found | None:
        """As `_OnDisk.find`."""
        node = self._root
        for name in names:
            node = node.joinpath(name)
        if isinstance(node, Path):
            # A package without `__init__.py` may be several folders: this is one of them.
            return _OnDisk(node.parents[len(names) - 1], self._rules).find(names)
        if not node.is_file():
            return None
        data = node.read_bytes()
        tag = hashlib.sha256(data).hexdigest()[:32]
        return _Found(node.name, io.BytesIO(data), len(data), self._time, tag, True)


class _Export(NamedTuple):
    """A prefix as it was written, the same with one slash at its end, and what it stands for."""

    prefix: str
    folder: str
    source: _OnDisk | _Packed


def _export(prefix: str, target: Target, rules: _Rules) -> _Export:
    if prefix and not prefix.startswith("/"):
        raise ConfigError("exports", prefix, "is not a URL prefix; it starts with '/'")
    return _Export(prefix, prefix.rstrip("/") + "/", _source(target, rules))


def _source(target: Target, rules: _Rules) -> _OnDisk | _Packed:
    """Where the files of an export come from."""
    if isinstance(target, str | os.PathLike):
        return _OnDisk(Path(target).absolute(), rules)
    if not (isinstance(target, tuple) and [type(part) for part in target] == [str, str]):
        raise ConfigError("exports", target, "is neither a path nor (package, path inside it)")
    from importlib.resources import files

    package, inside = target
    parts = PurePosixPath(inside).parts
    if not {"/", ".."}.isdisjoint(parts):
        raise ConfigError("exports", inside, f"leads out of the package {package}")
    try:
        node = files(package)
    except (ModuleNotFoundError, TypeError, ValueError) as error:
        raise ConfigError(
            "exports", package, f"is not a package that can be imported: {error}"
        ) from error
    for part in parts:
        node = node.joinpath(part)
    return _OnDisk(node, rules) if isinstance(node, Path) else _Packed(node, rules)


def _is_plain(name: str, dot_files: bool) -> bool:
    """Whether a segment of a path is an ordinary name: of a file here, and nothing on Windows."""
    return (
        name != ""
        and (dot_files or not name.startswith("."))
        and _ODD_NAME.search(name) is None
        and _DEVICE.match(name) is None
    )


def _real_path(stream: io.FileIO, path: Path, status: os.stat_result) -> Path:
    """The path of an open file, without links.

    Raises:
        OSError: It is gone, or another file has taken its place.
    """
    try:
        return (_DESCRIPTORS / str(stream.fileno())).readlink()
    except OSError:
        real = path.resolve(strict=True)
        if not os.path.samestat(real.lstat(), status):
            raise FileNotFoundError(f"{path} was replaced") from None
        return real


def _described(name: str, stream: io.FileIO, status: os.stat_result) -> _Found:
    now = time.time()
    # The second time changes with every write, even when somebody sets the first one back.
    tag = f"{status.st_mtime_ns:x}-{status.st_ctime_ns:x}-{status.st_size:x}"
    is_strong = now - max(status.st_mtime, status.st_ctime) >= _REST
    modified = min(max(status.st_mtime, 0.0), now)
    return _Found(name, stream, status.st_size, modified, tag, is_strong)


def content_type(name: str) -> str:
    """The Content-Type for a file's name.

    Text has the charset UTF-8; XML names its own. Unknown suffixes are application/octet-stream.
    """
    suffix = PurePosixPath(name).suffix.lower()
    kind = _TYPES.get(suffix)
    if kind is None:
        guess, coding = mimetypes.guess_type(f"x{suffix}")
        kind = guess if guess and not coding else "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def _answer(found: _Found, environ: Environ, cache: str) -> tuple[str, WSGIHeaders, range]:
    """Status, headers, and the bytes of the file that follow: none for an empty range."""
    none = range(0)
    etag = f'"{found.tag}"' if found.is_strong else f'W/"{found.tag}"'
    headers = [("ETag", etag), ("Cache-Control", cache)]
    condition = _check_conditions(found, environ)
    if condition == 304:
        return "304 Not Modified", headers, none
    if condition == 412:
        return "412 Precondition Failed", [("Content-Length", "0")], none
    span = _requested_range(found, environ)
    if span is not None and not span:
        unmet = [("Content-Range", f"bytes */{found.size}"), ("Content-Length", "0")]
        return "416 Range Not Satisfiable", unmet, none
    headers += [
        ("Content-Type", content_type(found.name)),
        ("Last-Modified", formatdate(int(found.modified), usegmt=True)),
        ("Accept-Ranges", "bytes"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    status = "200 OK"
    if span is None:
        span = range(found.size)
    else:
        status = "206 Partial Content"
        headers.append(("Content-Range", f"bytes {span.start}-{span.stop - 1}/{found.size}"))
    headers.append(("Content-Length", str(span.stop - span.start)))
    return status, headers, span


def _check_conditions(found: _Found, environ: Environ) -> int:
    """200 to go on, 304 or 412; in the order of RFC 9110 section 13.2.2."""
    modified = int(found.modified)
    unmodified_since = _seconds(environ.get("HTTP_IF_UNMODIFIED_SINCE"))
    if (tags := environ.get("HTTP_IF_MATCH")) is not None:
        if not _is_among(tags, found, strongly=True):
            return 412
    elif unmodified_since is not None and modified > unmodified_since:
        return 412
    if (tags := environ.get("HTTP_IF_NONE_MATCH")) is not None:
        return 304 if _is_among(tags, found, strongly=False) else 200
    date = _seconds(environ.get("HTTP_IF_MODIFIED_SINCE"))
    return 304 if date is not None and modified <= date else 200


def _is_among(tags: str, found: _Found, *, strongly: bool) -> bool:
    """Whether a list of entity tags, or "*", has that of the file (RFC 9110 section 8.8.3.2)."""
    if tags.strip() == "*":
        return True
    return any(
        tag == found.tag and not (strongly and (weak or not found.is_strong))
        for weak, tag in _ENTITY_TAG.findall(tags)
    )


def _seconds(date: str | None) -> int | None:
    """An HTTP date as seconds since the epoch; None for none, and for what is not a date."""
    try:
        fields = parsedate_tz(date) if date else None
        return None if fields is None else int(mktime_tz(fields))
    except (ValueError, OverflowError, IndexError):
        return None


def _requested_range(found: _Found, environ: Environ) -> range | None:
    """The bytes that Range asks for (RFC 9110 section 14.2): empty when the file has none of them.

    None for the whole file: also for several ranges, which no browser asks for and a server may
    answer so, for what is not a range, and for an empty file, of which no part can be named.
    """
    match = _BYTES.fullmatch(environ.get("HTTP_RANGE", ""))
    if match is None or not found.size or environ["REQUEST_METHOD"] != "GET":
        return None
    if not _is_same(found, environ.get("HTTP_IF_RANGE")):
        return None
    first, last = match.groups()
    if not first:
        return range(max(found.size - int(last), 0), found.size) if last else None
    if last and int(last) < int(first):
        return None
    stop = min(int(last) + 1, found.size) if last else found.size
    return range(min(int(first), stop), stop)


def _is_same(found: _Found, validator: str | None) -> bool:
    """Whether a client that has a part may have the rest (RFC 9110 section 13.1.5)."""
    if validator is None:
        return True
    if '"' in validator:
        return _is_among(validator, found, strongly=True)
    # A date says so only when nothing can have been written in the same second since.
    return found.is_strong and _seconds(validator) == int(found.modified)


def _body(found: _Found, environ: Environ, span: range) -> Iterable[bytes]:
    """What the server sends and closes; through its own way for files, if it has one."""
    found.stream.seek(span.start)
    wrapper = environ.get("wsgi.file_wrapper")
    # Up to the end of the file, the file itself will do, and the server need not read it.
    is_open_end = wrapper is not None and span.stop == found.size
    stream: Any = found.stream if is_open_end else _Part(found.stream, span.stop - span.start)
    body: Iterable[bytes] = stream if wrapper is None else wrapper(stream, _BLOCK)
    return body


class _Part:
    """So many bytes from a file's position on: a file for reading, and an iterator over it."""

    def __init__(self, stream: io.FileIO | io.BytesIO, size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most `size` of them; none at the end."""
        size = self._left if size < 0 else min(size, self._left)
        data = self._stream.read(size)
        self._left -= len(data)
        return data

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data = self.read(_BLOCK)
        if data:
            return data
        raise StopIteration

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
