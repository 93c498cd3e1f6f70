"""Listening sockets: what is bound, what is never touched, what the errors say."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from aserve.errors import ListenError
from aserve.net import listeners
from aserve.net.holder import describe_holder
from aserve.net.listeners import UnixFile, inherited_listener, open_listeners, systemd_listeners


@pytest.fixture
def closer() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _open(closer: ExitStack, *args: object, **kwargs: object) -> list[socket.socket]:
    opened = open_listeners(*args, **kwargs)  # type: ignore[arg-type]
    for sock in opened:
        closer.enter_context(closing(sock))
    return opened


def _can_connect(family: int, address: object) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        try:
            client.connect(address)  # type: ignore[arg-type]
        except ConnectionRefusedError:
            return False
        return True


def test_localhost_is_both_families_on_one_free_port(closer: ExitStack) -> None:
    """B4, B13: also when the port is picked by the system."""
    first, second = _open(closer, "localhost", 0)
    host, port = first.getsockname()
    assert (host, second.getsockname()[:2]) == ("127.0.0.1", ("::1", port))
    assert _can_connect(socket.AF_INET, ("127.0.0.1", port))
    assert _can_connect(socket.AF_INET6, ("::1", port))


def test_localhost_tries_again_when_the_twin_is_taken(
    closer: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = listeners._listen_tcp
    blocker: list[socket.socket] = []

    def take_the_first_twin(family: int, host: str, port: int, backlog: int) -> socket.socket:
        if family == socket.AF_INET6 and not blocker:
            blocker.append(closer.enter_context(closing(real(family, host, port, backlog))))
        return real(family, host, port, backlog)

    monkeypatch.setattr(listeners, "_listen_tcp", take_the_first_twin)
    first, second = _open(closer, "localhost", 0)
    assert first.getsockname()[1] == second.getsockname()[1]
    assert first.getsockname()[1] != blocker[0].getsockname()[1]


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6_still_works(
    closer: ExitStack, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = listeners._listen_tcp

    def no_ipv6(family: int, host: str, port: int, backlog: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise ListenError(number, "no IPv6 here")
        return real(family, host, port, backlog)

    monkeypatch.setattr(listeners, "_listen_tcp", no_ipv6)
    (only,) = _open(closer, "localhost", 0)
    assert only.family == socket.AF_INET


def test_a_taken_twin_of_a_chosen_port_is_an_error_and_leaves_nothing_open() -> None:
    """B21: the IPv4 socket that was open already is closed again."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"port {port} on ::1 is already in use"):
            open_listeners("localhost", port)
    with socket.create_server(("127.0.0.1", port)):
        pass  # free again


@pytest.mark.parametrize("host", ["::", "[::]"])
def test_the_ipv6_wildcard_is_dual_stack(closer: ExitStack, host: str) -> None:
    (sock,) = _open(closer, host, 0)
    port = sock.getsockname()[1]
    assert _can_connect(socket.AF_INET, ("127.0.0.1", port))
    assert _can_connect(socket.AF_INET6, ("::1", port))


def test_an_ipv6_address_is_ipv6_only(closer: ExitStack) -> None:
    (sock,) = _open(closer, "::1", 0)
    assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_a_host_name_is_resolved(closer: ExitStack) -> None:
    (sock,) = _open(closer, "ip6-localhost" if _knows("ip6-localhost") else "127.0.0.1", 0)
    assert sock.getsockname()[1] > 0


