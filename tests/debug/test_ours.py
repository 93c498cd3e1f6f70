"""What belongs to this package has no parts, wherever it is found; and the PIN is nowhere."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

import aserve
from aserve import config, demo
from aserve.config import ServerConfig
from aserve.debug import DebuggedApplication, DebugSettings
from aserve.debug.capture import capture
from aserve.debug.peek import is_ours
from aserve.debug.places import variables
from aserve.debug.values import can_expand, children, describe, look_up
from aserve.sealed import Sealed
from aserve.server import Server
from aserve.types import Environ, StartResponse

from .support import PAGE, PIN, Client, ask


@pytest.fixture(autouse=True)
def state(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Derived(DebuggedApplication):
    """A user's class with a base of ours."""


def generator() -> Any:
    """One of our code."""
    return aserve.open_server(demo.app).gen  # type: ignore[attr-defined]


APP = DebuggedApplication(lambda environ, start_response: [], True)
OURS: dict[str, Any] = {
    "instance": APP,
    "dataclass": ServerConfig(),
    "settings": DebugSettings(pin=PIN),
    "class": Server,
    "derived class": Derived,
    "derived": Derived(lambda environ, start_response: []),
    "module": config,
    "package": aserve,
    "globals": vars(config),
    "function": aserve.run,
    "method": APP.fail,
    "slot": APP.__repr__,
    "code": aserve.run.__code__,
    "partial": functools.partial(aserve.run, 1),
    "generator": generator(),
    "sealed": Sealed(PIN),
    "error": aserve.errors.ConfigError("debug_pin", PIN, "is wrong"),
}
THEIRS: dict[str, Any] = {
    "dict": {"__name__": "aserve"},
    "namespace": SimpleNamespace(__module__="other"),
    "function": lambda: 1,
    "class": Client,
    "module": threading,
    "globals": globals(),
    "demo": demo.app,
    "list": [APP],
    "text": "aserve.server",
    "name": type("Name", (), {"__module__": "aserved.x"})(),
}


@pytest.mark.parametrize("kind", OURS)
def test_ours_is_closed(kind: str) -> None:
    obj = OURS[kind]
    assert is_ours(obj)
    assert not can_expand(obj)
    assert children(obj) == ()
    (value,) = describe([("x", obj)])
    assert PIN not in value.text
    assert "(" not in value.text
    (inside,) = describe([("x", [obj])])
    assert inside.text == f"[{value.text}]"
    with pytest.raises(LookupError):
        look_up({"x": [obj]}, ["x", 0, 0])


@pytest.mark.parametrize("kind", THEIRS)
def test_theirs_is_open(kind: str) -> None:
    assert not is_ours(THEIRS[kind])


def test_frames_of_ours_have_no_variables() -> None:
    try:
        ServerConfig(port=-1)
    except ValueError as error:
        captured = capture(error)
    frames = {frame.f_code.co_name: frame for frame in captured.frames}
    assert variables(frames["check_value"]) == []
    assert variables(frames["test_frames_of_ours_have_no_variables"]) != []


