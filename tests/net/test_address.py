"""Addresses as people write and read them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from aserve.net.address import Peer, is_all_interfaces, is_literal, peer_of, url_of, urls_of


@pytest.mark.parametrize(
    ("host", "literal", "everywhere"),
    [
        ("localhost", True, False),
        ("LocalHost", True, False),
        ("127.0.0.1", True, False),
        ("::1", True, False),
        ("[::1]", True, False),
        ("fe80::1%lo", True, False),
        ("0.0.0.0", True, True),
        ("::", True, True),
        ("[::]", True, True),
        ("example.test", False, False),
        ("1.2.3", False, False),
    ],
)
def test_kinds_of_hosts(host: str, literal: bool, everywhere: bool) -> None:
    """Only a name needs a resolver; only the unspecified addresses mean all interfaces."""
    assert is_literal(host) is literal
    assert is_all_interfaces(host) is everywhere


def _listening(family: int, host: str, *, v6only: bool = True) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    sock.bind((host, 0))
    sock.listen()
    return sock


@pytest.mark.parametrize(
    ("family", "host", "v6only", "expected"),
    [
        (socket.AF_INET, "127.0.0.1", True, "http://127.0.0.1:{port}"),
        (socket.AF_INET6, "::1", True, "http://[::1]:{port}"),
        (socket.AF_INET, "0.0.0.0", True, "http://127.0.0.1:{port}"),
        (socket.AF_INET6, "::", True, "http://[::1]:{port}"),
        (socket.AF_INET6, "::", False, "http://127.0.0.1:{port}"),
    ],
)
def test_url_of_a_listening_socket(family: int, host: str, v6only: bool, expected: str) -> None:
    """B11, B14: IPv6 in brackets, and a URL that works for a socket on all interfaces."""
    with _listening(family, host, v6only=v6only) as sock:
        assert url_of(sock) == expected.format(port=sock.getsockname()[1])


def test_url_of_a_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "web.sock"))
        assert urls_of([sock]) == [f"unix://{tmp_path}/web.sock"]


def test_both_ends_of_a_tcp_connection_are_texts() -> None:
    """B17, B30, B31: texts from the socket: not from Host, and no resolver is asked for a name."""
    peer = peer_of(("::1", 8000, 0, 0), ("::1", 50000, 0, 0))
    assert peer.as_environ() == {
        "SERVER_NAME": "::1",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "::1",
        "REMOTE_PORT": "50000",
    }


def test_a_peer_that_is_gone_already_has_no_address() -> None:
    assert peer_of(("127.0.0.1", 80), None) == Peer("127.0.0.1", "80", "", "0")


def test_unix_peers_have_no_address() -> None:
    """B10: and neither SERVER_ variable is empty, as PEP 3333 asks."""
    assert peer_of("/run/web.sock", "") == Peer("localhost", "80", "<local>", "0")
