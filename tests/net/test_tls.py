"""`aserve.net.tls`: what cannot be used is told in one line that names the file and the fix."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

import aserve
from aserve.errors import ConfigError
from aserve.net.tls import make_context

from ..certificates import make_certificate


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A certificate and its key, in two files."""
    text = make_certificate(tmp_path).read_text()
    certificate, mark, key = text.partition("-----BEGIN PRIVATE KEY-----")
    (tmp_path / "cert.pem").write_text(certificate)
    (tmp_path / "key.pem").write_text(mark + key)
    return str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")


def test_two_files_or_one(files: tuple[str, str], tmp_path: Path) -> None:
    for context in (make_context(*files), make_context(str(tmp_path / "both.pem"))):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.verify_mode is ssl.CERT_NONE


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def test_what_cannot_be_used(files: tuple[str, str], tmp_path: Path) -> None:
    cert, key = files
    other, encrypted = str(tmp_path / "other.pem"), str(tmp_path / "encrypted.pem")
    openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", other)
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", encrypted)
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    (tmp_path / "old").mkdir()
    expired = str(make_certificate(tmp_path / "old", days=-1))
    missing = str(tmp_path / "missing.pem")
    for given, option, value, fix in (
        ((missing,), "cert", missing, "cannot be read: No such file or directory"),
        ((cert, missing), "key", missing, "cannot be read: No such file or directory"),
        ((cert,), "cert", cert, "holds no private key in PEM; name its file with key"),
        ((cert, cert), "key", cert, "holds no private key in PEM"),
        ((key, key), "cert", key, "holds no certificate in PEM"),
        ((cert, other), "key", other, f"does not belong to the certificate in {cert!r}"),
        ((cert, encrypted), "key", encrypted, "is encrypted; decrypt it with: openssl pkey"),
        ((str(broken), key), "cert", str(broken), "cannot be used: "),
        ((expired,), "cert", expired, "expired on "),
    ):
        with pytest.raises(ConfigError) as caught:
            make_context(*given)
        assert (caught.value.option, caught.value.value) == (option, value)
        assert caught.value.fix.startswith(fix)
        assert "\n" not in str(caught.value)


async def test_the_options_make_the_server_speak_tls(files: tuple[str, str]) -> None:
    def app(environ: object, start_response: object) -> list[bytes]:
        raise AssertionError("nobody asks")

    async with aserve.open_server(app, cert=files[0], key=files[1]) as server:
        assert server.url.startswith("https://")
    with pytest.raises(ConfigError, match="has no certificate"):
        async with aserve.open_server(app, key=files[1]):
            pass
