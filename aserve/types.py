"""Type aliases of WSGI (PEP 3333), without importing anything at run time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Protocol, TypeAlias

__all__ = [
    "Environ",
    "ExcInfo",
    "InputStream",
    "RawHeaders",
    "StartResponse",
    "WSGIApp",
    "WSGIHeaders",
    "Write",
]

Environ: TypeAlias = dict[str, Any]
ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]
WSGIHeaders: TypeAlias = list[tuple[str, str]]
Write: TypeAlias = Callable[[bytes], object]

# Header fields on the wire: (lower-cased name, value), in the order of arrival.
RawHeaders: TypeAlias = tuple[tuple[bytes, bytes], ...]


class StartResponse(Protocol):
    """The callable that a WSGI server hands to the application."""

    def __call__(
        self, status: str, headers: WSGIHeaders, exc_info: ExcInfo | None = None, /
    ) -> Write: ...


# The first parameter is `Any` because frameworks type it as their own alias of `dict`.
WSGIApp: TypeAlias = Callable[[Any, Any], Iterable[bytes]]


class InputStream(Protocol):
    """What PEP 3333 asks of `wsgi.input`."""

    def read(self, size: int = -1, /) -> bytes: ...
    def readline(self, size: int = -1, /) -> bytes: ...
    def readlines(self, hint: int = -1, /) -> list[bytes]: ...
    def __iter__(self) -> Any: ...
