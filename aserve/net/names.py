"""The names of a server, for its certificate."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import Final

from .address import UNIX_PREFIX, is_all_interfaces, network_address, strip_brackets

__all__ = [
    "LOOPBACK_NAMES",
    "PERMITTED_NAMES",
    "PERMITTED_NETWORKS",
    "is_permitted",
    "names_of",
    "parse_ip",
]

LOOPBACK_NAMES: Final = ("localhost", "*.localhost", "127.0.0.1", "::1")

# Names that never lead to somebody else's machine: RFC 6761 (localhost, test), RFC 6762 (local),
# RFC 8375 (home.arpa), and ICANN's reservation of 2024 (internal). Those below them, too.
PERMITTED_NAMES: Final = ("localhost", "test", "local", "home.arpa", "internal")

# Loopback and private use: RFC 1122, RFC 1918, RFC 3927, RFC 4291, RFC 4193.
PERMITTED_NETWORKS: Final = (
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
    "::1/128", "fc00::/7", "fe80::/10",
)  # fmt: skip


def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address without its scope, or None for a name."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def is_permitted(name: str) -> bool:
    """Whether the development authority may sign for it."""
    address = parse_ip(name)
    if address is None:
        return any(name == domain or name.endswith(f".{domain}") for domain in PERMITTED_NAMES)
    return any(address in ipaddress.ip_network(network) for network in PERMITTED_NETWORKS)


def names_of(sockets: Iterable[socket.socket], host: str, further: Sequence[str]) -> list[str]:
    """What a server is called, each name one time: loopback first, then what was asked for.

    Args:
        sockets: Its listening sockets. One on all interfaces adds this machine's address on
            its network, which phones and other machines use.
        host: What it was asked to listen on.
        further: More names.
    """
    bound = {name[0] for sock in sockets if isinstance(name := sock.getsockname(), tuple)}
    found = sorted(bound)
    if bound & {"0.0.0.0", "::"}:
        found.append(strip_brackets(network_address(has_ipv6="::" in bound)))
    # Nobody asked for these by name, so one that may not be certified is left away.
    found = [name for name in found if is_permitted(name)]
    asked = [] if host.startswith(UNIX_PREFIX) else [strip_brackets(host)]
    names = [*LOOPBACK_NAMES, *further, *asked, *found]
    return list(dict.fromkeys(_normal(name) for name in names if not is_all_interfaces(name)))


def _normal(name: str) -> str:
    address = parse_ip(name)
    return name.lower() if address is None else str(address)
