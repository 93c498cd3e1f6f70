"""The PIN of the console: where it is kept, how often it may be guessed, and the cookie behind it.

A PIN is random and kept per user and project; it is never made from facts of the machine, which
others can know. SHA-256 is the only hash, so that it works where others are forbidden.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from .. import native
from ..errors import ConfigError
from ..sealed import Sealed
from .lockfile import locked, read_all

__all__ = [
    "COOKIE_SECONDS",
    "MOST_TRIES",
    "Attempt",
    "Lock",
    "PinStore",
    "cookie_name",
    "cookie_value",
    "is_valid_cookie",
    "load_pin",
    "set_cookie_header",
]

MOST_TRIES: Final = 10
COOKIE_SECONDS: Final = 24 * 60 * 60

_PIN: Final = re.compile(r"[0-9]{3}-[0-9]{3}-[0-9]{3}")
# How many runs a file of tries remembers. Nobody who guesses can start one.
_MOST_RUNS: Final = 64


class PinStore:
    """The files of one project in the state directory of the user.

    Args:
        project: Its directory; it counts where it really is.
    """

    def __init__(self, project: str) -> None:
        real = os.path.realpath(project)
        self._name = hashlib.sha256(os.fsencode(real)).hexdigest()[:32]
        self._directory = _state_directory()

    @property
    def tries(self) -> str | None:
        """The file for `Lock`; None if no directory can be written."""
        return str(self._path("tries")) if self._directory is not None else None

    def pin(self) -> Sealed:
        """Return the PIN, made now if there is none that can be trusted.

        Processes that start at once agree on one. Where no directory can be written it is
        for this process, and those it forks, only. Any thread.
        """
        if self._directory is not None:
            try:
                return Sealed(self._read() or self._create())
            except OSError:
                pass
        with _here_lock:
            if self._name not in _only_here:
                _only_here[self._name] = Sealed(_new_pin())
            return _only_here[self._name]

    def stored(self) -> Sealed | None:
        """The PIN of the file as it is now; None if there is none that can be trusted."""
        pin = self._read() if self._directory is not None else None
        return Sealed(pin) if pin is not None else None

    def renew(self) -> Sealed | None:
        """Make another PIN, and forgive all wrong ones; None where it cannot be kept.

        Servers that run ask for the new one from then on. Any thread.
        """
        if self._directory is None:
            return None
        try:
            with locked(str(self._path("lock"))):
                pin = _new_pin()
                _write(self._path("pin"), pin)
        except OSError:
            return None
        self.forgive()
        return Sealed(pin)

    def forgive(self) -> None:
        """Let consoles that too many wrong PINs have locked take a PIN again."""
        if self._directory is not None:
            with contextlib.suppress(OSError), locked(str(self._path("tries"))) as fd:
                _save(fd, {})

    def _path(self, kind: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{self._name}.{kind}"

    def _read(self) -> str | None:
        """The PIN, if the file is whole, the user's, and nobody else can read it."""
        try:
            # A link is not followed, and a pipe is not waited for.
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            fd = os.open(self._path("pin"), flags)
        except OSError:
            return None
        try:
            if not _is_private(os.fstat(fd)):
                return None
            text = read_all(fd, 64).decode("ascii", "replace").strip()
        finally:
            os.close(fd)
        return text if _PIN.fullmatch(text) else None

    def _create(self) -> str:
        with locked(str(self._path("lock"))):
            pin = self._read()
            if pin is None:
                pin = _new_pin()
                _write(self._path("pin"), pin)
        return pin


_only_here: Final[dict[str, Sealed]] = {}
_here_lock: Final = native.threading.Lock()


def load_pin(project: str, configured: Sealed | None) -> Sealed | None:
    """Return the PIN to ask for; None if none is asked for.

    Args:
        project: The directory of the project.
        configured: The setting: `off`, or a PIN of four digits or more; None for the stored one.

    Raises:
        ConfigError: It is neither. The message does not repeat it.
    """
    if configured is None:
        return PinStore(project).pin()
    text = configured.reveal().strip()
    if text.lower() == "off":
        return None
    if not re.fullmatch("[0-9-]+", text) or len(_digits(text)) < 4:
        fix = "cannot be used: give at least four digits, with or without dashes, or `off`"
        raise ConfigError("debug_pin", _Unsaid(), fix)
    return Sealed(text)


