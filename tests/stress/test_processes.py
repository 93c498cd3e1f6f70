"""A worker process that dies under load takes its own connections along, and nobody else's."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from .conftest import LONG, Start
from .load import APP, Caller, Load

ROUNDS = 5 if LONG else 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_the_death_of_one_is_contained(
    tmp_path: Path, start_on_loop: Start, number: signal.Signals
) -> None:
    (tmp_path / "app.py").write_text(APP)
    server = start_on_loop(
        "app:app", "--port", "0", "--host", "127.0.0.1", "--processes", "2", "--no-reload",
        "--no-access-log",
    )  # fmt: skip
    ends: list[tuple[Caller, str]] = []
    with Load(server.port, 16) as load:
        load.on_end = lambda caller, how: ends.append((caller, how))

        kept = [caller for caller in load.callers if not caller.fresh]
        for _ in range(ROUNDS):
            load.pids.clear()
            load.run_until(lambda: len(load.pids) == 2 and all(one.pid for one in kept))
            victim = min(load.pids)
            inside = {caller.name for caller in kept if caller.pid == victim}
            deaths = server.errors.count(f"was ended by {number.name}")
            os.kill(victim, number)
            load.run_until(lambda: server.errors.count(f"was ended by {number.name}") > deaths)  # noqa: B023
            answered = load.answered
            load.run_until(lambda: load.answered > answered + 500)  # noqa: B023
            lost = {caller.name for caller, _ in ends}
            # A caller that takes a new connection each time may have been in its hands, too.
            assert lost & {caller.name for caller in kept} == inside, (ends, inside)
            # Nobody was refused: the sockets belong to both.
            assert not [how for _, how in ends if "at a new request" in how], ends
            for caller, _ in ends:
                load.ask(caller)
            ends.clear()
    assert load.wrong == []
    assert server.end() == 0
