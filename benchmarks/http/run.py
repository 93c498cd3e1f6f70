"""Measures one scenario: all servers up, the client goes from one to the next, round by round."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .. import common
from . import cpu, wrk
from .scenarios import Scenario
from .servers import Certificate, Server

_FILE_SIZE: Final = 100 * 1024 * 1024
# Enough of an error for its last line, which is what a person needs.
_TAIL: Final = 2000


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure.

    Args:
        aserve_python: The interpreter that has aserve (and Flask).
        rivals_python: The interpreter of the peers.
        rounds: How many times each server takes its turn.
        seconds: How long one turn takes.
    """

    aserve_python: str
    rivals_python: str
    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """One server in one scenario; medians over the rounds.

    Args:
        scenario: Its name.
        server: Its name.
        rate: Requests per second.
        cpu: Microseconds of processor time of the server per request.
        switches: Changes of threads of the server per request.
        p50: Median time of an answer, in seconds.
        p99: 99 of 100 answers took no longer, in seconds.
        failures: Failed requests of all rounds; anything but 0 spoils the row.
        rates: The rate of each round.
    """

    scenario: str
    server: str
    rate: float
    cpu: float
    switches: float
    p50: float
    p99: float
    failures: int
    rates: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Running:
    server: Server
    pid: int
    port: int


class _Turn(NamedTuple):
    load: wrk.Load
    cpu: float
    switches: float


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tail(log: IO[bytes]) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - _TAIL))
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"


def _start(
    stack: contextlib.ExitStack,
    server: Server,
    scenario: Scenario,
    plan: Plan,
    file: Path,
    certificate: Certificate | None,
) -> _Running | None:
    """Start one server, or tell why it takes no part."""
    python = plan.aserve_python if server.family == "aserve" else plan.rivals_python
    port = common.free_port()
    environment = {
        name: value.format(app=scenario.app) for name, value in server.environment.items()
    }
    log = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    process = stack.enter_context(
        common.child(
            server.command(python, scenario.app, port, log=scenario.log, certificate=certificate),
            {"PYTHONPATH": str(common.ROOT), "BENCHMARK_FILE": str(file), **environment},
            log,
            session=not scenario.in_one_session,
        )
    )
    try:
        common.wait_for_answer(process, port, tls=scenario.tls)
    except common.BenchmarkError as error:
        _say(f"  {server.name} left out: {error}: {_tail(log)}")
        return None
    return _Running(server, process.pid, port)


@contextlib.contextmanager
def _large_file() -> Iterator[Path]:
    """A file without holes: holes would be read faster than data."""
    with tempfile.NamedTemporaryFile(prefix="aserve-benchmark-") as file:
        block = os.urandom(1024 * 1024)
        for _ in range(_FILE_SIZE // len(block)):
            file.write(block)
        file.flush()
        yield Path(file.name)


@contextlib.contextmanager
def _certificate() -> Iterator[Certificate]:
    """A certificate for the run, of the kind that browsers get: ECDSA with P-256."""
    with tempfile.TemporaryDirectory(prefix="aserve-benchmark-") as folder:
        files = Certificate(Path(folder, "cert.pem"), Path(folder, "key.pem"))
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
        builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
        builder = builder.public_key(key.public_key())
        certificate = builder.sign(key, hashes.SHA256())
        files.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        yield files


def _turn(running: _Running, scenario: Scenario, seconds: float) -> _Turn:
    before = cpu.used(running.pid)
    load = wrk.run(scenario, running.port, seconds)
    after = cpu.used(running.pid)
    return _Turn(
        load,
        (after.seconds - before.seconds) / load.requests * 1e6,
        (after.switches - before.switches) / load.requests,
    )


def _summarise(scenario: Scenario, server: Server, turns: Sequence[_Turn]) -> Row:
    loads = [turn.load for turn in turns]
    return Row(
        scenario=scenario.name,
        server=server.name,
        rate=statistics.median(load.rate for load in loads),
        cpu=statistics.median(turn.cpu for turn in turns),
        switches=statistics.median(turn.switches for turn in turns),
        p50=statistics.median(load.p50 for load in loads),
        p99=statistics.median(load.p99 for load in loads),
        failures=sum(load.failures for load in loads),
        rates=tuple(round(load.rate, 1) for load in loads),
    )


def measure(scenario: Scenario, servers: Sequence[Server], plan: Plan) -> list[Row]:
    """Measure one scenario and return a row for each server that could be measured."""
    _say(scenario.title)
    with contextlib.ExitStack() as stack:
        file = Path(os.devnull)
        if scenario.app.endswith(":send_file"):
            file = stack.enter_context(_large_file())
        certificate = stack.enter_context(_certificate()) if scenario.tls else None
        taking_part = [
            running
            for server in servers
            if not (scenario.log and server.log is None)
            and not (scenario.tls and server.tls is None)
            and (running := _start(stack, server, scenario, plan, file, certificate))
        ]
        turns: dict[str, list[_Turn]] = {}
        # Round 0 warms up: lazy imports, threads that are made on demand, caches.
        for number in range(plan.rounds + 1):
            for running in taking_part:
                try:
                    turn = _turn(running, scenario, plan.seconds if number else 1)
                except common.BenchmarkError as error:
                    _say(f"  {running.server.name}, round {number}: {error}")
                    continue
                if number:
                    turns.setdefault(running.server.name, []).append(turn)
    return [
        _summarise(scenario, running.server, turns[running.server.name])
        for running in taking_part
        if running.server.name in turns
    ]
