"""The development authority: what it makes, what it may vouch for, and how it is kept."""

from __future__ import annotations

import ssl
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from aserve.errors import ConfigError
from aserve.net import certs
from aserve.net.authority import Authority, default_folder
from aserve.net.names import LOOPBACK_NAMES, is_permitted

NAMES = [*LOOPBACK_NAMES, "shop.localhost"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "data" / "authority")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def verify(authority: Authority, leaf: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What OpenSSL, which has no part in making them, says of a certificate."""
    purpose = [] if "-purpose" in words else ["-purpose", "sslserver"]
    return subprocess.run(
        ["openssl", "verify", "-x509_strict", *purpose, "-CAfile", str(authority.certificate),
         *words, str(leaf)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_what_it_issues_is_accepted_and_complete(authority: Authority) -> None:
    leaf = authority.certificate_for(NAMES)
    for words in (["-verify_hostname", "shop.localhost"], ["-verify_ip", "::1"], []):
        done = verify(authority, leaf, *words)
        assert done.returncode == 0, done.stderr
    assert verify(authority, leaf, "-verify_hostname", "other.test").returncode != 0

    made = x509.load_pem_x509_certificate(leaf.read_bytes())
    life = made.not_valid_after_utc - made.not_valid_before_utc
    assert life.days <= 398
    find = made.extensions.get_extension_for_class
    alternatives = find(x509.SubjectAlternativeName).value
    assert alternatives.get_values_for_type(x509.DNSName) == [
        "localhost", "*.localhost", "shop.localhost",
    ]  # fmt: skip
    assert [str(a) for a in alternatives.get_values_for_type(x509.IPAddress)] == [
        "127.0.0.1", "::1",
    ]  # fmt: skip
    assert list(find(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not list(made.subject)
    assert find(x509.SubjectAlternativeName).critical
    issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    known_as = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert find(x509.AuthorityKeyIdentifier).value.key_identifier == known_as
    assert find(x509.SubjectKeyIdentifier)


@pytest.mark.parametrize("name", ["bank.example", "192.0.2.1", "2001:db8::1"])
def test_clients_refuse_what_it_must_not_vouch_for(authority: Authority, name: str) -> None:
    """Whoever steals the key and signs for a public name gets nowhere (RFC 5280, 4.2.1.10)."""
    with pytest.raises(ConfigError, match="is a public name") as caught:
        authority.certificate_for([name])
    assert caught.value.value == name
    authority.prepare()
    pair = certs.Pair.parse((authority.folder / "ca-key.pem").read_bytes())
    leaf = authority.folder / "stolen.pem"
    leaf.write_bytes(certs.issue(pair, ["localhost", name]).certificate_pem)
    done = verify(authority, leaf)
    assert done.returncode != 0
    assert "permitted subtree violation" in done.stderr


# What somebody with the stolen key might sign, and for what.
STOLEN: dict[str, tuple[list[x509.GeneralName], ObjectIdentifier, str]] = {
    "mail": (
        [x509.RFC822Name("ann@bank.example")], ExtendedKeyUsageOID.EMAIL_PROTECTION, "smimesign",
    ),
    "client": ([x509.DNSName("localhost")], ExtendedKeyUsageOID.CLIENT_AUTH, "sslclient"),
    "program": ([x509.DNSName("localhost")], ExtendedKeyUsageOID.CODE_SIGNING, "sslclient"),
    "workload": (
        [x509.UniformResourceIdentifier("spiffe://bank.example/pay")],
        ExtendedKeyUsageOID.SERVER_AUTH, "sslserver",
    ),
    "address of mail": (
        [x509.DNSName("localhost"), x509.RFC822Name("ann@bank.example")],
        ExtendedKeyUsageOID.SERVER_AUTH, "sslserver",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", STOLEN)
def test_it_vouches_for_servers_alone(authority: Authority, kind: str) -> None:
    names, usage, purpose = STOLEN[kind]
    authority.prepare()
    pair = certs.Pair.parse((authority.folder / "ca-key.pem").read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    known_as = pair.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    made = (
        certs._builder(x509.Name([]), pair.certificate.subject, key, 30)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(certs._key_usage(digital_signature=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known_as), critical=False
        )
        .sign(pair.key, hashes.SHA256())
    )
    leaf = authority.folder / "stolen.pem"
    leaf.write_bytes(made.public_bytes(Encoding.PEM))
    words = ["-purpose", purpose]
    assert verify(authority, leaf, *words).returncode != 0
    # It is the authority that stops it: one without bounds would be believed.
    free = Authority(authority.folder / "free")
    free.folder.mkdir()
    key_pair = certs.Pair(unbound(pair), pair.key)
    free.certificate.write_bytes(key_pair.certificate_pem)
    if kind != "program":  # which the tool has no purpose for
        done = verify(free, leaf, *words)
        assert done.returncode == 0, done.stderr


def unbound(pair: certs.Pair) -> x509.Certificate:
    """The same authority as it would be without bounds."""
    kept = pair.certificate
    builder = certs._builder(kept.subject, kept.subject, pair.key, 400)
    for each in kept.extensions:
        if not isinstance(each.value, x509.NameConstraints | x509.ExtendedKeyUsage):
            builder = builder.add_extension(each.value, critical=each.critical)
    return builder.sign(pair.key, hashes.SHA256())


def test_one_that_vouched_for_more_is_renewed(authority: Authority) -> None:
    authority.prepare()
    key = authority.folder / "ca-key.pem"
    pair = certs.Pair.parse(key.read_bytes())
    old = certs.Pair(unbound(pair), pair.key)
    key.write_bytes(old.certificate_pem + old.key_pem)
    authority.certificate.write_bytes(old.certificate_pem)
    authority.trusted_by = ["Chromium"]
    leaf = authority.certificate_for(["localhost"])
    assert verify(authority, leaf).returncode == 0
    assert authority.certificate.read_bytes() != old.certificate_pem
    assert old.key_pem not in key.read_bytes()
    assert authority.old_certificate.read_bytes() == old.certificate_pem
    assert authority.trusted_by == []
    before = key.read_bytes()
    authority.prepare()
    assert key.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("localhost", True), ("a.b.localhost", True), ("notlocalhost", False), ("x.test", True),
        ("printer.local", True), ("app.internal", True), ("10.1.2.3", True), ("11.1.2.3", False),
        ("fe80::1%eth0", True), ("fd00::1", True), ("::2", False), ("localhost.com", False),
    ],
)  # fmt: skip
def test_permitted_names(name: str, allowed: bool) -> None:
    assert is_permitted(name) is allowed


def test_nobody_else_reads_its_keys(authority: Authority) -> None:
    leaf = authority.certificate_for(NAMES)
    key = authority.folder / "ca-key.pem"
    assert mode(authority.folder) == 0o700
    assert mode(key) == mode(leaf) == 0o600
    authority.folder.chmod(0o755)
    key.chmod(0o644)
    authority.prepare()
    assert mode(authority.folder) == 0o700
    assert mode(key) == 0o600


def test_a_restart_shows_the_same_certificate(authority: Authority) -> None:
    first = authority.certificate_for(NAMES)
    text = first.read_bytes()
    again = Authority(authority.folder).certificate_for(list(reversed(NAMES)))
    assert (again, again.read_bytes()) == (first, text)
    assert authority.certificate_for(["localhost"]) != first


def test_a_start_that_makes_nothing_does_not_need_cryptography(authority: Authority) -> None:
    path = authority.certificate_for(NAMES)
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from pathlib import Path; from aserve.net.authority import Authority\n"
        f"authority = Authority(Path({str(authority.folder)!r}))\n"
        f"print(authority.certificate_for({NAMES!r}))\n"
        "try: authority.certificate_for(['new.localhost'])\n"
        "except Exception as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    shown, problem = done.stdout.splitlines()
    assert shown == str(path)
    assert problem.endswith("needs a package that is missing: pip install cryptography")


def test_it_is_made_again_in_time(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month before the end; then what it has issued goes, too."""
    monkeypatch.setattr(certs, "LEAF_DAYS", 29)
    old = authority.certificate_for(NAMES)
    text = old.read_bytes()
    monkeypatch.setattr(certs, "LEAF_DAYS", 40)
    renewed = authority.certificate_for(NAMES).read_bytes()
    assert renewed != text
    assert authority.certificate_for(NAMES).read_bytes() == renewed

    monkeypatch.setattr(certs, "AUTHORITY_DAYS", 29)
    (authority.folder / "ca-key.pem").unlink()
    short = authority.prepare()
    monkeypatch.setattr(certs, "AUTHORITY_DAYS", 100)
    long = authority.prepare()
    assert long != short
    assert authority.certificate.read_text() == long
    assert verify(authority, authority.certificate_for(NAMES)).returncode == 0


def test_what_has_expired_is_removed(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certs, "LEAF_DAYS", 1)
    old = authority.certificate_for(["localhost"])
    monkeypatch.undo()
    authority.certificate_for(NAMES)
    assert not old.exists()


def test_several_that_make_it_at_once_agree(authority: Authority) -> None:
    def start(_: int) -> bytes:
        return Authority(authority.folder).certificate_for(NAMES).read_bytes()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(start, range(8)))
    leaf = authority.certificate_for(NAMES)
    done = verify(authority, leaf)
    assert done.returncode == 0, done.stderr
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf)  # the key belongs to it
    assert sorted(path.name for path in authority.folder.iterdir()) == [
        "ca-key.pem", "ca.pem", leaf.name,
    ]  # fmt: skip


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot keep certificates in") as caught:
        Authority(tmp_path / "file" / "authority").prepare()
    assert "\n" not in str(caught.value)


def test_a_broken_file_is_replaced(authority: Authority) -> None:
    leaf = authority.certificate_for(NAMES)
    leaf.write_text("nonsense")
    authority.certificate.write_text("nonsense")
    assert verify(authority, authority.certificate_for(NAMES)).returncode == 0


def test_it_belongs_to_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert default_folder() == tmp_path / "aserve" / "authority"


def test_who_trusts_it_is_remembered_for_this_one(authority: Authority) -> None:
    assert authority.trusted_by == []
    authority.prepare()
    authority.trusted_by = ["one", "two"]
    assert Authority(authority.folder).trusted_by == ["one", "two"]
    (authority.folder / "ca-key.pem").unlink()
    authority.prepare()  # another one, which nobody trusts
    assert authority.trusted_by == []
