"""HTTPS as people meet it: `--https`, curl, openssl, a real browser, `aserve trust`."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from aserve.cli import main
from aserve.net import certs, stores
from aserve.net.authority import Authority

from ..certificates import make_certificate
from .conftest import DEADLINE, EXAMPLES, Start
from .test_browser import dump

APP = str(EXAMPLES / "plain_app.py")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home directory of a new user."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    return home


@pytest.fixture
def authority(home: Path) -> Authority:
    return Authority(home / "data" / "aserve" / "authority")


@pytest.fixture(scope="session")
def certutil() -> str:
    """The tool of NSS; a machine without it fails."""
    path = shutil.which("certutil")
    if path is None:
        pytest.fail("no certutil on PATH: install the package `libnss3-tools`; .ci/run does it")
    return path


def ask(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=DEADLINE, check=False
    )


def short(path: Path) -> str:
    """As it is shown: below `home`."""
    return str(path).replace(os.environ["HOME"], "~")


@dataclass
class Trust:
    """Runs `aserve trust` with a PATH of its own, on no store of the machine."""

    home: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, word: str, *programs: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        folder = self.home / "bin"
        folder.mkdir(exist_ok=True)
        with self.monkeypatch.context() as patch:
            patch.setattr(stores, "_SYSTEMS", ())
            patch.setenv("PATH", str(folder))
            for program in (*programs, "/bin/mkdir"):
                (folder / Path(program).name).unlink(missing_ok=True)
                (folder / Path(program).name).symlink_to(program)
            status = main([word])
        return status, *self.capsys.readouterr()


@pytest.fixture
def trust(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Trust:
    return Trust(home, monkeypatch, capsys)


def test_curl_verifies_over_both_families(
    start: Start, curl: str, home: Path, authority: Authority
) -> None:
    server = start(APP, "--port", "0", "--https", "--name", "shop.localhost")
    port = server.port
    for host in ("localhost", "127.0.0.1", "[::1]", "shop.localhost"):
        done = ask(
            curl, "--silent", "--show-error", "--globoff", "--cacert", str(authority.certificate),
            "--resolve", f"shop.localhost:{port}:127.0.0.1",
            "--write-out", "%{http_code}", "--output", os.devnull, f"https://{host}:{port}/",
        )  # fmt: skip
        assert done.stdout == "200", done.stderr
    refused = ask(curl, "--silent", "--show-error", f"https://localhost:{port}/")
    assert refused.returncode == 60  # nobody has been told to trust it
    assert "aserve trust" in server.errors
    assert f"--cacert {short(authority.certificate)}" in server.errors
    assert server.end() == 0
    assert "Traceback" not in server.errors


def test_openssl_sees_versions_chain_and_names(
    start: Start, home: Path, authority: Authority
) -> None:
    server = start(APP, "--port", "0", "--https", "--name", "shop.localhost")
    command = [
        "openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", "localhost",
        "-verify_return_error", "-verify_hostname", "shop.localhost", "-CAfile",
        str(authority.certificate),
    ]  # fmt: skip
    for version, shown in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
        done = ask(*command, version)
        assert "Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr
        assert f"Protocol  : {shown}" in done.stdout or f"New, {shown}" in done.stdout
    done = ask(*command, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert "Verify return code: 0" not in done.stdout or "New, (NONE)" in done.stdout
    done = ask(*command, "-alpn", "h2,http/1.1")
    assert "ALPN protocol: http/1.1" in done.stdout
    wrong = ask(*[word.replace("shop.localhost", "other.test") for word in command])
    assert "hostname mismatch" in wrong.stdout + wrong.stderr


def test_a_restart_keeps_the_certificate(start: Start, home: Path) -> None:
    """So a browser that was told to go on anyway need not be told again."""
    shown = set()
    for _ in range(2):
        server = start(APP, "--port", "0", "--https")
        shown.add(ssl.get_server_certificate(("127.0.0.1", server.port)))
        assert server.end() == 0
    assert len(shown) == 1


def test_a_browser_that_trusts_the_authority_does_not_warn(
    start: Start, chromium: str, certutil: str, trust: Trust, tmp_path: Path
) -> None:
    """`aserve trust`, then the page, by any of its names; another name is refused."""
    server = start(APP, "--port", "0", "--https", "--name", "shop.localhost")
    port = server.port
    before = dump(chromium, f"https://localhost:{port}/", tmp_path / "before")
    assert "Hello" not in before

    status, told, problems = trust("trust", certutil, chromium)
    assert re.search(r"Chromium \(~/\.pki/nssdb\): trusts it now", told), problems
    assert status == 0
    for host in ("localhost", "shop.localhost", "127.0.0.1"):
        page = dump(chromium, f"https://{host}:{port}/", tmp_path / "profile")
        assert "Hello" in page, host
    assert "Hello" not in dump(chromium, f"https://other.localhost:{port}/", tmp_path / "profile")
    assert "already" in trust("trust", certutil, chromium)[1]

    status, told, problems = trust("untrust", certutil, chromium)
    assert (status, problems) == (0, "")
    assert "removed" in told
    after = dump(chromium, f"https://localhost:{port}/", tmp_path / "after")
    assert "Hello" not in after


def test_an_authority_that_vouched_for_more_leaves_the_stores(
    certutil: str, chromium: str, home: Path, trust: Trust, authority: Authority
) -> None:
    """One of an earlier version, which browsers trust: it is renewed, and said to be."""
    authority.prepare()
    # As it would be: without the extension that binds it to servers.
    pair = certs.make_authority("old@box")
    name = pair.certificate.subject
    made = certs._builder(name, name, pair.key, 400).sign(pair.key, hashes.SHA256())
    old = made.public_bytes(Encoding.PEM)
    authority.certificate.write_bytes(old)
    (authority.folder / "ca-key.pem").write_bytes(old + pair.key_pem)
    assert trust("config", certutil, chromium)[0] == 0  # makes the folder of programs
    found = stores.find_stores(authority.certificate, home, os.environ)
    (store,) = (each for each in found if each.name == "Chromium")
    assert isinstance(store, stores.Store)
    assert stores.run(store.install) == ""

    status, told, problems = trust("trust", certutil, chromium)
    assert (status, problems) == (0, "")
    assert "The authority was renewed" in told
    assert not store.holds_it()
    listed = ask(certutil, "-L", "-d", f"sql:{home}/.pki/nssdb").stdout
    assert listed.count("aserve-development-authority") == 1
    assert authority.certificate.read_bytes() != old
    assert not authority.old_certificate.exists()
    assert "renewed" not in trust("trust", certutil, chromium)[1]


def test_trust_without_the_tool_says_what_to_install(
    chromium: str, trust: Trust, authority: Authority
) -> None:
    status, told, problems = trust("trust", chromium)
    assert status == 5
    assert "It needs the program certutil: " in problems
    assert f"--cacert {short(authority.certificate)}" in told
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
        assert f"export {variable}={short(authority.certificate)}" in told
    assert authority.trusted_by == []


def test_untrust_without_an_authority(trust: Trust) -> None:
    status, told, problems = trust("untrust")
    assert (status, problems) == (0, "")
    assert "There is no development authority" in told


def test_firefox_profiles_are_found(
    certutil: str, home: Path, trust: Trust, authority: Authority
) -> None:
    profile = home / ".mozilla" / "firefox" / "abc.default"
    profile.mkdir(parents=True)
    (profile.parent / "no-profile").mkdir()
    made = ask(certutil, "-N", "--empty-password", "-d", f"sql:{profile}")
    assert made.returncode == 0, made.stderr
    _, told, problems = trust("trust", certutil)
    assert f"Firefox ({short(profile)}): trusts it now" in told, problems
    listed = ask(certutil, "-L", "-d", f"sql:{profile}").stdout
    assert re.search(r"aserve-development-authority-\w+ +C,,", listed)
    assert authority.trusted_by == [f"Firefox ({short(profile)})"]
    assert "Firefox" in trust("untrust", certutil)[1]
    assert "aserve" not in ask(certutil, "-L", "-d", f"sql:{profile}").stdout


def test_the_systems_store(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    authority: Authority,
) -> None:  # fmt: skip
    """The real tool of Debian, on folders of the test's own."""
    tool = shutil.which("update-ca-certificates", path=f"{os.environ['PATH']}:/usr/sbin")
    local, bundle = tmp_path / "local", tmp_path / "etc"
    local.mkdir()
    bundle.mkdir()
    (tmp_path / "ca.conf").write_text("")
    forget: tuple[str, ...] = ("--fresh",)
    (local / "other.crt").write_text(make_certificate(tmp_path).read_text())
    if tool is None:  # another family of systems: what is run is shown all the same
        tool = "true"
    command = (tool, "--localcertsdir", str(local), "--etccertsdir", str(bundle),
               "--certsconf", str(tmp_path / "ca.conf"), "--hooksdir", str(tmp_path))  # fmt: skip
    monkeypatch.setattr(stores, "_SYSTEMS", ((str(local), command, forget),))
    monkeypatch.setattr(stores._Search, "databases", lambda self: iter(()))

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["trust"]) == 5
    told = capsys.readouterr().err
    assert "As the administrator, run: install -m 644 " in told
    assert authority.trusted_by == []

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert main(["trust"]) == 0
    assert "trusts it now" in capsys.readouterr().out
    (ours,) = local.glob("aserve-*.crt")
    if tool != "true":
        text = authority.certificate.read_text()
        assert text in (bundle / "ca-certificates.crt").read_text()
    assert main(["untrust"]) == 0
    assert not ours.exists()
    if tool != "true":
        assert text not in (bundle / "ca-certificates.crt").read_text()
        assert not any(path.is_symlink() and not path.exists() for path in bundle.iterdir())


