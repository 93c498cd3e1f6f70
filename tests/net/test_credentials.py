"""`aserve.net.credentials`: what the options and `ssl_context` ask for, and what they must not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from aserve.config import ServerConfig
from aserve.errors import ConfigError
from aserve.net import names as names_module
from aserve.net.credentials import Credentials, make_credentials
from aserve.net.names import names_of

from ..certificates import make_certificate, server_context


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without an authority."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def make(sock: socket.socket, given: Any = None, **options: Any) -> Credentials | None:
    return make_credentials(ServerConfig(**options), [sock], given)


def certificate_of(made: Credentials) -> x509.Certificate:
    """What a client is shown."""
    server_in, server_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = made.context.wrap_bio(server_in, server_out, server_side=True)
    context = ssl.create_default_context(cadata=made.ca_pem)
    client = context.wrap_bio(server_out, server_in, server_hostname="localhost")
    for _ in range(2):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown)


def test_the_forms_of_ssl_context(sock: socket.socket, home: Path) -> None:
    """B71, as in Werkzeug's `run_simple`."""
    both = make_certificate(home)
    own = server_context()
    for given in (str(both), both, (str(both), both)):
        made = make(sock, given)
        assert made is not None
        assert both.read_text().startswith(made.ca_pem or "?")
    for given in (own, "adhoc"):
        made = make(sock, given)
        assert made is not None
        assert (made.context is own) is (given is own)
    assert make(sock, cert=str(both)) is not None
    assert make(sock) is None


def test_contexts_that_cannot_serve_are_told(sock: socket.socket, home: Path) -> None:
    for protocol, reason in (
        (ssl.PROTOCOL_TLS_CLIENT, "is one for clients; make one by"),
        (ssl.PROTOCOL_TLS_SERVER, "has no certificate; make one by"),
    ):
        with pytest.raises(ConfigError, match=reason) as caught:
            make(sock, ssl.SSLContext(protocol))
        assert caught.value.option == "ssl_context"
    # Whose certificate is chosen, or asked for, or not needed, by the context itself.
    chooses = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chooses.sni_callback = lambda *_: None
    shares = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shares.set_ciphers("PSK")
    asks = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    asks.load_cert_chain(make_certificate(home))
    asks.verify_mode = ssl.CERT_REQUIRED
    for context in (chooses, shares, asks):
        made = make(sock, context)
        assert made is not None
        assert made.context is context


@pytest.mark.parametrize("given", [("a", "b", "c"), (), 7, [1], ("cert", None), True])
def test_other_forms_are_told(sock: socket.socket, given: Any) -> None:
    with pytest.raises(ConfigError, match="ssl_context") as caught:
        make(sock, given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("way", [{"ssl": "adhoc"}, {"https": True}])
def test_the_names_are_those_of_the_server(sock: socket.socket, way: dict[str, Any]) -> None:
    """B73: and clients that are told to trust it do so, whatever they call it."""
    made = make(sock, names=("Shop.localhost", "10.0.0.7"), **way)
    assert made is not None
    shown = certificate_of(made)
    found = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == [
        "localhost", "*.localhost", "shop.localhost",
    ]  # fmt: skip
    addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    assert addresses == ["127.0.0.1", "::1", "10.0.0.7"]
    assert made.is_adhoc is (way == {"ssl": "adhoc"})
    assert (shown.issuer == shown.subject) is made.is_adhoc
    assert (made.authority is None) is made.is_adhoc


def test_an_ad_hoc_certificate_leaves_no_file(
    sock: socket.socket, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B74."""
    folder = home / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert make(sock, ssl="adhoc") is not None
    assert list(folder.iterdir()) == []


def test_names_of_sockets(monkeypatch: pytest.MonkeyPatch, sock: socket.socket) -> None:
    loopback = ["localhost", "*.localhost", "127.0.0.1", "::1"]
    assert names_of([sock], "localhost", ()) == loopback
    assert names_of([sock], "unix:///tmp/x", ()) == loopback
    assert names_of([sock], "[::1]", ("LOCALHOST", "0:0::1")) == loopback
    for address, added in (("10.9.8.7", ["10.9.8.7"]), ("192.0.2.9", []), ("", [])):
        monkeypatch.setattr(names_module, "network_address", lambda **_: address)  # noqa: B023
        with socket.create_server(("0.0.0.0", 0)) as everywhere:
            assert names_of([everywhere], "0.0.0.0", ()) == [*loopback, *added]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"https": True, "ssl": "adhoc"}, "cannot be combined with https"),
        ({"https": True, "cert": "x"}, "cannot be combined with https"),
        ({"ssl": "no"}, "is not one of adhoc"),
        ({"http_too": True, "client_ca": "x", "https": True}, "lets in clients without"),
        ({"names": ["a b"]}, "is no host name"),
        ({"names": ["https://a.localhost"]}, "is no host name"),
        ({"names": "a.localhost"}, "must be a list of texts"),
        ({"names": [1]}, "must be a list of texts"),
        ({"key": "x"}, "has no certificate"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        ServerConfig(**options)
    assert "\n" not in str(caught.value)


def test_a_public_host(sock: socket.socket) -> None:
    with pytest.raises(ConfigError, match="is a public name") as caught:
        make(sock, https=True, host="192.0.2.1")
    assert (caught.value.option, caught.value.value) == ("host", "192.0.2.1")
    assert make(sock, ssl="adhoc", host="192.0.2.1") is not None


def test_whom_to_ask_for_a_certificate(sock: socket.socket, home: Path) -> None:
    authority = str(make_certificate(home))
    made = make(sock, ssl="adhoc", client_ca=authority)
    assert made is not None
    assert made.context.verify_mode is ssl.CERT_REQUIRED
    (home / "empty.pem").write_text("")
    begin = "-----BEGIN CERTIFICATE-----"
    (home / "broken.pem").write_text(f"{begin}\nno\n{begin.replace('BEGIN', 'END')}\n")
    for file, given, words in (
        (authority, None, "needs HTTPS"),
        (authority, server_context(), "does nothing with an ssl_context of your own"),
        ("missing.pem", "adhoc", "cannot be read"),
        (str(home / "empty.pem"), "adhoc", "holds no certificate"),
        (str(home / "broken.pem"), "adhoc", "cannot be used"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            make(sock, given, client_ca=file)
        assert (caught.value.option, caught.value.value) == ("client_ca", file)


def test_without_cryptography(sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "aserve.net.certs", raising=False)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match="pip install cryptography") as caught:
        make(sock, ssl="adhoc")
    assert caught.value.option == "ssl"
    with pytest.raises(ConfigError, match="pip install cryptography"):
        make(sock, https=True)
