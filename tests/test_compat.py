"""What people know from Werkzeug."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import httpx
import pytest

import aserve

from .conformance.wsgi_server import LiveServer


def app(environ: object, start_response: object) -> list[bytes]:
    start_response("200 OK", [])  # type: ignore[operator]
    return [b"hello"]


def test_make_ssl_devcert(tmp_path: Path) -> None:
    """B75: two files that clients accept for the name, and which last."""
    paths = aserve.make_ssl_devcert(tmp_path / "dev", host="shop.localhost", cn="My shop")
    assert paths == (str(tmp_path / "dev.crt"), str(tmp_path / "dev.key"))
    assert stat.S_IMODE((tmp_path / "dev.key").stat().st_mode) == 0o600
    context = ssl.create_default_context(cafile=paths[0])
    with LiveServer(app, cert=paths[0], key=paths[1]) as live:
        assert httpx.get(f"https://127.0.0.1:{live.port}/", verify=context).text == "hello"
        with httpx.Client(verify=context) as client:
            answer = client.get(
                f"https://127.0.0.1:{live.port}/",
                extensions={"sni_hostname": "shop.localhost"},
            )
            assert answer.text == "hello"
    before = Path(paths[0]).read_bytes()
    (tmp_path / "dev.key").chmod(0o644)
    assert aserve.make_ssl_devcert(str(tmp_path / "dev")) == paths
    assert Path(paths[0]).read_bytes() != before
    assert stat.S_IMODE((tmp_path / "dev.key").stat().st_mode) == 0o600


def test_make_ssl_devcert_for_an_address(tmp_path: Path) -> None:
    certificate, key = aserve.make_ssl_devcert(tmp_path / "dev", host="10.0.0.7")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)


def test_make_ssl_devcert_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(aserve.ConfigError, match="is no host name"):
        aserve.make_ssl_devcert(tmp_path / "dev", host="a b")
    with pytest.raises(aserve.ConfigError, match="cannot be written"):
        aserve.make_ssl_devcert(tmp_path / "missing" / "dev")
