"""Where programs look up whom they trust: the system's store, Chromium's and Firefox's.

A store is changed by the commands that its system provides for that; what they are is data, so
that they can be run, or shown to somebody who has to run them. Nothing here runs by itself.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Command", "Missing", "Store", "find_stores", "run"]

Command = tuple[str, ...]

_NAME: Final = "aserve-development-authority"

# Folder, command, and what the command needs behind it to forget something, of each family of
# Linux systems: Debian, Fedora, Arch, openSUSE.
_SYSTEMS: Final[tuple[tuple[str, Command, Command], ...]] = (
    ("/usr/local/share/ca-certificates", ("update-ca-certificates",), ("--fresh",)),
    ("/etc/pki/ca-trust/source/anchors", ("update-ca-trust", "extract"), ()),
    ("/etc/ca-certificates/trust-source/anchors", ("update-ca-trust",), ()),
    ("/usr/share/pki/trust/anchors", ("update-ca-certificates",), ("--fresh",)),
)

# Below the home directory. Chromium's is made when it is missing, Firefox makes its own.
_CHROMIUM: Final = ".pki/nssdb"
_CHROMIUM_OF_SNAP: Final = "snap/chromium/current/.pki/nssdb"
_CHROMIUM_NAMES: Final = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser",
    "microsoft-edge",
)  # fmt: skip
_FIREFOX: Final = (
    ".mozilla/firefox/*",
    "snap/firefox/common/.mozilla/firefox/*",
    ".var/app/org.mozilla.firefox/.mozilla/firefox/*",
    "Library/Application Support/Firefox/Profiles/*",
)


class Store(NamedTuple):
    """One place, and how the authority gets in and out.

    Args:
        name: As a person knows it.
        place: Its file or folder, or an empty text.
        install: What to run, in this order.
        remove: What to run to take it out again.
        test: Succeeds when the authority is in it; empty when that cannot be asked.
        needs_root: Whether only the administrator may change it.
    """

    name: str
    place: str
    install: tuple[Command, ...]
    remove: tuple[Command, ...]
    test: Command
    needs_root: bool = False

    def holds_it(self) -> bool:
        """Whether the authority is in it, as far as that can be asked."""
        return not self.test or _run(self.test).returncode == 0


class Missing(NamedTuple):
    """A store that cannot be changed because a tool is missing."""

    name: str
    place: str
    tool: str


def find_stores(
    certificate: Path, home: Path, environment: Mapping[str, str]
) -> list[Store | Missing]:
    """The stores of this machine and this user.

    Args:
        certificate: The authority's certificate, a PEM file.
        home: The user's home directory.
        environment: Its PATH is searched for tools and browsers.
    """
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text("ascii"))
    search = _Search(certificate, hashlib.sha256(der).hexdigest()[:12], home, environment)
    if sys.platform == "darwin":  # pragma: no cover - seen by people only
        return [search.keychain(), *search.databases()]
    if sys.platform == "win32":  # pragma: no cover
        return [search.windows(hashlib.sha1(der, usedforsecurity=False).hexdigest())]
    return [*search.system(), *search.databases()]


class _Search(NamedTuple):
    certificate: Path
    mark: str  # tells this authority from others of the same machine
    home: Path
    environment: Mapping[str, str]

    def which(self, *names: str) -> str | None:
        path = self.environment.get("PATH")
        return next((found for name in names if (found := shutil.which(name, path=path))), None)

    def system(self) -> Iterator[Store]:
        for folder, command, forget in _SYSTEMS:
            # The PATH of somebody who is not the administrator often has no sbin.
            tool = self.which(command[0], f"/usr/sbin/{command[0]}")
            if Path(folder).is_dir() and tool:
                target = f"{folder}/{_NAME}-{self.mark}.crt"
                update = (tool, *command[1:])
                yield Store(
                    "the system's store",
                    folder,
                    (("install", "-m", "644", str(self.certificate), target), update),
                    (("rm", "-f", target), (*update, *forget)),
                    ("test", "-e", target),
                    needs_root=True,
                )
                return

    def databases(self) -> Iterator[Store | Missing]:
        """Of Mozilla's NSS, which Chromium uses on Linux, too."""
        chromium = self.home / _CHROMIUM
        if chromium.is_dir() or (sys.platform == "linux" and self.which(*_CHROMIUM_NAMES)):
            yield self.database("Chromium", chromium)
        if (self.home / _CHROMIUM_OF_SNAP).is_dir():
            yield self.database("Chromium", self.home / _CHROMIUM_OF_SNAP)
        for pattern in _FIREFOX:
            for profile in sorted(self.home.glob(pattern)):
                if (profile / "cert9.db").is_file():
                    yield self.database("Firefox", profile)

    def database(self, name: str, folder: Path) -> Store | Missing:
        # Windows has another program of this name, but NSS is not looked for there.
        tool = self.which("certutil", "/opt/homebrew/opt/nss/bin/certutil")
        if tool is None:
            return Missing(name, str(folder), "certutil")
        nickname = f"{_NAME}-{self.mark}"
        database = f"sql:{folder}"
        new: tuple[Command, ...] = ()
        if not (folder / "cert9.db").is_file():
            new = (
                ("mkdir", "-p", "-m", "700", str(folder)),
                (tool, "-N", "-d", database, "--empty-password"),
            )
        add = (tool, "-A", "-d", database, "-t", "C,,", "-n", nickname, "-i", str(self.certificate))
        return Store(
            name,
            str(folder),
            (*new, add),
            ((tool, "-D", "-d", database, "-n", nickname),),
            (tool, "-L", "-d", database, "-n", nickname),
        )

    def keychain(self) -> Store:  # pragma: no cover - macOS
        keychain = str(self.home / "Library/Keychains/login.keychain-db")
        file = str(self.certificate)
        return Store(
            "the keychain",
            keychain,
            (("security", "add-trusted-cert", "-r", "trustRoot", "-k", keychain, file),),
            (("security", "remove-trusted-cert", file),),
            ("security", "verify-cert", "-c", file),
        )

    def windows(self, thumbprint: str) -> Store:  # pragma: no cover - Windows
        return Store(
            "the user's store",
            "Root",
            (("certutil", "-user", "-addstore", "Root", str(self.certificate)),),
            (("certutil", "-user", "-delstore", "Root", thumbprint),),
            ("certutil", "-user", "-verifystore", "Root", thumbprint),
        )


def run(commands: tuple[Command, ...], *, prefix: Command = ()) -> str:
    """Run them one after the other, up to the first that fails.

    Args:
        commands: What `Store` says.
        prefix: In front of each, e.g. `("sudo",)`.

    Returns:
        What the failing one says, or an empty text.
    """
    for command in commands:
        done = _run((*prefix, *command))
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            return f"{shlex.join(command)}: {said[-1] if said else f'status {done.returncode}'}"
    return ""


def _run(command: Command) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            # sudo asks on the terminal by itself; nothing else may ask.
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", error.strerror or str(error))