def test_what_the_command_line_says_of_bad_input(start: Start, home: Path) -> None:
    for words, message in (
        (["--https", "--ssl", "adhoc"], "--ssl: 'adhoc' cannot be combined with https"),
        (["--https", "--name", "bank.example"], "--name: 'bank.example' is a public name"),
        (["--https", "--name", "a b"], "--name: 'a b' is no host name"),
        (["--client-ca", "x.pem"], "--client-ca: 'x.pem' needs HTTPS"),
        (["--port", "0", "trust"], "`aserve trust` takes no options of the server."),
    ):
        child = start(*words) if "trust" in words else start(*words, "--port", "0", APP)
        assert child.wait() == 2
        assert message in child.errors, (words, child.errors)
        assert len(child.errors.splitlines()) == 1


def test_adhoc_from_the_shell(start: Start, curl: str, home: Path) -> None:
    server = start(APP, "--port", "0", "--ssl", "adhoc")
    done = ask(curl, "--silent", "--insecure", server.url)
    assert done.returncode == 0
    assert "ad-hoc" in server.errors
    assert not (home / "data").exists()  # nothing is kept


def test_tls_on_a_plain_port_is_one_line_that_helps(start: Start, curl: str) -> None:
    """B66: no binary garbage, no traceback."""
    server = start(APP, "--port", "0")
    done = ask(curl, "--silent", "--insecure", server.url.replace("http:", "https:"))
    assert done.returncode != 0
    server.wait_for("serve with --https")
    assert server.end() == 0
    about = [line for line in server.errors.splitlines() if "127.0.0.1" in line or "::1" in line]
    assert len(about) == 1
    assert "\\x16" not in server.errors
