"""`run(reload=True)`: a program that is run again in each process, and what an app may know."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import DEADLINE, Start, environment
from .test_reload import get, until, write

SCRIPT = """
import sys
import aserve
from words import WORD

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{WORD} {sys.argv[1:]} {__name__}".encode()]

def note(text):
    print(text, file=sys.stderr, flush=True)

if __name__ == "__main__":
    note(f"begins {aserve.is_running_from_reloader()}")
    aserve.on_shutdown(lambda: note("first at the end"))
    aserve.on_reload(lambda: note("only at a reload"))
    aserve.on_shutdown(lambda: 1 / 0)
    aserve.run(app, port=0, reload=aserve.ReloadConfig(reload_grace=2))
    note("behind run")
"""

FORMS = {
    "a file": (["program.py"], "program.py"),
    "a module": (["-m", "program"], "program.py"),
    "a glued module": (["-mprogram"], "program.py"),
    "a package": (["-m", "package"], "package/__main__.py"),
    "a folder": (["folder"], "folder/__main__.py"),
    "a command": (["-c", SCRIPT], "unused.py"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_program_is_run_again(tmp_path: Path, start: Start, form: str) -> None:
    words, place = FORMS[form]
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(SCRIPT)
    beside = path.parent if form == "a folder" else tmp_path
    (beside / "words.py").write_text("WORD = 'one'\n")
    child = start(sys.executable, "-X", "dev", *words, "--an", "argument", raw=True)
    assert get(child) == (200, "one ['--an', 'argument'] __main__")
    (beside / "words.py").write_text("WORD = 'two'\n")
    until(child, "two ['--an', 'argument'] __main__")
    child.wait_for("only at a reload\n(.*\n)*first at the end")
    assert child.end(signal.SIGINT) == 0
    # The supervisor has begun, too, and does not go on behind `run`.
    assert re.findall(r"begins (\w+)", child.errors) == ["False", "True", "True"]
    assert child.errors.count("behind run") == 1
    assert child.errors.count("first at the end") == 2
    assert child.errors.count("only at a reload") == 1
    assert child.errors.count("ZeroDivisionError: division by zero") == 2


@pytest.mark.parametrize("more", ["", ", reload=True"])
def test_hooks_are_the_same_with_the_reloader(tmp_path: Path, start: Start, more: str) -> None:
    (tmp_path / "program.py").write_text(
        "import sys, aserve\n"
        "def app(environ, start_response):\n"
        "    raise LookupError('this')\n"
        "def tell(record):\n"
        "    print('told of', repr(record.error), file=sys.stderr, flush=True)\n"
        "if __name__ == '__main__':\n"
        f"    aserve.run(app, port=0, hooks=aserve.Hooks(on_error=tell){more})\n"
    )
    child = start(sys.executable, "program.py", raw=True)
    assert get(child)[0] == 500
    child.wait_for(r"told of LookupError\('this'\)")


def test_an_edit_of_the_program_itself(tmp_path: Path, start: Start) -> None:
    program = tmp_path / "program.py"
    (tmp_path / "words.py").write_text("WORD = 'one'\n")
    program.write_text(SCRIPT)
    child = start(sys.executable, "program.py", raw=True)
    assert get(child)[1].startswith("one")
    program.write_text(SCRIPT.replace("{WORD}", "{WORD * 2}"))
    until(child, "oneone")
    program.write_text("import nonsense_\n")
    assert until(child, "No module named 'nonsense_'").startswith("500")
    program.write_text("print('nothing to serve')\n")
    until(child, "has ended without serving an app")
    program.write_text(SCRIPT)
    until(child, "one []")
    assert child.end() == 0


def test_a_program_that_cannot_be_run_again(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-"],
        input="import aserve\naserve.run(lambda e, s: [], port=0, reload=True)\n",
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 1
    assert "reload: True needs a program that can be run again" in done.stderr


def test_only_the_main_thread_supervises(tmp_path: Path) -> None:
    program = (
        "import aserve, threading\n"
        "def work():\n"
        "    try: aserve.run(lambda e, s: [], port=0, processes=2)\n"
        "    except aserve.ConfigError as error: print(error)\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()\n"
    )
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    assert done.stdout == "processes: 2 works in the main thread only\n"


def test_a_function_that_takes_long_at_the_end_is_left_behind(tmp_path: Path, start: Start) -> None:
    write(tmp_path / "app.py", "one")
    text = (tmp_path / "app.py").read_text()
    (tmp_path / "app.py").write_text(
        "import aserve, threading\n"
        "@aserve.on_shutdown\ndef forever(): threading.Event().wait()\n" + text
    )
    child = start("app.py", "--port", "0", "--reload")
    assert get(child) == (200, "one")
    assert child.end() == 0
    assert "forever takes longer than 2 s" in child.errors


@pytest.mark.parametrize("words", [["--no-reload"], ["--reload"]])
def test_the_command_line_calls_them_too(tmp_path: Path, start: Start, words: list[str]) -> None:
    write(tmp_path / "app.py", "one")
    text = (tmp_path / "app.py").read_text()
    (tmp_path / "app.py").write_text(
        "import aserve, sys\n"
        "@aserve.on_shutdown\ndef say(): print('closed', file=sys.stderr, flush=True)\n" + text
    )
    child = start("app.py", "--port", "0", *words)
    assert get(child) == (200, "one")
    assert child.end() == 0
    assert child.errors.count("closed\n") == 1


WANDERS = """
import os, sys
os.environ["WORD_SET"] = "one"
os.chdir("sub")
sys.path.insert(0, "elsewhere")
import aserve
from words import WORD

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    told = (os.environ.get("WORD_SET"), os.path.basename(os.getcwd()), sys.path.count("elsewhere"))
    return [f"{WORD} {told}".encode()]

if __name__ == "__main__":
    aserve.run(app, port=0, reload=True)
"""


def test_what_the_first_run_has_set_is_not_handed_on(tmp_path: Path, start: Start) -> None:
    """It is set again by those lines that are still there, in a process like the first one."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "words.py").write_text("WORD = 'first'\n")
    (tmp_path / "program.py").write_text(WANDERS)
    child = start(sys.executable, "program.py", raw=True)
    assert get(child)[1] == "first ('one', 'sub', 1)"
    edited = WANDERS.replace('os.environ["WORD_SET"] = "one"\n', "")
    (tmp_path / "program.py").write_text(edited)
    assert until(child, "None") == "200 first (None, 'sub', 1)"
    (tmp_path / "words.py").write_text("WORD = 'second'\n")
    assert until(child, "second") == "200 second (None, 'sub', 1)"
    assert child.end() == 0
