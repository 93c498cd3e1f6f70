"""Werkzeug's `make_ssl_devcert`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..errors import ConfigError

__all__ = ["make_ssl_devcert"]


def make_ssl_devcert(
    base_path: str | os.PathLike[str], host: str | None = None, cn: str | None = None
) -> tuple[str, str]:
    """Make a certificate that vouches for itself, and its key (B75).

    Unlike an ad-hoc certificate it stays, so that a client can be told to trust the file. Files of
    these names are replaced. `aserve --https` makes and keeps certificates that browsers accept.

    Args:
        base_path: Where to write: `.crt` and `.key` are added to it.
        host: The name of the server; its certificate names it, everything below it, and the
            loopback addresses.
        cn: The common name; `host` when left away. Looked at by people only.

    Returns:
        The paths of the certificate and of the key, for `ssl_context`.

    Raises:
        ConfigError: The files cannot be written, or `host` is no name.
    """
    from ..net.certs import make_self_signed
    from ..net.names import LOOPBACK_NAMES, parse_ip
    from ..options import host_name

    names = list(LOOPBACK_NAMES)
    if host is not None:
        if (fix := host_name(host)) is not None:
            raise ConfigError("host", host, fix)
        names = [host] if parse_ip(host) is not None else [host, f"*.{host}"]
        names += [name for name in LOOPBACK_NAMES if name not in names]
    pair = make_self_signed(names, common_name=cn or host or "localhost")
    certificate, key = f"{os.fspath(base_path)}.crt", f"{os.fspath(base_path)}.key"
    try:
        _write_private(key, pair.key_pem)
        Path(certificate).write_bytes(pair.certificate_pem)
    except OSError as error:
        fix = f"cannot be written: {error.strerror}"
        raise ConfigError("base_path", os.fspath(base_path), fix) from None
    return certificate, key


def _write_private(name: str, data: bytes) -> None:
    # A new file: one that others may read would keep its mode.
    with contextlib.suppress(FileNotFoundError):
        Path(name).unlink()
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
