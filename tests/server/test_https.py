"""HTTPS as a whole: clients that verify, both protocols on one port, certificates of clients."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

import aserve

from ..certificates import make_certificate
from ..conformance.wsgi_server import DEADLINE, LiveServer, request


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without an authority."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    names = ("wsgi.url_scheme", "HTTPS", "SSL_CLIENT_CERT")
    return [" ".join(str(environ.get(name, "-")) for name in names).encode()]


@pytest.mark.parametrize("options", [{"https": True}, {"ssl": "adhoc"}], ids=str)
def test_a_client_verifies_the_server_in_one_line(options: dict[str, Any]) -> None:
    """Over both families and by name; and it trusts nobody else."""
    with (
        LiveServer(app, host="localhost", **options) as live,
        httpx.Client(verify=live.server.ssl_context_for_clients()) as client,
    ):
        for host in ("localhost", "127.0.0.1", "[::1]"):
            assert client.get(f"https://{host}:{live.port}/").text == "https on -"
        with LiveServer(app, tls=True) as other, pytest.raises(httpx.ConnectError, match="CERT"):
            client.get(f"https://127.0.0.1:{other.port}/")
        with pytest.raises(httpx.ConnectError, match="CERT"):
            httpx.get(f"https://localhost:{live.port}/")


def test_a_certificate_of_ones_own_can_be_verified_too(home: Path) -> None:
    both = str(make_certificate(home))
    with LiveServer(app, cert=both) as live:
        context = live.server.ssl_context_for_clients()
        assert httpx.get(f"https://127.0.0.1:{live.port}/", verify=context).status_code == 200
        assert "PRIVATE" not in str(live.server.ca_pem)


def test_without_tls_the_context_is_the_usual_one() -> None:
    with LiveServer(app) as live:
        assert live.server.ca_pem is None
        context = live.server.ssl_context_for_clients()
        assert context.verify_mode is ssl.CERT_REQUIRED


def test_http_too() -> None:
    """One port, two protocols, one app; it knows which is spoken."""
    with LiveServer(app, https=True, http_too=True) as live:
        context = live.server.ssl_context_for_clients()
        with httpx.Client(verify=context) as client:
            for _ in range(2):
                assert client.get(f"https://127.0.0.1:{live.port}/").text == "https on -"
                assert client.get(f"http://127.0.0.1:{live.port}/").text == "http - -"
                answer = client.post(f"http://127.0.0.1:{live.port}/", content=b"x" * 100_000)
                assert answer.status_code == 200


def test_only_clients_with_a_certificate(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`client_ca`; the refusal is the client's to see, and a line at debug for us."""
    caplog.set_level("DEBUG", "aserve.error")
    both = make_certificate(home)
    with LiveServer(app, https=True, client_ca=str(both)) as live:
        url = f"https://127.0.0.1:{live.port}/"
        context = live.server.ssl_context_for_clients()
        with pytest.raises(httpx.HTTPError):
            httpx.get(url, verify=context)
        plain = httpx.get(f"http://127.0.0.1:{live.port}/")
        assert plain.status_code == 307
        context.load_cert_chain(both)
        answer = httpx.get(url, verify=context)
        assert answer.text.startswith("https on -----BEGIN CERTIFICATE-----")
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in caplog.text


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("asks", [False, True], ids=["anybody", "client_ca"])
def test_sessions_are_resumed(home: Path, version: ssl.TLSVersion, asks: bool) -> None:
    both = make_certificate(home)
    options = {"client_ca": str(both)} if asks else {}
    with LiveServer(app, https=True, **options) as live:
        context = live.server.ssl_context_for_clients()
        context.load_cert_chain(both)
        context.minimum_version = context.maximum_version = version
        session = None
        for turn in range(3):
            raw = http.client.HTTPConnection("127.0.0.1", live.port, timeout=DEADLINE)
            raw.connect()
            with context.wrap_socket(raw.sock, server_hostname="127.0.0.1", session=session) as tls:
                tls.sendall(request("/", "GET", "Connection: close"))
                while tls.recv(65_536):
                    pass
                assert tls.session_reused is (turn > 0)
                assert tls.version() == version.name.replace("_", ".")
                session = tls.session


def test_old_versions_and_other_protocols() -> None:
    with LiveServer(app, https=True) as live:
        context = live.server.ssl_context_for_clients()
        context.set_alpn_protocols(["h2", "http/1.1"])
        sock = http.client.HTTPConnection("127.0.0.1", live.port, timeout=DEADLINE)
        sock.connect()
        with context.wrap_socket(sock.sock, server_hostname="127.0.0.1") as tls:
            assert tls.selected_alpn_protocol() == "http/1.1"


async def test_open_server_keeps_its_sockets_in_order_when_tls_fails() -> None:
    """Nothing is left open: a leak would be a ResourceWarning, which is an error here."""
    with pytest.raises(aserve.ConfigError, match="cannot be read"):
        async with aserve.open_server(app, cert="missing.pem"):
            pass
    with pytest.raises(aserve.ConfigError, match="is a public name"):
        async with aserve.open_server(app, https=True, names=("bank.example",)):
            pass
    hooks = aserve.Hooks(ssl_context="adhoc")
    async with aserve.open_server(app, hooks=hooks) as server:
        assert server.url.startswith("https://")
