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

RIGHT = "123-456-789"
SECRET = b"s" * 32


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


# The PIN


def test_a_pin_is_kept_for_the_user_alone(state: Path, tmp_path: Path) -> None:
    pin = load_pin(str(tmp_path), None)
    assert pin is not None
    assert re.fullmatch(r"\d{3}-\d{3}-\d{3}", pin)
    assert load_pin(str(tmp_path), None) == pin
    (file,) = state.glob("*.pin")
    assert file.stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700
    assert file.read_text() == pin
    assert str(tmp_path.name) not in file.name
    assert not list(state.glob(".*"))  # no half of a file
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert load_pin(str(link), None) == pin
    assert load_pin(str(tmp_path / "other"), None) != pin


def test_processes_that_start_at_once_agree(state: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom aserve.debug.pin import load_pin\nprint('ready', flush=True)\n"
        "sys.stdin.readline()\nprint(load_pin(sys.argv[1], None))"
    )
    pins = run_all(code, str(tmp_path), count=8)
    assert len(set(pins)) == 1
    assert pins[0].strip() == load_pin(str(tmp_path), None)


@pytest.mark.parametrize("damage", ["", "123-456", "123-456-78x", "\0" * 11, "1" * 1000])
def test_a_damaged_file_is_replaced(state: Path, tmp_path: Path, damage: str) -> None:
    load_pin(str(tmp_path), None)
    (file,) = state.glob("*.pin")
    file.write_text(damage)
    pin = load_pin(str(tmp_path), None)
    assert pin == file.read_text() != damage


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_read_is_replaced(state: Path, tmp_path: Path, mode: int) -> None:
    pin = load_pin(str(tmp_path), None)
    (file,) = state.glob("*.pin")
    file.chmod(mode)
    assert load_pin(str(tmp_path), None) != pin
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_link_and_a_pipe_are_replaced(state: Path, tmp_path: Path) -> None:
    pin = load_pin(str(tmp_path), None)
    (file,) = state.glob("*.pin")
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert load_pin(str(tmp_path), None) != pin
    assert not file.is_symlink()
    assert (tmp_path / "elsewhere").read_text() == pin
    file.unlink()
    os.mkfifo(file, 0o600)
    assert load_pin(str(tmp_path), None) == file.read_text()


