"""`aserve.hosts`: which hosts requests may be for."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

import aserve
from aserve.hosts import Hosts, refusal
from aserve.types import Environ, StartResponse


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("", True),
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("localhost.", True),
        ("shop.localhost:80", True),
        ("127.0.0.1:8000", True),
        ("192.168.1.7", True),
        ("[::1]:8000", True),
        ("[fe80::1%25eth0]", True),
        ("shop.test", True),
        ("api.shop.test", False),
        ("a.example.org", True),
        ("example.org", False),
        ("example.net", True),
        ("a.example.net:8000", True),
        ("notexample.net", False),
        ("evil.test", False),
        ("localhost.evil.test", False),
        ("notlocalhost", False),
        ("127.0.0.1.evil.test", False),
        ("[evil.test]", False),
        ("[::1].evil.test", False),
        ("1", False),
    ],
)
def test_hosts(host: str, is_allowed: bool) -> None:
    hosts = Hosts(["shop.test", "*.example.org", ".example.net"])
    assert [hosts.allow(host), hosts.allow(host)] == [is_allowed, is_allowed]


def test_all_of_them() -> None:
    assert Hosts(["*"]).allow("anything.test")


def test_what_is_refused_cannot_write_on_a_terminal() -> None:
    assert b"\x1b" not in refusal("\x1b[2Jevil.test")
    assert len(refusal("x" * 10_000)) < 400


def status_of(port: int, host: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/", headers={"Host": host})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def test_a_server_that_is_told(tmp_path: Path) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["HTTP_HOST"].encode()]

    with aserve.ServerThread(app, allowed_hosts=("shop.test",)) as server:
        assert status_of(server.port, "Shop.TEST:1") == (200, "Shop.TEST:1")  # as it was sent
        status, text = status_of(server.port, "evil.test")
        assert (status, "--allowed-host evil.test" in text) == (403, True)
    with aserve.ServerThread(app) as server:
        assert status_of(server.port, "evil.test") == (200, "evil.test")


def test_long_names_are_not_remembered() -> None:
    hosts = Hosts(["shop.test"])
    for number in range(5000):
        assert not hosts.allow(f"{'x' * 50_000}{number}")
    assert sum(map(len, hosts._known)) == 0
    assert hosts.allow("shop.test:80")
    assert hosts._known
