"""Help, version, completion, wrong usage: what is answered without serving."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

import aserve
from aserve.config import iter_options

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_help_is_grouped_and_short(run: Run) -> None:
    done = run("--help", COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    # One or two screens.
    assert len(lines) <= 90
    assert max(map(len, lines)) <= 100
    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == [
        "APP:", "Listening:", "HTTPS:", "Serving:", "Reloading:", "Debugging:", "Output:",
        "Other:", "Examples:", "Exit status:",
    ]  # fmt: skip
    assert "aserve demo" in done.stdout
    assert "--limit-request-line" not in done.stdout


def test_long_help_has_every_option(run: Run) -> None:
    text = run("--help-all", COLUMNS="100").stdout
    assert "Limits:" in text
    for option in iter_options():
        for flag in (*option.flags, option.off_flag):
            assert flag is None or flag in text


def test_help_fits_a_narrow_terminal(run: Run) -> None:
    done = run("--help", COLUMNS="60")
    assert max(map(len, done.stdout.splitlines())) <= 60


@pytest.mark.parametrize(
    ("word", "usage"), [("demo", "demo [OPTIONS]"), ("config", "config [OPTIONS] [APP]")]
)
def test_help_of_the_other_commands(run: Run, word: str, usage: str) -> None:
    assert run(word, "--help").stdout.startswith(f"Usage: aserve {usage}\n")


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"aserve {aserve.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strict-prt"], "No such option '--strict-prt'. Did you mean '--strict-port'?"),
        (["--port"], "Option '--port' requires an argument."),
        (["a", "b"], "Got unexpected extra argument (b)"),
        (["--port", "x"], "--port: 'x' is not a whole number."),
        (["--port", "70000"], "--port: 70000 is not between 0 and 65535."),
        (["--reloader", "guess"], "--reloader: 'guess' is not one of auto, watchfiles, stat."),
        (["--host", ""], "--host: '' is empty; give a value or leave the option away."),
    ],
)
def test_wrong_usage_is_one_line(run: Run, words: list[str], message: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"aserve: {message}")
    assert len(done.stderr.splitlines()) == 1


def _complete(run: Run, words: str, index: int) -> list[str]:
    variables = {"COMP_WORDS": words, "COMP_CWORD": str(index)}
    return run(_ASERVE_COMPLETE="bash_complete", **variables).stdout.split()


def test_completion(run: Run) -> None:
    assert _complete(run, "aserve ", 1) == [
        "plain,demo", "plain,config", "plain,callback", "plain,trust", "plain,untrust", "plain,pin",
        "file,",
    ]  # fmt: skip
    assert _complete(run, "aserve d", 1) == ["plain,demo", "file,d"]
    assert _complete(run, "aserve config a", 2) == ["file,a"]
    assert "plain,--port" in _complete(run, "aserve --po", 1)
    choices = ["plain,auto", "plain,watchfiles", "plain,stat"]
    assert _complete(run, "aserve --reloader ", 2) == choices
    assert _complete(run, "aserve --uds x", 2) == ["file,x"]
    assert _complete(run, "aserve --port ", 2) == []


def test_completion_script_names_the_command(run: Run) -> None:
    assert "_ASERVE_COMPLETE" in run(_ASERVE_COMPLETE="zsh_source").stdout