def _knows(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def test_an_unknown_host_is_one_line() -> None:
    with pytest.raises(ListenError) as caught:
        open_listeners("no-such-host.invalid", 0)
    assert str(caught.value).startswith("the host 'no-such-host.invalid' is not known. Use ")


def test_a_host_that_is_no_name_at_all_is_the_same_error() -> None:
    with pytest.raises(ListenError, match="is not known"):
        open_listeners("a" * 70 + ".example", 0)


def test_a_foreign_address_is_one_line() -> None:
    with pytest.raises(ListenError) as caught:
        open_listeners("192.0.2.1", 0)  # RFC 5737: nobody's
    assert "does not have the address 192.0.2.1" in str(caught.value)


def test_a_taken_port_names_its_holder_and_the_ways_out() -> None:
    """B6, B7: port, process and what to do, in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            open_listeners("127.0.0.1", port)
    error = caught.value
    assert error.errno == errno.EADDRINUSE
    assert f"port {port} on 127.0.0.1 is already in use" in error.message
    if sys.platform == "linux":
        assert f"(pid {os.getpid()})" in error.message
    assert "--port 0" in error.advice
    assert "\n" not in str(error)


def test_the_airplay_receiver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """B7: on macOS port 5000 is taken by the system."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(listeners, "describe_holder", lambda port: "")
    error = listeners._listen_error(OSError(errno.EADDRINUSE, "in use"), "127.0.0.1", 5000)
    assert "AirPlay" in error.advice


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EACCES, "not allowed to listen on port 80"),
        (errno.ENOBUFS, "cannot listen on port 80"),
    ],
)
def test_other_errors_say_what_failed(number: int, expected: str) -> None:
    assert expected in str(listeners._listen_error(OSError(number, "x"), "127.0.0.1", 80))


@pytest.mark.parametrize("spelling", ["uds", "host"])
def test_a_unix_socket(closer: ExitStack, tmp_path: Path, spelling: str) -> None:
    """B8: by its own option, or as a host."""
    path = tmp_path / "web.sock"
    if spelling == "uds":
        (sock,) = _open(closer, "localhost", 0, uds=str(path))
    else:
        (sock,) = _open(closer, f"unix://{path}", 0)
    assert _can_connect(socket.AF_UNIX, str(path))
    assert sock.getsockname() == str(path)


