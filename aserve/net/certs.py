"""Certificates made here: the development authority, what it issues, and ad-hoc ones.

Needs the package `cryptography`, which takes longer to import than the rest of aserve: import this
module only when a certificate has to be made. Nothing here reads or writes a file.

The authority may sign for names and addresses that are reserved for private use, and for nothing
else (`PERMITTED_NAMES`, `PERMITTED_NETWORKS`; RFC 5280 section 4.2.1.10), and for servers alone:
whoever steals its key can pretend to be a development server, but not a bank, the sender of a mail,
a client or the author of a program.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .names import PERMITTED_NAMES, PERMITTED_NETWORKS, parse_ip

__all__ = ["Pair", "issue", "make_authority", "make_self_signed"]

AUTHORITY_DAYS: Final = 3650
# Apple refuses more than 398 days, counted in seconds; so one day less.
LEAF_DAYS: Final = 397
# Clocks of a machine and its containers differ.
_SKEW: Final = datetime.timedelta(hours=1)
_NOBODY: Final = "aserve.invalid"
_FOR_SERVERS: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


class Pair(NamedTuple):
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def parse(cls, pem: bytes) -> Pair:
        """From a file with both.

        Raises:
            ValueError: They are not what this module made.
        """
        key = load_pem_private_key(pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the key is not one on an elliptic curve")
        return cls(x509.load_pem_x509_certificate(pem), key)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key, in PKCS 8, not encrypted."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make_authority(owner: str) -> Pair:
    """A new authority; `owner` tells it apart in a browser's list, e.g. `ann@box`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("aserve development authority", owner)
    networks = [ipaddress.ip_network(network) for network in PERMITTED_NETWORKS]
    permitted: list[x509.GeneralName] = [x509.DNSName(name) for name in PERMITTED_NAMES]
    permitted += [x509.IPAddress(network) for network in networks]
    # A kind of name that no constraint mentions is free, so these are bound to what nobody can have
    # (RFC 2606 section 2). Directory names stay free: Go's library refuses an authority that has a
    # constraint for them as one that it does not understand, and no server is told by such a name.
    permitted += [x509.RFC822Name(_NOBODY), x509.UniformResourceIdentifier(_NOBODY)]
    subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(name, name, key, AUTHORITY_DAYS)
        # It signs certificates of servers, never another authority's.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        # Clients apply it to all that is below.
        .add_extension(_FOR_SERVERS, critical=False)
        .add_extension(subject_key, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate, key)


def issue(authority: Pair, names: Sequence[str]) -> Pair:
    """A certificate for a server.

    Args:
        authority: Who signs; its constraints are not looked at, clients do that.
        names: Host names and addresses; at least one.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    known_as = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known_as)
    builder = _leaf(_builder(x509.Name([]), issuer.subject, key, LEAF_DAYS), names, key)
    builder = builder.add_extension(identifier, critical=False)
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def make_self_signed(names: Sequence[str], *, common_name: str = "", days: int = LEAF_DAYS) -> Pair:
    """A certificate that vouches for itself: subject and issuer are the same (B73)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name or names[0], "aserve self-signed certificate")
    builder = _leaf(_builder(name, name, key, days), names, key)
    return Pair(builder.sign(key, hashes.SHA256()), key)


def _name(common_name: str, organization: str) -> x509.Name:
    # RFC 5280 allows 64 characters in each.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    start = datetime.datetime.now(datetime.UTC) - _SKEW
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=days))
    )


def _leaf(
    builder: x509.CertificateBuilder, names: Sequence[str], key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        # Critical: an issued one has no other name (RFC 5280 section 4.2.1.6).
        builder.add_extension(alternatives, critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(_FOR_SERVERS, critical=False)
        .add_extension(subject_key, critical=False)
    )


def _general_name(name: str) -> x509.GeneralName:
    address = parse_ip(name)
    return x509.DNSName(name) if address is None else x509.IPAddress(address)


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