class _Unsaid:
    """In place of a value that is a secret."""

    def __repr__(self) -> str:
        return "the value"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of a PIN that was entered.

    Args:
        state: `locked`: this run takes no PIN any more.
        left: How many wrong ones it still takes.
    """

    state: Literal["unlocked", "wrong", "locked"]
    left: int


class Lock:
    """Counts wrong PINs; after ten, it refuses all for the rest of the run.

    All processes of a run count together, in a file, across reloads. A run is known by its
    secret, and runs of one project at the same time do not reset each other. An old cookie is
    no try: browsers send them after each restart.

    Args:
        run_secret: The same in all processes of the run.
        state: The file, see `PinStore.tries`; None to count in this process.
    """

    def __init__(self, run_secret: Sealed, state: str | None) -> None:
        name = b"aserve run\0" + bytes.fromhex(run_secret.reveal())
        self._run = hashlib.sha256(name).hexdigest()[:32]
        self._state = state
        self._known = 0
        self._thread_lock = native.threading.Lock()

    def try_pin(self, given: str, pin: Sealed) -> Attempt:
        """Compare in constant time; dashes and spaces do not matter. Any thread.

        It is counted before it is compared, and in the file before the answer is known.

        Args:
            given: What was entered.
            pin: The right one.
        """
        with self._thread_lock:
            if self._state is not None:
                try:
                    with locked(self._state) as fd:
                        counts = _counts(fd)
                        self._known = counts.pop(self._run, 0)
                        if self._known >= MOST_TRIES:
                            return Attempt("locked", 0)
                        _save(fd, {**counts, self._run: self._known + 1})
                        attempt = self._compare(given, pin)
                        if attempt.state == "unlocked":
                            _save(fd, counts)
                        return attempt
                except OSError:
                    pass  # what this process knows is better than nothing
            return self._compare(given, pin)

    def forgive(self) -> None:
        """Forget the wrong ones of this process, for there is another PIN now."""
        with self._thread_lock:
            self._known = 0

    def _compare(self, given: str, pin: Sealed) -> Attempt:
        if self._known >= MOST_TRIES:
            return Attempt("locked", 0)
        if hmac.compare_digest(_comparable(given), _comparable(pin.reveal())):
            self._known = 0
            return Attempt("unlocked", MOST_TRIES)
        self._known += 1
        left = MOST_TRIES - self._known
        return Attempt("wrong" if left else "locked", left)


def cookie_name(project: str) -> str:
    """The name of the cookie: cookies ignore ports, so projects must not share one.

    Args:
        project: Its directory, perhaps with more that tells servers apart, e.g. the port.
    """
    return f"aserve_debug_{hashlib.sha256(os.fsencode(project)).hexdigest()[:8]}"


def cookie_value(run_secret: Sealed, pin: Sealed, now: float) -> str:
    """What proves for one day that the PIN was entered in this run.

    Args:
        run_secret: The same in all processes of the run.
        pin: The right one.
        now: Seconds since 1970.
    """
    expiry = str(int(now) + COOKIE_SECONDS)
    return f"{expiry}.{_signature(run_secret, pin, expiry)}"


def is_valid_cookie(value: str, run_secret: Sealed, pin: Sealed, now: float) -> bool:
    """Whether the value is of `cookie_value`, and not too old. Any text may be asked for."""
    expiry, _, signature = value.partition(".")
    if not re.fullmatch("[0-9]{1,12}", expiry):
        return False
    right = _signature(run_secret, pin, expiry)
    is_ours = hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), right.encode())
    return is_ours and now < int(expiry)


def set_cookie_header(value: str, *, secure: bool, name: str, path: str) -> str:
    """Return the value of the header Set-Cookie.

    Args:
        value: See `cookie_value`.
        secure: For https only.
        name: See `cookie_name`.
        path: As in WSGI: decoded, each byte a character. Empty for the root.
    """
    # As browsers write it in a request; so it can end neither its part nor the header.
    where = quote(path, safe="/:@!$&'()*+,=~", encoding="latin-1", errors="replace")
    header = f"{name}={value}; Max-Age={COOKIE_SECONDS}; Path={where or '/'}"
    return header + "; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")


def _signature(run_secret: Sealed, pin: Sealed, expiry: str) -> str:
    # Of the PIN, too: a new one ends what was unlocked with the one before. Whoever has seen a
    # signature cannot try all PINs, for the secret is nowhere to be seen.
    message = f"aserve cookie\0{expiry}\0{_digits(pin.reveal())}".encode("utf-8", "surrogatepass")
    return hmac.new(bytes.fromhex(run_secret.reveal()), message, hashlib.sha256).hexdigest()


def _digits(pin: str) -> str:
    """Without what people put between the digits."""
    return re.sub(r"[\s-]", "", pin)


def _comparable(pin: str) -> bytes:
    # Of one length, whatever was entered.
    return hashlib.sha256(_digits(pin).encode("utf-8", "surrogatepass")).digest()


def _new_pin() -> str:
    digits = f"{secrets.randbelow(10**9):09}"
    return f"{digits[:3]}-{digits[3:6]}-{digits[6:]}"


def _counts(fd: int) -> dict[str, int]:
    """Wrong tries by run, the latest run last; nothing of lines that are none."""
    found = {}
    for line in read_all(fd, 8192).decode("ascii", "replace").splitlines():
        if match := re.fullmatch("([0-9a-f]{32}) ([0-9]{1,3})", line):
            found[match[1]] = int(match[2])
    return found


def _save(fd: int, counts: dict[str, int]) -> None:
    latest = list(counts.items())[-_MOST_RUNS:]
    data = "".join(f"{run} {count}\n" for run, count in latest).encode()
    os.lseek(fd, 0, os.SEEK_SET)
    # In this order, so that no moment has fewer tries than there were.
    os.write(fd, data)
    os.ftruncate(fd, len(data))


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _is_private(status: os.stat_result) -> bool:
    """Whether it is a file of this user that nobody else can read."""
    if not stat.S_ISREG(status.st_mode):
        return False
    if sys.platform == "win32":
        return True  # who may read it is inherited from the user's directory
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _state_directory() -> Path | None:
    """The directory of aserve's state, made if needed; None if it cannot be this user's own."""
    base = _state_base()
    if base is None or not base.is_absolute():
        return None
    directory = base / "aserve"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sys.platform != "win32":
            status = directory.stat()
            if status.st_uid != os.geteuid():
                return None
            if status.st_mode & 0o077:
                directory.chmod(0o700)
    except (OSError, ValueError):
        return None
    return directory


def _state_base() -> Path | None:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "")
        return Path(local) if local else None
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    if sys.platform != "darwin" and given.is_absolute():
        return given
    try:
        home = Path.home()
    except RuntimeError:
        return None  # neither HOME nor a name for this user
    if sys.platform == "darwin":
        return home / "Library" / "Application Support"
    return home / ".local" / "state"