def test_a_relative_path_of_a_unix_socket(
    closer: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B8: also one that starts with a dot."""
    monkeypatch.chdir(tmp_path)
    (sock,) = _open(closer, "unix://./.web.sock", 0)
    assert sock.getsockname() == str(tmp_path / ".web.sock")


def test_a_stale_socket_file_is_replaced(closer: ExitStack, tmp_path: Path) -> None:
    """B9."""
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    _open(closer, "localhost", 0, uds=str(path))
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert _can_connect(socket.AF_UNIX, str(path))


def test_a_live_socket_is_left_alone(closer: ExitStack, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    _open(closer, "localhost", 0, uds=str(path))
    with pytest.raises(ListenError, match="in use by a running program"):
        open_listeners("localhost", 0, uds=str(path))
    assert _can_connect(socket.AF_UNIX, str(path))


def test_a_live_socket_with_a_full_backlog_is_left_alone(closer: ExitStack, tmp_path: Path) -> None:
    path = str(tmp_path / "web.sock")
    _open(closer, "localhost", 0, uds=path, backlog=1)
    for _ in range(8):
        client = closer.enter_context(socket.socket(socket.AF_UNIX))
        client.setblocking(False)
        if client.connect_ex(path) == errno.EAGAIN:
            break
    else:
        pytest.fail("the backlog never filled up")
    with pytest.raises(ListenError, match="in use by a running program"):
        open_listeners("localhost", 0, uds=path)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    with pytest.raises(ListenError, match=re.escape(f"{path} exists and is not a socket")):
        open_listeners("localhost", 0, uds=str(path))
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["missing/web.sock", "x" * 200])
def test_a_path_that_cannot_be_used_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(ListenError, match="cannot listen on the Unix socket") as caught:
        open_listeners("localhost", 0, uds=str(tmp_path / name))
    assert "short path" in caught.value.advice


def test_only_an_own_socket_file_is_removed(closer: ExitStack, tmp_path: Path) -> None:
    """B9: never one that another server has put in its place."""
    path = tmp_path / "web.sock"
    (sock,) = _open(closer, "localhost", 0, uds=str(path))
    mine = UnixFile.of(sock)
    assert mine is not None
    path.rename(tmp_path / "kept-so-that-the-inode-is-not-reused")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        mine.remove()
        assert path.exists()
    theirs = UnixFile(str(path), (path.stat().st_dev, path.stat().st_ino))
    theirs.remove()
    theirs.remove()  # gone already: no error
    assert not path.exists()


def test_tcp_and_nameless_sockets_have_no_file(closer: ExitStack) -> None:
    assert UnixFile.of(_open(closer, "127.0.0.1", 0)[0]) is None
    assert UnixFile.of(closer.enter_context(socket.socket(socket.AF_UNIX))) is None


def test_an_inherited_descriptor(closer: ExitStack) -> None:
    """B1: a socket that somebody else has bound."""
    original = socket.create_server(("127.0.0.1", 0))
    port = original.getsockname()[1]
    (sock,) = _open(closer, "ignored", 1, fd=original.detach())
    assert sock.getsockname()[1] == port
    assert not sock.getblocking()


def test_a_descriptor_that_is_closed() -> None:
    with pytest.raises(ListenError, match="descriptor 987 is not an open socket"):
        inherited_listener(987)


def test_a_descriptor_that_is_a_file(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        with pytest.raises(ListenError, match="is not an open socket"):
            inherited_listener(file.fileno())
        file.write(b"still ours")


def test_a_socket_that_does_not_listen_stays_open() -> None:
    with socket.socket() as sock:
        with pytest.raises(ListenError, match="does not listen"):
            inherited_listener(sock.fileno())
        sock.bind(("127.0.0.1", 0))


def test_systemd_passes_descriptors(closer: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """sd_listen_fds(3): LISTEN_PID names us, LISTEN_FDS counts from the first descriptor on."""
    original = socket.create_server(("127.0.0.1", 0))
    port, fd = original.getsockname()[1], original.detach()
    monkeypatch.setattr(listeners, "_SYSTEMD_FIRST", fd)
    (sock,) = systemd_listeners({"LISTEN_PID": "7", "LISTEN_FDS": "1"}, 7)
    closer.enter_context(closing(sock))
    assert sock.getsockname()[1] == port
    assert not sock.get_inheritable()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": "8", "LISTEN_FDS": "1"},
        {"LISTEN_PID": "7"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "many"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "0"},
    ],
)
def test_systemd_variables_for_others_do_not_count(environ: dict[str, str]) -> None:
    assert systemd_listeners(environ, 7) == []


def test_nobody_holds_a_free_port(tmp_path: Path) -> None:
    assert describe_holder(1, tmp_path) == ""


def test_a_holder_of_another_user_has_no_name(tmp_path: Path) -> None:
    """/proc shows that the port is taken, but not by whom."""
    (tmp_path / "net").mkdir()
    line = "0: 0100007F:1F40 00000000:0000 0A 0:0 00:0 0 0 0 4242 1"
    (tmp_path / "net" / "tcp").write_text(f"header\n{line}\n")
    (tmp_path / "17").mkdir()
    assert describe_holder(8000, tmp_path) == ""


def test_a_holder_is_named_by_its_program_and_its_first_arguments(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    line = "0: 0100007F:1F40 00000000:0000 0A 0:0 00:0 0 0 0 4242 1"
    (tmp_path / "net" / "tcp6").write_text(f"header\n{line}\n")
    descriptors = tmp_path / "17" / "fd"
    descriptors.mkdir(parents=True)
    (descriptors / "0").write_text("a file, not a link")
    (descriptors / "3").symlink_to("socket:[4242]")
    assert describe_holder(8000, tmp_path) == "a process (pid 17)"
    (tmp_path / "17" / "cmdline").write_bytes(b"/usr/bin/python3\0-m\0flask\0run\0")
    assert describe_holder(8000, tmp_path) == "python3 -m flask (pid 17)"
    (tmp_path / "17" / "cmdline").write_bytes(b"")
    (tmp_path / "17" / "comm").write_text("nginx\n")
    assert describe_holder(8000, tmp_path) == "nginx (pid 17)"
