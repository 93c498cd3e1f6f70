"""`wait_for_callback`, for programs without a loop."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

import aserve
from aserve import (
    CallbackError,
    CallbackOptions,
    CallbackServer,
    CallbackTimeout,
    ConfigError,
    wait_for_callback,
)

from ..helpers import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_is_left")

LOCATION = Path(aserve.__file__).parents[1]


def visit(url: str) -> None:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        assert answer.status == 200


def test_the_program_opens_the_page_itself() -> None:
    places: list[threading.Thread] = []

    def authorize(cb: CallbackServer) -> None:
        places.append(threading.current_thread())
        visit(f"{cb.url}?code=1&state={cb.state}")

    params = wait_for_callback(authorize, "/done", timeout=PATIENCE)
    assert params["code"] == "1"
    assert places == [threading.current_thread()]


def test_address_is_shown_where_there_is_no_browser(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)

    def authorize(cb: CallbackServer) -> str:
        cb.feed("code=1&state=s")
        return "https://provider.test/?a=b"

    assert wait_for_callback(authorize, state="s", timeout=PATIENCE)["code"] == "1"
    assert (
        capsys.readouterr().err == "Open this address in a browser:\nhttps://provider.test/?a=b\n"
    )


def test_what_goes_wrong_is_raised() -> None:
    with pytest.raises(CallbackTimeout):
        wait_for_callback(lambda cb: None, timeout=0)
    with pytest.raises(CallbackError, match="access_denied"):
        wait_for_callback(lambda cb: cb.feed(f"error=access_denied&state={cb.state}"))
    with pytest.raises(ConfigError, match="path"):
        wait_for_callback(lambda cb: None, "callback")

    def fail(cb: CallbackServer) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        wait_for_callback(fail, options=CallbackOptions(check_state=False))


_PROGRAM = """
import aserve
try:
    aserve.wait_for_callback(lambda cb: print(cb.url, flush=True))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_ends_it() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        env={"PYTHONPATH": str(LOCATION)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "interrupted\n", "")
