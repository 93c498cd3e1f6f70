"""Who a client is: what the environment of all its requests says of it."""

from __future__ import annotations

import asyncio

from ..net.address import peer_of
from ..types import Environ

__all__ = ["identify"]


def identify(transport: asyncio.BaseTransport) -> tuple[str, Environ]:
    """The address for logs, and both ends for the environment (PEP 3333).

    Args:
        transport: As it was connected; behind a handshake it knows of a client's certificate, which
            becomes `SSL_CLIENT_CERT`, in PEM, as mod_ssl names it (B45).
    """
    peer = peer_of(transport.get_extra_info("sockname"), transport.get_extra_info("peername"))
    environ: Environ = {**peer.as_environ()}
    tls = transport.get_extra_info("ssl_object")
    if tls is not None and (certificate := tls.getpeercert(binary_form=True)):
        import ssl  # loaded long ago, or this would not be TLS

        environ["SSL_CLIENT_CERT"] = ssl.DER_cert_to_PEM_cert(certificate)
    return peer.remote_addr, environ
