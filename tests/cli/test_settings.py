"""Where values come from: flags, variables, `.env` files, pyproject.toml; and `aserve config`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from aserve.cli import main
from aserve.cli.settings import gather
from aserve.errors import ConfigError

Run = Callable[..., subprocess.CompletedProcess[str]]


def _table(text: str) -> dict[str, tuple[str, str]]:
    rows = [line.split(None, 2) for line in text.splitlines()[1:]]
    return {name: (value, source) for name, value, source in rows}


def test_config_shows_every_value_and_its_source(tmp_path: Path, run: Run) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.aserve]\napp = 'shop:app'\nthreads = 3\n")
    (tmp_path / ".env").write_text("ASERVE_GRACE=1.5\nASERVE_BACKLOG=7\nASERVE_PORT=1\n")
    (tmp_path / ".flaskenv").write_text("ASERVE_BACKLOG=8\nASERVE_OPEN=yes\n")
    done = run("config", "--host", "::1", ASERVE_PORT="2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].split() == ["option", "value", "from"]
    table = _table(done.stdout)
    shown = {name: table[name] for name in ("app", "host", "port", "threads", "grace", "backlog")}
    assert shown == {
        "app": ("shop:app", "pyproject.toml"),
        "host": ("::1", "--host"),
        "port": ("2", "ASERVE_PORT"),
        "threads": ("3", "pyproject.toml"),
        "grace": ("1.5", "ASERVE_GRACE in .env"),
        "backlog": ("7", "ASERVE_BACKLOG in .env"),
    }
    assert table["open"] == ("yes", "ASERVE_OPEN in .flaskenv")
    assert table["uds"] == ("-", "default")
    assert table["strict_port"] == ("no", "default")


def test_config_of_an_app(run: Run) -> None:
    for words in (["config", "shop:app"], ["--port", "1", "config"]):
        done = run(*words)
        assert done.returncode == 0
    assert _table(run("config", "shop:app").stdout)["app"] == ("shop:app", "APP")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("pyproject.toml", "[tool.aserve]\nprot = 1\n", "did you mean 'port'?"),
        ("pyproject.toml", "[tool.aserve]\nport = '1'\n", "port in pyproject.toml: '1' must be"),
        ("pyproject.toml", "[tool.aserve\n", "is not valid TOML"),
        ("pyproject.toml", "[tool]\naserve = 1\n", "must be a table: [tool.aserve]"),
        (".env", "ASERVE_PORT=x\n", "ASERVE_PORT in .env: 'x' is not a whole number."),
    ],
)
def test_bad_file_is_one_line(tmp_path: Path, run: Run, file: str, text: str, message: str) -> None:
    (tmp_path / file).write_text(text)
    done = run("config")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_config_names_variables_that_mean_nothing(run: Run) -> None:
    done = run("config", ASERVE_PROT="1", ASERVE_ZZZZZZZ="1")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "aserve: ASERVE_PROT is not an option; did you mean ASERVE_PORT?",
        "aserve: ASERVE_ZZZZZZZ is not an option.",
    ]


def test_files_are_looked_for_upwards(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.aserve]\nport = 5\napp = 'a.py'\n")
    (tmp_path / ".env").write_text("ASERVE_THREADS=6\nOTHER=text\nEMPTY\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    settings = gather({}, directory=below, environment={})
    assert (settings.resolved.config.port, settings.resolved.config.threads) == (5, 6)
    assert settings.resolved.sources["port"].where == "../../pyproject.toml"
    assert settings.variables == {"ASERVE_THREADS": "6", "OTHER": "text"}
    # The app of the file starts at the file; one that is typed starts here.
    assert settings.directory == tmp_path
    assert gather({"app": "a.py"}, directory=below, environment={}).directory == below


def test_search_ends_at_the_nearest_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.aserve]\nport = 5\n")
    below = tmp_path / "a"
    below.mkdir()
    (below / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert gather({}, directory=below, environment={}).resolved.config.port == 8000


def test_directory_called_dot_env_is_no_file(tmp_path: Path) -> None:
    """Some people call their virtual environment so."""
    (tmp_path / ".env").mkdir()
    assert gather({}, directory=tmp_path, environment={}).variables == {}


def test_real_environment_wins_over_files(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=file\nB=file\n")
    settings = gather({}, directory=tmp_path, environment={"A": "real"})
    assert settings.variables == {"B": "file"}


@pytest.mark.parametrize("name", [".env", "pyproject.toml"])
def test_file_of_another_encoding(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"A=\xff\xfe\n")
    with pytest.raises(ConfigError, match="is not encoded as UTF-8"):
        gather({}, directory=tmp_path, environment={})


def test_directory_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["config"]) == 2
    message = "aserve: current directory: '.' was removed; change to another.\n"
    assert capsys.readouterr() == ("", message)
