"""Addresses as people write and read them."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

__all__ = [
    "UNIX_PREFIX",
    "Peer",
    "is_all_interfaces",
    "is_literal",
    "network_address",
    "peer_of",
    "port_of",
    "strip_brackets",
    "url_of",
    "urls_of",
]

UNIX_PREFIX: Final = "unix://"


def is_literal(host: str) -> bool:
    """Whether `host` needs no resolver: an IP address (with or without scope), or localhost."""
    return host.lower() == "localhost" or _parse_ip(host) is not None


def is_all_interfaces(host: str) -> bool:
    """Whether binding to `host` makes the server reachable from other machines by any address."""
    address = _parse_ip(host)
    return address is not None and address.is_unspecified


def _parse_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(strip_brackets(host))
    except ValueError:
        return None


def strip_brackets(host: str) -> str:
    """`[::1]` -> `::1`: people copy the host out of a URL."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def url_of(sock: socket.socket, scheme: str = "http") -> str:
    """The URL at which a listening socket answers; `unix://PATH` for a Unix socket.

    A socket on all interfaces is reached by loopback, so that is what its URL says.
    """
    name = sock.getsockname()
    if sock.family == getattr(socket, "AF_UNIX", None):
        return UNIX_PREFIX + os.fsdecode(name)  # `open_listeners` binds absolute paths
    host, port = name[0], name[1]
    if host == "0.0.0.0":
        host = "127.0.0.1"
    elif host == "::":
        host = "::1" if sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) else "127.0.0.1"
    return f"{scheme}://{_bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    # RFC 6874: the percent sign in front of a scope is itself percent-encoded in a URL.
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def port_of(sockets: Iterable[socket.socket]) -> int:
    """The TCP port of the first socket that has one; 0 when there are only Unix sockets."""
    for sock in sockets:
        name = sock.getsockname()
        if isinstance(name, tuple):
            return int(name[1])
    return 0


def urls_of(sockets: Iterable[socket.socket], scheme: str = "http") -> list[str]:
    """The URL of each socket, in order."""
    return [url_of(sock, scheme) for sock in sockets]


class Peer(NamedTuple):
    """What a connection contributes to the environ, all texts (PEP 3333)."""

    server_name: str
    server_port: str
    remote_addr: str
    remote_port: str

    def as_environ(self) -> Mapping[str, str]:
        """The four CGI variables."""
        return {
            "SERVER_NAME": self.server_name,
            "SERVER_PORT": self.server_port,
            "REMOTE_ADDR": self.remote_addr,
            "REMOTE_PORT": self.remote_port,
        }


def peer_of(sockname: Any, peername: Any) -> Peer:
    """Both ends of a connection, from what the socket says; never asks a resolver (B17)."""
    if isinstance(sockname, tuple):
        remote = peername if isinstance(peername, tuple) else ("", 0)
        return Peer(sockname[0], str(sockname[1]), remote[0], str(remote[1]))
    # Unix sockets have no addresses; neither SERVER_ variable may be empty (PEP 3333).
    return Peer("localhost", "80", "<local>", "0")


def network_address(*, has_ipv6: bool) -> str:
    """This machine's address on its network, or an empty text.

    Connecting a UDP socket sends nothing; it makes the kernel choose the interface. The
    addresses are those reserved for documentation (RFC 5737, RFC 3849). `::` is dual stack,
    so its IPv4 address comes first there, too.
    """
    targets = [(socket.AF_INET, "192.0.2.1")]
    if has_ipv6:
        targets.append((socket.AF_INET6, "2001:db8::1"))
    for family, target in targets:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.setblocking(False)
                probe.connect((target, 9))
                address = str(probe.getsockname()[0])
        except OSError:
            continue
        return f"[{address}]" if ":" in address else address
    return ""