def fails_with_environment(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    everything = dict(os.environ)
    copied = os.environ.copy()
    text = str(everything)
    typed = f"the PIN is {copied.get('ASERVE_DEBUG_PIN')} or {PIN.replace('-', '')}"
    number = int(PIN.replace("-", ""))
    nested = [[[{"any": typed}]]]
    raise LookupError(f"{typed} {everything.get('ASERVE_DEBUG_PIN')} {number} {len(text)} {nested}")


def test_the_pin_is_on_no_page_and_in_no_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody has copied it before it was taken out of the environment."""
    monkeypatch.setenv("ASERVE_DEBUG_PIN", PIN)
    monkeypatch.setattr("aserve.debug.settings._found", [])
    client = Client(fails_with_environment, pin=None)
    assert "ASERVE_DEBUG_PIN" not in os.environ
    client.unlock()
    shown = [client.page.text, caplog.text]
    shown.append(ask(client.app, f"/{PIN}", HTTP_ACCEPT="text/plain").text)
    shown.append(ask(client.app, f"/{PIN}", QUERY_STRING=f"a={PIN}", HTTP_X=PIN, **PAGE).text)
    shown.append(client.send("locals", frame=0).text)
    names = ("everything", "copied", "typed", "number", "nested")
    shown += [client.send("expand", frame=0, path=[name]).text for name in names]
    shown.append(caplog.text)
    for text in shown:
        assert PIN not in text
        assert PIN.replace("-", "") not in text
    assert "&lt;hidden&gt;" in client.page.text
    assert "<hidden>" in caplog.text


def test_the_way_that_led_to_the_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    """`environ['aserve.server'].app....gate._pin`: also with the PIN it ends at our objects."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ["aserve.server"] = SimpleNamespace(app=client_app[0])
        held = client_app[0]
        raise LookupError(type(held).__name__)

    client_app: list[Any] = [None]
    client = Client(app)
    client_app[0] = client.app
    client.page = ask(client.app, **PAGE)
    client.settings = client.page.settings
    client.unlock()
    found = client.command("locals", frame=0)["values"]
    held = next(value for value in found if value["name"] == "held")
    assert (held["can_expand"], held["text"]) == (False, "<DebuggedApplication of aserve>")
    assert client.command("expand", frame=0, path=["held"])["values"] == []
    assert client.command("expand", frame=0, path=["held", 0])["error"] == "bad-request"


def test_showing_the_pin_and_opening_files_have_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page on this machine can ask for them."""
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "__stderr__", terminal)
    clock = [100.0]
    monkeypatch.setattr("aserve.pause.time.monotonic", lambda: clock[0])
    client = Client()
    # Without a console there is no PIN, and so a pause here, too.
    bare = DebuggedApplication(LookupError, settings=DebugSettings(editor=sys.executable + " -V"))
    opening = Client()
    opening.app, opening.settings = bare, ask(bare, **PAGE).settings
    answers = [opening.command("open", frame=0) for _ in range(3)]
    assert [answer.get("message") for answer in answers][1:] == ["One file in two seconds."] * 2
    for _ in range(5):
        assert client.command("show-pin") == {"ok": True, "printed": True}
    assert terminal.getvalue().count(PIN) == 1
    clock[0] += 2.0
    client.command("show-pin")
    assert terminal.getvalue().count(PIN) == 2


def test_sealed_texts() -> None:
    sealed = Sealed(PIN)
    assert sealed.reveal() == PIN
    assert sealed == Sealed.of(sealed) == Sealed.of(PIN)
    assert sealed != Sealed("other")
    assert sealed != PIN
    assert hash(sealed) == hash(Sealed("other"))
    assert PIN not in repr(sealed) + repr(vars(type(sealed))) + repr(sealed._bytes)
    for text in ("", "x" * 1000, "é\udc80"):
        assert Sealed(text).reveal() == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("123-456-789", "*"), ("x123456789y", "x*y"), ("123 456 789.", "*."), ("1-23456789", "*"),
        ("0123456789", "0*"), ("1234567890", "*0"), ("123--456", "123--456"),
        ("%22123-456-789%22", "%22*%22"), ("123.456.789", "*"), ("123,456,789", "*"),
        ("123\u2010456\u2011789", "*"), ("123_456_789", "*"),
        ("2026-01-01 123-456-789 1", "2026-01-01 * 1"), ("123456789-123456789", "*-*"),
        ("12 34 56", "12 34 56"), ("", ""),
    ],
)  # fmt: skip
def test_hiding_digits(text: str, shown: str) -> None:
    assert Sealed(PIN).hide_in(text, "*") == shown


def test_a_short_one_is_hidden_only_as_a_whole() -> None:
    assert Sealed("1234").hide_in("1234 12345 01234 12-34", "*") == "* 12345 01234 *"


def test_nothing_is_hidden_of_a_pin_that_is_off() -> None:
    assert Sealed("off").hide_in("off 1234", "*") == "off 1234"
