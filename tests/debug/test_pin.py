"""`aserve.debug.pin`: where it comes from, how often it may be guessed, and its cookie."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from aserve.debug import pin as pin_module
from aserve.debug.pin import (
    COOKIE_SECONDS,
    MOST_TRIES,
    Attempt,
    Lock,
    PinStore,
    cookie_name,
    cookie_value,
    is_valid_cookie,
    load_pin,
    set_cookie_header,
)
from aserve.errors import ConfigError
from aserve.sealed import Sealed

RIGHT = "123-456-789"
SECRET = b"s" * 32


class Tries:
    """A lock whose right PIN is `RIGHT`."""

    def __init__(self, secret: bytes, state: str | None) -> None:
        self._lock = Lock(Sealed(secret.hex()), state)

    def try_pin(self, given: str) -> Attempt:
        return self._lock.try_pin(given, Sealed(RIGHT))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of aserve's state."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path / "state" / "aserve"


@pytest.fixture
def tries(tmp_path: Path) -> str:
    return str(tmp_path / "tries")


def run_all(code: str, *arguments: str, count: int) -> list[str]:
    """Start processes at once, and return what each of them printed."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(count)
    ]  # fmt: skip
    try:
        for process in processes:  # all have started
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [process.communicate(timeout=50)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def loaded(project: str) -> str:
    """The PIN of a project."""
    pin = load_pin(project, None)
    assert pin is not None
    return pin.reveal()


# The PIN


def test_a_pin_is_kept_for_the_user_alone(state: Path, tmp_path: Path) -> None:
    pin = loaded(str(tmp_path))
    assert pin is not None
    assert re.fullmatch(r"\d{3}-\d{3}-\d{3}", pin)
    assert loaded(str(tmp_path)) == pin
    (file,) = state.glob("*.pin")
    assert file.stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700
    assert file.read_text() == pin
    assert str(tmp_path.name) not in file.name
    assert not list(state.glob(".*"))  # no half of a file
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert loaded(str(link)) == pin
    assert loaded(str(tmp_path / "other")) != pin


def test_processes_that_start_at_once_agree(state: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom aserve.debug.pin import load_pin\nprint('ready', flush=True)\n"
        "sys.stdin.readline()\nprint(load_pin(sys.argv[1], None).reveal())"
    )
    pins = run_all(code, str(tmp_path), count=8)
    assert len(set(pins)) == 1
    assert pins[0].strip() == loaded(str(tmp_path))


@pytest.mark.parametrize("damage", ["", "123-456", "123-456-78x", "\0" * 11, "1" * 1000])
def test_a_damaged_file_is_replaced(state: Path, tmp_path: Path, damage: str) -> None:
    loaded(str(tmp_path))
    (file,) = state.glob("*.pin")
    file.write_text(damage)
    pin = loaded(str(tmp_path))
    assert pin == file.read_text() != damage


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_read_is_replaced(state: Path, tmp_path: Path, mode: int) -> None:
    pin = loaded(str(tmp_path))
    (file,) = state.glob("*.pin")
    file.chmod(mode)
    assert loaded(str(tmp_path)) != pin
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_link_and_a_pipe_are_replaced(state: Path, tmp_path: Path) -> None:
    pin = loaded(str(tmp_path))
    (file,) = state.glob("*.pin")
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert loaded(str(tmp_path)) != pin
    assert not file.is_symlink()
    assert (tmp_path / "elsewhere").read_text() == pin
    file.unlink()
    os.mkfifo(file, 0o600)
    assert loaded(str(tmp_path)) == file.read_text()


def test_what_belongs_to_another_is_not_used(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = loaded(str(tmp_path))
    (file,) = state.glob("*.pin")
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    assert not pin_module._is_private(file.stat())
    other = loaded(str(tmp_path))  # of this process: the directory is another's, too
    assert other != pin
    assert loaded(str(tmp_path)) == other
    assert file.read_text() == pin


def test_an_open_directory_is_closed(state: Path, tmp_path: Path) -> None:
    state.mkdir(parents=True)
    state.chmod(0o777)
    loaded(str(tmp_path))
    assert state.stat().st_mode & 0o777 == 0o700


def test_no_directory_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    pin = loaded(str(tmp_path))
    assert pin is not None
    assert loaded(str(tmp_path)) == pin
    assert PinStore(str(tmp_path)).tries is None
    assert loaded(str(tmp_path / "other")) != pin


def test_a_file_that_cannot_be_replaced(state: Path, tmp_path: Path) -> None:
    loaded(str(tmp_path))
    (file,) = state.glob("*.pin")
    file.unlink()
    (file / "in the way").mkdir(parents=True)
    pin = loaded(str(tmp_path))
    assert pin is not None
    assert loaded(str(tmp_path)) == pin


def test_no_home_and_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import pwd

    def nobody(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert PinStore(str(tmp_path)).tries is None
    assert loaded(str(tmp_path))


@pytest.mark.parametrize(
    ("platform", "names", "expected"),
    [
        ("linux", {}, "home/.local/state/aserve"),
        ("linux", {"XDG_STATE_HOME": "not/absolute"}, "home/.local/state/aserve"),
        ("darwin", {}, "home/Library/Application Support/aserve"),
    ],
)
def test_directories(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    names: dict[str, str],
    expected: str,
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    path = PinStore("/project").tries
    assert path is not None
    assert Path(path).parent == tmp_path / expected


@pytest.mark.parametrize(
    ("configured", "pin"),
    [("off", None), ("OFF", None), ("1234", "1234"), ("12-34", "12-34"), (" 1-2-3-4 ", "1-2-3-4")],
)
def test_a_configured_pin(configured: str, pin: str | None) -> None:
    found = load_pin("/project", Sealed(configured))
    assert (found and found.reveal()) == pin


@pytest.mark.parametrize("configured", ["", "123", "1-2-3", "----", "secret", "12 34", "१२३४५"])
def test_what_is_no_pin(configured: str) -> None:
    with pytest.raises(ConfigError, match="debug_pin") as caught:
        load_pin("/project", Sealed(configured))
    assert not configured or configured not in str(caught.value)
    assert configured not in (caught.value.value, repr(caught.value.value))


# The tries


def test_ten_tries(tries: str) -> None:
    lock = Tries(SECRET, tries)
    for left in range(9, 0, -1):
        assert lock.try_pin("000-000-000") == Attempt("wrong", left)
    assert lock.try_pin("000-000-000") == Attempt("locked", 0)
    assert lock.try_pin(RIGHT) == Attempt("locked", 0)
    assert Tries(SECRET, tries).try_pin(RIGHT) == Attempt("locked", 0)  # after a reload
    assert Tries(b"next", tries).try_pin(RIGHT).state == "unlocked"
    assert Tries(SECRET, tries).try_pin(RIGHT) == Attempt("locked", 0)
    assert Path(tries).stat().st_mode & 0o777 == 0o600
    assert RIGHT not in Path(tries).read_text()


def test_the_right_one_begins_again(tries: str) -> None:
    one, other = Tries(SECRET, tries), Tries(SECRET, tries)
    for _ in range(5):
        for _ in range(9):
            assert one.try_pin("1").state == "wrong"
        assert other.try_pin("123456789") == Attempt("unlocked", MOST_TRIES)


@pytest.mark.parametrize(
    ("given", "is_right"),
    [("123456789", True), (" 123 456-789\n", True), ("12-34-56-78-9", True), ("", False),
     ("12345678", False), ("1234567890", False), ("é\udc80\0", False), ("1" * 100_000, False)],
)  # fmt: skip
def test_what_is_given(tries: str, given: str, is_right: bool) -> None:
    assert (Tries(SECRET, tries).try_pin(given).state == "unlocked") is is_right


def test_runs_at_the_same_time_do_not_reset_each_other(tries: str) -> None:
    one, other = Tries(b"one", tries), Tries(b"other", tries)
    lefts = [(one.try_pin("1").left, other.try_pin("1").left) for _ in range(10)]
    assert lefts == [(left, left) for left in range(9, -1, -1)]
    for number in range(100):
        Tries(str(number).encode(), tries).try_pin("1")
    assert len(Path(tries).read_text().splitlines()) == 64


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\0" * 50, b"x 99\n", b"9" * 10_000])
def test_a_damaged_count(tries: str, content: bytes) -> None:
    Path(tries).write_bytes(content)
    lock = Tries(SECRET, tries)
    assert [lock.try_pin("1").left for _ in range(3)] == [9, 8, 7]


@pytest.mark.parametrize("where", [None, "missing/tries", "pipe", "link", "."])
def test_no_file(tmp_path: Path, where: str | None) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    lock = Tries(SECRET, where and str(tmp_path / where))
    assert [lock.try_pin("1").left for _ in range(5)] == [9, 8, 7, 6, 5]
    assert lock.try_pin(RIGHT).state == "unlocked"
    assert [lock.try_pin("1").left for _ in range(10)] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert lock.try_pin(RIGHT).state == "locked"


def test_a_file_that_goes_bad_forgets_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    lock = Tries(SECRET, str(tmp_path / "state" / "tries"))
    assert [lock.try_pin("1").left for _ in range(3)] == [9, 8, 7]
    (tmp_path / "state").rename(tmp_path / "gone")
    assert [lock.try_pin("1").left for _ in range(7)] == [6, 5, 4, 3, 2, 1, 0]
    assert lock.try_pin(RIGHT).state == "locked"


def test_who_keeps_the_lock(tries: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aserve.debug.lockfile._PATIENCE", 0.05)
    lock = Tries(SECRET, tries)
    lock.try_pin("1")
    with Path(tries).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lock.try_pin("1") == Attempt("wrong", 8)


GUESS = """
import sys, threading
from aserve.debug.pin import Lock
from aserve.sealed import Sealed

def guess():
    for _ in range(6):
        states.append(lock.try_pin("000", Sealed("123-456-789")).state)

states = []
lock = Lock(Sealed(b"run".hex()), sys.argv[1])
threads = [threading.Thread(target=guess) for _ in range(3)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(*states)
"""


def test_many_processes_and_threads_have_ten_tries_together(tries: str) -> None:
    outputs = run_all(GUESS, tries, count=6)
    counts = Counter(" ".join(outputs).split())
    # The tenth locks.
    assert counts == {"wrong": 9, "locked": 6 * 3 * 6 - 9}
    assert Tries(b"run", tries).try_pin(RIGHT).state == "locked"


def test_threads_without_a_file() -> None:
    lock = Tries(SECRET, None)
    states: list[str] = []
    threads = [
        threading.Thread(target=lambda: states.extend(lock.try_pin("0").state for _ in range(9)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(states) == {"wrong": 9, "locked": 27}


# The cookie


def test_a_cookie_is_of_a_run_and_a_pin_for_a_day() -> None:
    now = 1_000_000.5
    secret, right = Sealed(SECRET.hex()), Sealed(RIGHT)
    value = cookie_value(secret, right, now)
    assert re.fullmatch(r"\d+\.[0-9a-f]{64}", value)
    assert is_valid_cookie(value, secret, right, now)
    assert is_valid_cookie(value, secret, Sealed("123456789"), now + COOKIE_SECONDS - 2)
    assert not is_valid_cookie(value, secret, right, now + COOKIE_SECONDS)
    assert not is_valid_cookie(value, Sealed(b"next".hex()), right, now)
    assert not is_valid_cookie(value, secret, Sealed("000-000-000"), now)
    expiry, _, signature = value.partition(".")
    assert not is_valid_cookie(f"{int(expiry) + 1}.{signature}", secret, right, now)
    assert not is_valid_cookie(f"0{value}", secret, right, now)


@pytest.mark.parametrize(
    "value", ["", ".", "x", "1", "1.", ".x", "1.é", "1.\udc80", "-1.x", "1e9.x", "१.x",
              "9" * 5000 + ".x", "1.x.y", "1\n.x"]
)  # fmt: skip
def test_what_is_no_cookie(value: str) -> None:
    assert not is_valid_cookie(value, Sealed(SECRET.hex()), Sealed(RIGHT), 0.0)


def test_the_header() -> None:
    name = cookie_name("/project")
    assert re.fullmatch("aserve_debug_[0-9a-f]{8}", name)
    assert name != cookie_name("/other")
    assert set_cookie_header("v", secure=False, name=name, path="") == (
        f"{name}=v; Max-Age=86400; Path=/; HttpOnly; SameSite=Strict"
    )
    assert set_cookie_header("v", secure=True, name="n", path="/a b/é;\r\n").endswith(
        "; Path=/a%20b/%E9%3B%0D%0A; HttpOnly; SameSite=Strict; Secure"
    )


# A way back


def test_a_new_pin_forgives(state: Path, tmp_path: Path) -> None:
    store = PinStore(str(tmp_path))
    old = loaded(str(tmp_path))
    lock = Lock(Sealed(SECRET.hex()), store.tries)
    for _ in range(MOST_TRIES):
        lock.try_pin("1", Sealed(old))
    assert lock.try_pin(old, Sealed(old)).state == "locked"
    new = store.renew()
    assert new is not None
    assert new.reveal() == loaded(str(tmp_path)) != old
    assert store.stored() == new
    assert lock.try_pin(new.reveal(), new).state == "unlocked"


def test_a_new_pin_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert PinStore(str(tmp_path)).renew() is None
    assert PinStore(str(tmp_path)).stored() is None
