"""The reloader's keys, and debuggers at the same terminal."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .terminal import Terminal
from .test_reload import ask, write

# A view with a prompt of a debugger in it.
ASKING = """
WORD = {word!r}
def app(environ, start_response):
    if environ["PATH_INFO"] == "/ask":
        {prompt}
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [WORD.encode()]
"""

PROMPTS = {
    "breakpoint()": "(Pdb)",
    "import pdb; pdb.set_trace()": "(Pdb)",
    "import code; code.interact(banner='', exitmsg='')": ">>>",
    "input('Well? ')": "Well?",
}


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def open_it(*words: str, **variables: str) -> Terminal:
        made.append(Terminal(tmp_path, "app.py", "--port", "0", *words, **variables))
        return made[-1]

    yield open_it
    for terminal in made:
        terminal.end()


def test_the_keys(tmp_path: Path, open_terminal: Callable[..., Terminal]) -> None:
    write(tmp_path / "app.py", "one")
    # The variable is the one of Python's `webbrowser`.
    terminal = open_terminal(BROWSER="echo opened-%s")
    port = terminal.port
    terminal.wait_for("h for")
    terminal.type("h")
    terminal.wait_for("Keys: r reload")
    terminal.type("r")
    terminal.wait_for("Asked to reload, reloading took")
    assert ask(port) == (200, "one")
    terminal.type("o")
    terminal.wait_for(f"opened-http://localhost:{port}")
    terminal.type("c")
    terminal.wait_for("\x1b[2J")
    terminal.type("xr")  # one that means nothing, and one that does
    terminal.wait_for("Asked to reload, reloading took")
    terminal.type("q")
    assert terminal.wait() == 0
    assert terminal.is_as_usual()


def test_the_terminal_is_as_it_was_after_ctrl_c(
    tmp_path: Path, open_terminal: Callable[..., Terminal]
) -> None:
    write(tmp_path / "app.py", "one")
    terminal = open_terminal()
    _ = terminal.port
    terminal.type("h")
    terminal.wait_for("Keys:")
    assert not terminal.is_as_usual()
    terminal.type("\x03")
    assert terminal.wait() == 0
    assert terminal.is_as_usual()


@pytest.mark.parametrize(("prompt", "shown"), PROMPTS.items())
def test_a_save_waits_for_the_prompt(
    tmp_path: Path, open_terminal: Callable[..., Terminal], prompt: str, shown: str
) -> None:
    app = tmp_path / "app.py"
    app.write_text(ASKING.format(word="one", prompt=prompt))
    terminal = open_terminal()
    port = terminal.port
    answers: list[tuple[int, str]] = []
    asking = threading.Thread(target=lambda: answers.append(ask(port, "/ask")))
    asking.start()
    terminal.wait_for(shown)
    terminal.output = ""
    app.write_text(ASKING.format(word="two", prompt=prompt))
    terminal.wait_for("it is loaded when the debugger's prompt is left")
    assert ask(port) == (200, "one")
    # None of these keys is the supervisor's.
    if "Pdb" in shown:
        terminal.type("p 'q' * 3\n")
        terminal.wait_for("'qqq'")
        terminal.type("c\n")
    else:
        terminal.type("\x04" if shown == ">>>" else "qr\n")
    terminal.wait_for("reloading (edited) took")
    asking.join()
    assert answers == [(200, "one")]
    assert ask(port) == (200, "two")
    terminal.type("h")
    terminal.wait_for("Keys:")


def test_a_prompt_that_is_killed_leaves_the_terminal_usable(
    tmp_path: Path, open_terminal: Callable[..., Terminal]
) -> None:
    app = tmp_path / "app.py"
    app.write_text(ASKING.format(word="one", prompt="import readline; breakpoint()"))
    terminal = open_terminal("--reload-grace", "0")
    port = terminal.port

    def fail() -> None:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(port, "/ask")

    asking = threading.Thread(target=fail)
    asking.start()
    terminal.wait_for("(Pdb)")
    terminal.output = ""
    os.kill(terminal.pid, signal.SIGHUP)  # a person who insists
    terminal.wait_for("reloading took")
    asking.join()
    assert ask(port) == (200, "one")
    # Not before the process has ended, which is two seconds behind the grace.
    while "Keys:" not in terminal.output:
        os.write(terminal.master, b"h\n")
        terminal.output += os.read(terminal.master, 65_536).decode()
    terminal.type("q")
    assert terminal.wait() == 0
    assert terminal.is_as_usual()
