"""What a server shows to prove its name: from files, from the development authority, or ad hoc.

Blocking: reads files, and may make certificates. Call it before the loop runs, or in a thread.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from ..config import ServerConfig
from ..errors import ConfigError
from .names import names_of
from .tls import make_context, refuse_useless

if TYPE_CHECKING:
    import socket

    from .authority import Authority

__all__ = ["ADHOC", "Credentials", "SSLContextLike", "load_adhoc", "make_credentials"]

# What Werkzeug's `run_simple` takes as `ssl_context`: a context, the word "adhoc", the path of a
# certificate with its key, or a pair of paths.
SSLContextLike: TypeAlias = (
    ssl.SSLContext | str | os.PathLike[str] | tuple[str | os.PathLike[str], str | os.PathLike[str]]
)

# Werkzeug's word for a certificate that is made on the spot.
ADHOC: Final = "adhoc"


class Credentials(NamedTuple):
    """What a server needs for TLS.

    Args:
        context: For `ssl.SSLContext.wrap_bio` on the server's side.
        ca_pem: What a client has to trust, in PEM; None when only the client can know.
        authority: The development authority, when it has issued the certificate.
        adhoc_pem: A certificate that was made on the spot, and its key, so that other processes
            show the same; empty when it comes from elsewhere.
    """

    context: ssl.SSLContext
    ca_pem: str | None = None
    authority: Authority | None = None
    adhoc_pem: bytes = b""

    @property
    def is_adhoc(self) -> bool:
        """Whether the certificate was made on the spot."""
        return bool(self.adhoc_pem)


def make_credentials(
    config: ServerConfig, sockets: Sequence[socket.socket], given: SSLContextLike | None = None
) -> Credentials | None:
    """What the options and the caller ask for; None for plain HTTP.

    Args:
        config: The options of the group HTTPS, and `host`.
        sockets: The listening sockets, for their addresses.
        given: Goes before the options: a context, "adhoc", the path of a certificate with its
            key, or a pair of paths.

    Raises:
        ConfigError: Something cannot be used.
    """
    if isinstance(given, ssl.SSLContext):
        if config.client_ca is not None:
            fix = "does nothing with an ssl_context of your own; set its verify_mode"
            raise ConfigError("client_ca", config.client_ca, fix)
        refuse_useless(given)
        return Credentials(given)
    cert, key = (config.cert, config.key) if given is None else _paths(given)
    if cert == ADHOC or (given is None and config.ssl == ADHOC):
        return _make_adhoc(names_of(sockets, config.host, config.names), config.client_ca)
    if cert is not None:
        context = make_context(cert, key, client_ca=config.client_ca)
        return Credentials(context, _certificates(Path(cert).read_text("ascii", "replace")))
    if config.https:
        return _certified(sockets, config)
    if config.client_ca is not None:
        fix = "needs HTTPS; add https, or cert with a certificate of your own"
        raise ConfigError("client_ca", config.client_ca, fix)
    return None


def _paths(given: object) -> tuple[str, str | None]:
    """(certificate, key) from what `ssl_context` of `run_simple` allows (B71)."""
    parts = given if isinstance(given, tuple) else (given,)
    if 1 <= len(parts) <= 2 and all(isinstance(part, (str, os.PathLike)) for part in parts):
        cert, *key = [os.fspath(part) for part in parts]
        return cert, key[0] if key else None
    fix = 'is none of: an ssl.SSLContext, "adhoc", a path, or a pair (certificate, key)'
    raise ConfigError("ssl_context", given, fix)


def _certified(sockets: Sequence[socket.socket], config: ServerConfig) -> Credentials:
    from .authority import Authority, refuse_public

    for name in names_of([], config.host, ()):
        refuse_public(name, "host")
    authority = Authority()
    path = authority.certificate_for(names_of(sockets, config.host, config.names))
    context = make_context(str(path), client_ca=config.client_ca)
    return Credentials(context, authority.certificate.read_text("ascii"), authority)


def _make_adhoc(names: Sequence[str], client_ca: str | None) -> Credentials:
    try:
        from .certs import make_self_signed
    except ImportError as error:
        fix = f"needs a package that is missing: pip install {error.name}"
        raise ConfigError("ssl", ADHOC, fix) from None
    pair = make_self_signed(names)
    return load_adhoc(pair.certificate_pem + pair.key_pem, client_ca)


def load_adhoc(pem: bytes, client_ca: str | None) -> Credentials:
    """What another process has made ad hoc; `pem` is its `adhoc_pem`."""
    # The standard library reads certificates from files only; this one lives for a moment and is
    # readable for this user alone (B74).
    descriptor, path = tempfile.mkstemp(suffix=".pem")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        context = make_context(path, client_ca=client_ca)
    finally:
        with contextlib.suppress(OSError):
            Path(path).unlink()
    return Credentials(context, _certificates(pem.decode()), adhoc_pem=pem)


def _certificates(pem: str) -> str:
    """A file's text without its keys."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    blocks = [begin + rest.partition(end)[0] + end for rest in pem.split(begin)[1:]]
    return "".join(f"{block}\n" for block in blocks)