def test_what_belongs_to_another_is_not_used(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = load_pin(str(tmp_path), None)
    (file,) = state.glob("*.pin")
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    assert not pin_module._is_private(file.stat())
    other = load_pin(str(tmp_path), None)  # of this process: the directory is another's, too
    assert other != pin
    assert load_pin(str(tmp_path), None) == other
    assert file.read_text() == pin


def test_an_open_directory_is_closed(state: Path, tmp_path: Path) -> None:
    state.mkdir(parents=True)
    state.chmod(0o777)
    load_pin(str(tmp_path), None)
    assert state.stat().st_mode & 0o777 == 0o700


def test_no_directory_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    pin = load_pin(str(tmp_path), None)
    assert pin is not None
    assert load_pin(str(tmp_path), None) == pin
    assert PinStore(str(tmp_path)).tries is None
    assert load_pin(str(tmp_path / "other"), None) != pin


def test_a_file_that_cannot_be_replaced(state: Path, tmp_path: Path) -> None:
    load_pin(str(tmp_path), None)
    (file,) = state.glob("*.pin")
    file.unlink()
    (file / "in the way").mkdir(parents=True)
    pin = load_pin(str(tmp_path), None)
    assert pin is not None
    assert load_pin(str(tmp_path), None) == pin


def test_no_home_and_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import pwd

    def nobody(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert PinStore(str(tmp_path)).tries is None
    assert load_pin(str(tmp_path), None)


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
    assert load_pin("/project", configured) == pin


@pytest.mark.parametrize("configured", ["", "123", "1-2-3", "----", "secret", "12 34", "१२३४५"])
def test_what_is_no_pin(configured: str) -> None:
    with pytest.raises(ConfigError, match="debug_pin") as caught:
        load_pin("/project", configured)
    assert not configured or configured not in str(caught.value)
    assert configured not in (caught.value.value, repr(caught.value.value))


# The tries


def test_ten_tries(tries: str) -> None:
    lock = Lock(RIGHT, SECRET, tries)
    for left in range(9, 0, -1):
        assert lock.try_pin("000-000-000") == Attempt("wrong", left)
    assert lock.try_pin("000-000-000") == Attempt("locked", 0)
    assert lock.try_pin(RIGHT) == Attempt("locked", 0)
    assert Lock(RIGHT, SECRET, tries).try_pin(RIGHT) == Attempt("locked", 0)  # after a reload
    assert Lock(RIGHT, b"next", tries).try_pin(RIGHT).state == "unlocked"
    assert Lock(RIGHT, SECRET, tries).try_pin(RIGHT) == Attempt("locked", 0)
    assert Path(tries).stat().st_mode & 0o777 == 0o600
    assert RIGHT not in Path(tries).read_text()


def test_the_right_one_begins_again(tries: str) -> None:
    one, other = Lock(RIGHT, SECRET, tries), Lock(RIGHT, SECRET, tries)
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
    assert (Lock(RIGHT, SECRET, tries).try_pin(given).state == "unlocked") is is_right


def test_runs_at_the_same_time_do_not_reset_each_other(tries: str) -> None:
    one, other = Lock(RIGHT, b"one", tries), Lock(RIGHT, b"other", tries)
    lefts = [(one.try_pin("1").left, other.try_pin("1").left) for _ in range(10)]
    assert lefts == [(left, left) for left in range(9, -1, -1)]
    for number in range(100):
        Lock(RIGHT, str(number).encode(), tries).try_pin("1")
    assert len(Path(tries).read_text().splitlines()) == 64


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\0" * 50, b"x 99\n", b"9" * 10_000])
def test_a_damaged_count(tries: str, content: bytes) -> None:
    Path(tries).write_bytes(content)
    lock = Lock(RIGHT, SECRET, tries)
    assert [lock.try_pin("1").left for _ in range(3)] == [9, 8, 7]


@pytest.mark.parametrize("where", [None, "missing/tries", "pipe", "link", "."])
def test_no_file(tmp_path: Path, where: str | None) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    lock = Lock(RIGHT, SECRET, where and str(tmp_path / where))
    assert [lock.try_pin("1").left for _ in range(5)] == [9, 8, 7, 6, 5]
    assert lock.try_pin(RIGHT).state == "unlocked"
    assert [lock.try_pin("1").left for _ in range(10)] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert lock.try_pin(RIGHT).state == "locked"


def test_a_file_that_goes_bad_forgets_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    lock = Lock(RIGHT, SECRET, str(tmp_path / "state" / "tries"))
    assert [lock.try_pin("1").left for _ in range(3)] == [9, 8, 7]
    (tmp_path / "state").rename(tmp_path / "gone")
    assert [lock.try_pin("1").left for _ in range(7)] == [6, 5, 4, 3, 2, 1, 0]
    assert lock.try_pin(RIGHT).state == "locked"


def test_who_keeps_the_lock(tries: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aserve.debug.lockfile._PATIENCE", 0.05)
    lock = Lock(RIGHT, SECRET, tries)
    lock.try_pin("1")
    with Path(tries).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lock.try_pin("1") == Attempt("wrong", 8)


GUESS = """
import sys, threading
from aserve.debug.pin import Lock

def guess():
    for _ in range(6):
        states.append(lock.try_pin("000").state)

states = []
lock = Lock("123-456-789", b"run", sys.argv[1])
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
    assert Lock(RIGHT, b"run", tries).try_pin(RIGHT).state == "locked"


def test_threads_without_a_file() -> None:
    lock = Lock(RIGHT, SECRET, None)
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
    value = cookie_value(SECRET, RIGHT, now)
    assert re.fullmatch(r"\d+\.[0-9a-f]{64}", value)
    assert is_valid_cookie(value, SECRET, RIGHT, now)
    assert is_valid_cookie(value, SECRET, "123456789", now + COOKIE_SECONDS - 2)
    assert not is_valid_cookie(value, SECRET, RIGHT, now + COOKIE_SECONDS)
    assert not is_valid_cookie(value, b"next run", RIGHT, now)
    assert not is_valid_cookie(value, SECRET, "000-000-000", now)
    expiry, _, signature = value.partition(".")
    assert not is_valid_cookie(f"{int(expiry) + 1}.{signature}", SECRET, RIGHT, now)
    assert not is_valid_cookie(f"0{value}", SECRET, RIGHT, now)


@pytest.mark.parametrize(
    "value", ["", ".", "x", "1", "1.", ".x", "1.é", "1.\udc80", "-1.x", "1e9.x", "१.x",
              "9" * 5000 + ".x", "1.x.y", "1\n.x"]
)  # fmt: skip
def test_what_is_no_cookie(value: str) -> None:
    assert not is_valid_cookie(value, SECRET, RIGHT, 0.0)


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
