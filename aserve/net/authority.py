"""The development authority of this user: its files, and the certificates it has issued.

```text
(user's data)/aserve/authority/        0700
    ca-key.pem                         0600, certificate and key of the authority
    ca.pem                             its certificate alone, to be trusted by clients
    ca.trusted                         where `aserve trust` has installed it
    ca-old.pem                         the certificate of one that could vouch for more, until
                                       `aserve trust` has taken it out of all stores
    leaf-NAMES.pem                     0600, certificate and key of a server
```

Made when it is first needed, and kept: a browser that has been told to trust it never asks again.
Blocking, since it reads files; `cryptography` is imported only when something has to be made.
Several processes may do all of this at the same time: a file appears whole, or not at all.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import platform
import ssl
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from .names import is_permitted
from .tls import expiry_of

__all__ = ["Authority", "default_folder", "refuse_public"]

_DAY: Final = 86_400
# An expired certificate stops everybody; a month is time to notice nothing.
_RENEWAL: Final = 30 * _DAY

_END: Final = "-----END CERTIFICATE-----\n"
# The number of the extension "extended key usage", 2.5.29.37, in DER (RFC 5280 section 4.2.1.12).
_FOR_SERVERS: Final = b"\x06\x03\x55\x1d\x25"


def refuse_public(name: str, option: str = "names") -> None:
    """Raise unless the authority may vouch for the name; `option` is where it came from.

    Raises:
        ConfigError: It is one of the public network.
    """
    if not is_permitted(name):
        raise ConfigError(
            option, name, "is a public name, and the development authority must not certify "
            "those; use one below .localhost, .test or .internal, or give cert",
        )  # fmt: skip


def default_folder() -> Path:
    """Where the authority of this user is kept, as its system wants it."""
    import platformdirs

    return platformdirs.user_data_path("aserve", appauthor=False) / "authority"


class Authority:
    """The authority that is kept in a folder.

    Args:
        folder: Made, with the authority, by `prepare`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else folder
        self.certificate = self.folder / "ca.pem"
        self._key = self.folder / "ca-key.pem"
        self._trusted = self.folder / "ca.trusted"
        self.old_certificate = self.folder / "ca-old.pem"

    def exists(self) -> bool:
        """Whether it was made before."""
        return self.certificate.is_file()

    def prepare(self) -> str:
        """Make it, unless it is there and valid; return its certificate in PEM.

        Raises:
            ConfigError: The folder cannot be used.
        """
        with self._explained():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._keep_private()
            # Looked at first: what appears from here on was made by another process, and stays.
            is_new = not self._key.exists()
            if not (self._is_valid(self._key) and self._is_narrow(self._key)):
                if self.exists() and not self._is_narrow(self.certificate):
                    # It vouches for mails, clients and programs, too: its key ends here.
                    self._write(self.old_certificate, self.certificate.read_bytes())
                self._make(is_new=is_new)
            text = self._key.read_text("ascii")
            certificate = text[: text.index(_END) + len(_END)]
            if not self.exists() or self.certificate.read_text("ascii") != certificate:
                self._write(self.certificate, certificate.encode())
            return certificate

    def certificate_for(self, names: Sequence[str]) -> Path:
        """The file with a certificate for exactly these names, and its key.

        Kept for a year, so that restarts show the same one.

        Raises:
            ConfigError: A name is one of the public network, or the folder cannot be used.
        """
        for name in names:
            refuse_public(name)
        authority = self.prepare()
        # Another authority, other names: another file.
        mark = hashlib.sha256("\n".join([authority, *sorted(names)]).encode()).hexdigest()
        path = self.folder / f"leaf-{mark[:32]}.pem"
        with self._explained():
            if not self._is_valid(path):
                self._remove_expired()
                self._issue(path, names)
        return path

    # -- trust ---------------------------------------------------------------------------

    @property
    def trusted_by(self) -> list[str]:
        """Names of the stores that it was installed in by `aserve trust`."""
        try:
            mark, *stores = self._trusted.read_text("utf-8").splitlines()
            return stores if mark == self._fingerprint() else []
        except (OSError, ValueError):
            return []

    @trusted_by.setter
    def trusted_by(self, stores: Sequence[str]) -> None:
        with self._explained():
            lines = [self._fingerprint(), *stores]
            self._write(self._trusted, "".join(f"{line}\n" for line in lines).encode())

    def _fingerprint(self) -> str:
        return hashlib.sha256(self.certificate.read_bytes()).hexdigest()

    # -- files ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                "https", True, f"cannot keep certificates in {error.filename or self.folder}: "
                f"{error.strerror}; use ssl adhoc, or cert",
            ) from None  # fmt: skip
        except ImportError as error:
            raise ConfigError(
                "https", True, f"needs a package that is missing: pip install {error.name}"
            ) from None

    def _keep_private(self) -> None:
        # An archive or a copy may have loosened them.
        for path, mode in ((self.folder, 0o700), (self._key, 0o600)):
            with contextlib.suppress(FileNotFoundError):
                if os.name == "posix" and path.stat().st_mode & 0o077:
                    path.chmod(mode)

    @staticmethod
    def _is_valid(path: Path) -> bool:
        try:
            return expiry_of(str(path)) > time.time() + _RENEWAL
        except (OSError, ValueError):
            return False

    @staticmethod
    def _is_narrow(path: Path) -> bool:
        """Whether it is for servers alone, which those of earlier versions are not."""
        text = path.read_text("ascii", "replace").partition(_END)[0]
        try:
            return _FOR_SERVERS in ssl.PEM_cert_to_DER_cert(text + _END)
        except ValueError:
            return True  # no certificate at all

    def _make(self, *, is_new: bool) -> None:
        from .certs import make_authority

        pair = make_authority(f"{_user()}@{platform.node() or 'localhost'}")
        self._write(self._key, pair.certificate_pem + pair.key_pem, first=is_new)

    def _issue(self, path: Path, names: Sequence[str]) -> None:
        from .certs import Pair, issue

        leaf = issue(Pair.parse(self._key.read_bytes()), names)
        self._write(path, leaf.certificate_pem + leaf.key_pem)

    def _remove_expired(self) -> None:
        for path in self.folder.glob("leaf-*.pem"):
            if not self._is_valid(path):
                path.unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes, *, first: bool = False) -> None:
        """Readable for this user alone from the first byte on (`mkstemp` says 0600).

        Of several that make the same file at the same time, the `first` one wins if asked for.
        """
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        new = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            if first and hasattr(os, "link"):
                with contextlib.suppress(FileExistsError):
                    path.hardlink_to(new)
            else:
                new.replace(path)
        finally:
            new.unlink(missing_ok=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        return "developer"
