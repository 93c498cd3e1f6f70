"""The banner: what is served, where it can be reached, and what is on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from .._version import __version__
from ..config import ServerConfig
from ..net.address import network_address
from ..sealed import Sealed

if TYPE_CHECKING:
    import socket

__all__ = ["About", "Places", "ReadyServer", "paint", "plain_banner", "wide_banner"]

_RESET: Final = "\x1b[0m"
_BOLD: Final = "\x1b[1m"
_DIM: Final = "\x1b[2m"


class About(NamedTuple):
    """What the banner tells beside the addresses.

    Args:
        app_name: How the app was named or found, e.g. `app:app`.
        app_location: Where it stands, e.g. `app.py:12`; may be empty.
        app_kind: What it is, e.g. `Flask`; may be empty.
        notes: Further lines, e.g. that another port was taken.
        features: What is on beside log and threads, e.g. `reload`.
        started_at: The `time.perf_counter()` from which "ready in" counts; None for the
            moment at which the console was made.
        has_keys: Whether single keys do something.
        pin: Of the debugger's console; only a terminal shows it.
    """

    app_name: str = ""
    app_location: str = ""
    app_kind: str = ""
    notes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    started_at: float | None = None
    has_keys: bool = False
    pin: Sealed | None = None


class ReadyServer(Protocol):
    """What the banner needs of a server."""

    @property
    def urls(self) -> Sequence[str]: ...
    @property
    def sockets(self) -> Sequence[socket.socket]: ...


_LOOPBACK: Final = {"127.0.0.1", "[::1]"}
_LOOPBACK_HOST: Final = r"//(?:127\.0\.0\.1|\[::1\])(?=[:/]|$)"


class Places(NamedTuple):
    """Where the server can be reached.

    Args:
        local: URLs for this machine, `localhost` for the loopback addresses.
        network: URLs for others; empty unless bound to all interfaces.
        is_public: Whether it is bound to all interfaces.
    """

    local: tuple[str, ...]
    network: tuple[str, ...]
    is_public: bool

    @classmethod
    def of(cls, server: ReadyServer) -> Places:
        urls = tuple(server.urls)
        if {_host(url) for url in urls} >= _LOOPBACK:
            # Both families answer, so the name is safe; with one it may lead to the other.
            named = (re.sub(_LOOPBACK_HOST, "//localhost", url) for url in urls)
            return cls(tuple(dict.fromkeys(named)), (), False)
        names = [sock.getsockname() for sock in server.sockets]
        bound = {name[0] for name in names if isinstance(name, tuple)}
        if not bound & {"0.0.0.0", "::"}:
            return cls(urls, (), False)
        address = network_address(has_ipv6="::" in bound)
        network = [re.sub(_LOOPBACK_HOST, f"//{address}", url) for url in urls] if address else []
        return cls(urls, tuple(dict.fromkeys(network)), True)


def _host(url: str) -> str:
    return re.sub(r"^\w+://(\[.*?\]|[^:/]*).*", r"\1", url)


def _app_text(about: About) -> str:
    details = ", ".join(text for text in (about.app_kind, about.app_location) if text)
    name = about.app_name or "app"
    return f"{name} ({details})" if details else name


_PUBLIC: Final = "This is a development server, and it can be reached from the network."


def plain_banner(about: About, places: Places, elapsed: float) -> str:
    urls = ", ".join((*places.local, *places.network))
    lines = [*about.notes]
    lines.append(
        f"aserve {__version__}: {_app_text(about)} on {urls}, "
        f"ready in {elapsed:.0f} ms. Press Ctrl-C to stop."
    )
    if places.is_public:
        lines.append(_PUBLIC)
    return "".join(f"{line}\n" for line in lines)


def wide_banner(config: ServerConfig, about: About, places: Places, elapsed: float) -> str:
    features = [*about.features, *(["debugger"] if config.debug else [])]
    if config.processes > 1:
        features.append(f"{config.processes} processes")
    features.append(f"{config.threads} thread{'s' if config.threads > 1 else ''}")
    features.append("access log" if config.access_log else "no access log")
    rows = [("App", _app_text(about))]
    rows += [("Local", url) for url in places.local]
    rows += [("Network", url) for url in places.network]
    rows.append(("On", ", ".join(features)))
    if about.pin:
        rows.append(("PIN", about.pin.reveal()))
    lines = ["", f"  aserve {__version__}  ready in {elapsed:.0f} ms", ""]
    lines += [f"  {label:<9}{value}" for label, value in rows]
    lines.append("")
    lines += [f"  {note}" for note in about.notes]
    if places.is_public:
        lines.append(f"  {_PUBLIC}")
    keys = ", h for the other keys" if about.has_keys else ""
    lines += [f"  Press Ctrl-C to stop{keys}.", ""]
    return "".join(f"{line}\n" for line in lines)


def paint(text: str) -> str:
    text = re.sub(r"^  (aserve \S+)", rf"  {_BOLD}\1{_RESET}", text, flags=re.MULTILINE)
    text = re.sub(
        r"^  (App|Local|Network|On|PIN)( +)", rf"  {_DIM}\1{_RESET}\2", text, flags=re.MULTILINE
    )
    return re.sub(r"(\w+://\S+)", "\x1b[36m\\1" + _RESET, text)
