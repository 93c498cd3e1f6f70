"""The servers, as data, and the environment that the peers live in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from ..common import ENVIRONMENTS, BenchmarkError

_RIVALS: Final = Path(__file__).with_name("rivals.txt")
_LAUNCH: Final = "benchmarks.http.launch"


class Certificate(NamedTuple):
    """Two PEM files."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Server:
    """How to start one server in one configuration.

    Args:
        name: What `--server` and the table call it.
        family: The project; goals compare with the fastest configuration of a family.
        arguments: What follows the interpreter; `{app}`, `{port}`, `{log}` and `{tls}` are
            filled in.
        log: Stands for `{log}` when the access log is wanted; None when the server has none.
        quiet: Stands for `{log}` when it is not wanted.
        tls: Stands for `{tls}` when TLS is wanted, with `{cert}` and `{key}`; None when the
            server has none.
        in_python: Whether its HTTP engine is written in Python.
        environment: Added to the environment; `{app}` is filled in.
    """

    name: str
    family: str
    arguments: str
    log: str | None = ""
    quiet: str = ""
    tls: str | None = None
    in_python: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(
        self, python: str, app: str, port: int, *, log: bool, certificate: Certificate | None
    ) -> list[str]:
        """Return the program and its arguments."""
        switch = self.log or "" if log else self.quiet
        tls = ""
        if certificate is not None and self.tls is not None:
            tls = self.tls.format(cert=certificate.cert, key=certificate.key)
        return [python, *self.arguments.format(app=app, port=port, log=switch, tls=tls).split()]


_ASERVE: Final = "-m aserve --host 127.0.0.1 --port {port} {log} {tls}"
_WAITRESS: Final = "-m waitress --listen 127.0.0.1:{port}"
_GUNICORN: Final = "-m gunicorn --bind 127.0.0.1:{port} {log} {tls}"
_GRANIAN: Final = "-m granian --interface wsgi --host 127.0.0.1 --port {port} {log} {tls}"
_ACCESS_LOGFILE: Final = "--access-logfile -"
_TLS: Final = "--cert {cert} --key {key}"
_CERTFILE: Final = "--certfile {cert} --keyfile {key}"
_SSL_CERTFILE: Final = "--ssl-certfile {cert} --ssl-keyfile {key}"
_SSL_CERTIFICATE: Final = "--ssl-certificate {cert} --ssl-keyfile {key}"
_ASGI: Final = {"BENCHMARK_APP": "{app}"}

SERVERS: Final = (
    Server("aserve", "aserve", f"{_ASERVE} {{app}}", quiet="--no-access-log", tls=_TLS),
    Server(
        "werkzeug", "werkzeug", f"-m {_LAUNCH} werkzeug {{app}} {{port}} {{log}} {{tls}}",
        log="--log", tls=_TLS,
    ),
    Server("waitress", "waitress", f"{_WAITRESS} {{app}}", log=None),
    Server("waitress-16", "waitress", f"{_WAITRESS} --threads 16 {{app}}", log=None),
    # One request at a time and no keep-alive: for scale, the goals speak of gthread.
    Server("gunicorn-sync", "gunicorn-sync", f"{_GUNICORN} {{app}}", log=_ACCESS_LOGFILE),
    Server(
        "gunicorn-16", "gunicorn", f"{_GUNICORN} --worker-class gthread --threads 16 {{app}}",
        log=_ACCESS_LOGFILE, tls=_CERTFILE,
    ),
    Server(
        "cheroot", "cheroot", f"-m {_LAUNCH} cheroot {{app}} {{port}} {{tls}}", log=None, tls=_TLS
    ),
    Server(
        "granian", "granian", f"{_GRANIAN} {{app}}",
        log="--access-log", tls=_SSL_CERTIFICATE, in_python=False,
    ),
    Server(
        "granian-16", "granian", f"{_GRANIAN} --blocking-threads 16 {{app}}",
        log="--access-log", tls=_SSL_CERTIFICATE, in_python=False,
    ),
    Server(
        "uvicorn+a2wsgi", "uvicorn",
        f"-m uvicorn --host 127.0.0.1 --port {{port}} {{log}} {{tls}} {_LAUNCH}:asgi",
        quiet="--no-access-log", tls=_SSL_CERTFILE, environment=_ASGI,
    ),
    Server(
        "hypercorn+a2wsgi", "hypercorn",
        f"-m hypercorn --bind 127.0.0.1:{{port}} {{log}} {{tls}} {_LAUNCH}:asgi",
        log=_ACCESS_LOGFILE, tls=_CERTFILE, environment=_ASGI,
    ),
)  # fmt: skip


def rivals_python() -> str:
    """Return the interpreter of the peers' environment; makes it on first use.

    The environment is made again when the pinned names changed.

    Raises:
        BenchmarkError: pip could not install them.
    """
    folder = ENVIRONMENTS / f"rivals-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    wanted = _RIVALS.read_text("utf-8")
    made_from = folder / "rivals.txt"
    if made_from.is_file() and made_from.read_text("utf-8") == wanted:
        return str(python)
    print(f"making {folder} (once)", file=sys.stderr)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([*pip, "--requirement", str(_RIVALS)], check=True)
    except subprocess.CalledProcessError as error:
        raise BenchmarkError(f"the peers could not be installed into {folder}") from error
    made_from.write_text(wanted, "utf-8")
    return str(python)


def rival_versions() -> dict[str, str]:
    """Return the pinned version of each peer."""
    lines = (line.partition("==") for line in _RIVALS.read_text("utf-8").splitlines())
    return {name: version for name, _, version in lines if version}
