"""The server's TLS context, from files of certificates and keys.

Blocking, because it reads files; call it before the loop runs, or in a thread.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from pathlib import Path
from typing import Any, Final, NoReturn

from ..errors import ConfigError

__all__ = ["client_context", "expiry_of", "make_context", "refuse_useless"]

# One protocol is spoken, and a client that asks for others is told so (RFC 7301).
_PROTOCOLS: Final = ["http/1.1"]

# What is taken for the end where it cannot be read; OpenSSL looks at it itself.
_NEVER: Final = "Dec 31 23:59:59 9999 GMT"


def make_context(
    certificate: str, key: str | None = None, *, client_ca: str | None = None
) -> ssl.SSLContext:
    """A context for servers: TLS 1.2 and 1.3.

    Args:
        certificate: A PEM file with the certificate and those that lead to its authority.
        key: A PEM file with the private key; None when it stands in the first file.
        client_ca: A PEM file with the authority of those who are let in; None lets everybody in.

    Raises:
        ConfigError: One of the files cannot be used; `option` is `cert`, `key` or `client_ca`.
    """
    chain = _read("cert", certificate)
    if "-----BEGIN CERTIFICATE-----" not in chain:
        raise ConfigError("cert", certificate, "holds no certificate in PEM")
    holder, where = ("cert", certificate) if key is None else ("key", key)
    text = chain if key is None else _read("key", key)
    if "PRIVATE KEY-----" not in text:
        missing = "; name its file with key" if key is None else ""
        raise ConfigError(holder, where, f"holds no private key in PEM{missing}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(_PROTOCOLS)

    def ask() -> NoReturn:
        # Without it OpenSSL asks on the terminal.
        raise ConfigError(
            holder, where, "is encrypted; decrypt it with: openssl pkey -in FILE -out plain.pem"
        )

    try:
        context.load_cert_chain(certificate, key, password=ask)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            fix = f"does not belong to the certificate in {certificate!r}"
            raise ConfigError(holder, where, fix) from None
        raise ConfigError("cert", certificate, f"cannot be used: {error.reason or error}") from None
    _check_dates(certificate)
    if client_ca is not None:
        _ask_for_certificates(context, client_ca)
    return context


def _ask_for_certificates(context: ssl.SSLContext, client_ca: str) -> None:
    if "-----BEGIN CERTIFICATE-----" not in _read("client_ca", client_ca):
        raise ConfigError("client_ca", client_ca, "holds no certificate in PEM")
    try:
        context.load_verify_locations(client_ca)
    except ssl.SSLError as error:
        raise ConfigError("client_ca", client_ca, f"cannot be used: {error.reason}") from None
    context.verify_mode = ssl.CERT_REQUIRED


def client_context(ca_pem: str | None) -> ssl.SSLContext:
    """A context for a client that accepts a server, and checks its name.

    Args:
        ca_pem: Whom it trusts, and nobody else; None for whom this machine trusts.
    """
    context = ssl.create_default_context(cadata=ca_pem)
    if ca_pem is not None:
        # A certificate may be its own authority, or stand without it; and those of other
        # tools do not follow RFC 5280 to the letter, as Python 3.13 wants it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def refuse_useless(context: ssl.SSLContext) -> None:
    """Refuse a context that no client could talk to, before it listens.

    The library does not tell what was loaded into a context, so a handshake is tried in memory.

    Args:
        context: Somebody's own.

    Raises:
        ConfigError: It is one for clients, or has no certificate; `option` is `ssl_context`.
    """
    fix = "make one by ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), and load_cert_chain"
    if context.protocol is ssl.PROTOCOL_TLS_CLIENT:
        raise ConfigError("ssl_context", context, f"is one for clients; {fix}")
    if context.sni_callback is not None:
        return  # which chooses another one, and is not to be called for nobody
    if any("PSK" in cipher["name"] for cipher in context.get_ciphers()):
        return  # it may share a secret with its clients, and need no certificate
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client.wrap_bio(to_client, to_server).do_handshake()  # says hello
    try:
        context.wrap_bio(to_server, to_client, server_side=True).do_handshake()
    except ssl.SSLWantReadError:
        return  # it has answered
    except ssl.SSLError as error:
        if error.reason == "NO_SHARED_CIPHER":
            raise ConfigError("ssl_context", context, f"has no certificate; {fix}") from None
        # Anything else is for a client to say that speaks as the context wants it.


def expiry_of(certificate: str) -> float:
    """When the first certificate of a PEM file ends, in seconds since the epoch.

    Raises:
        OSError: It cannot be read, or is none (`ssl.SSLError`).
    """
    return float(ssl.cert_time_to_seconds(_decode(certificate).get("notAfter", _NEVER)))


def _read(option: str, name: str) -> str:
    try:
        return Path(name).read_text("ascii", "replace")
    except OSError as error:
        raise ConfigError(option, name, f"cannot be read: {error.strerror}") from None


def _check_dates(certificate: str) -> None:
    if expiry_of(certificate) < time.time():
        end = _decode(certificate)["notAfter"]
        raise ConfigError("cert", certificate, f"expired on {end}; make a new one")


def _decode(certificate: str) -> dict[str, str]:
    # The only decoder in the standard library; ssl has none for a certificate of one's own.
    module: Any = getattr(ssl, "_ssl", None)
    decode = getattr(module, "_test_decode_cert", None)
    if decode is None:  # pragma: no cover - another Python
        return {}
    fields: dict[str, str] = decode(certificate)
    return fields
