"""The clients of one kind, in a process of their own: started by `benchmarks.soak`.

Prints what they have seen, as JSON, in the end.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from random import Random

from .kinds import KINDS, Kind
from .wire import Broken, Tally, Target

__all__ = ["main"]


def _live(kind: Kind, targets: list[Target], rng: Random, tally: Tally) -> None:
    """One client: it comes, goes and comes again."""
    while not tally.is_over:
        visit = rng.choice(kind.visits)
        try:
            visit(rng.choice(targets), rng, tally)
        except Broken as error:
            tally.blame(f"{visit.__name__}: {error}")
        except OSError as error:
            tally.blame(f"{visit.__name__}: {type(error).__name__}: {error}")
        tally.count()
        tally.rest(rng.expovariate(1 / kind.pause))


def main() -> int:
    """Run the clients until their time is up."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.client")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--http", type=int, required=True)
    parser.add_argument("--https", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    kind, tally = KINDS[options.kind], Tally(options.seconds)
    targets = [Target(getattr(options, name), name == "https") for name in kind.targets]
    clients = [
        threading.Thread(
            target=_live,
            args=(kind, targets, Random(f"{options.seed} {options.kind} {number}"), tally),
        )
        for number in range(kind.clients)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    found = {
        "visits": tally.visits,
        "broken": tally.broken,
        "lines": tally.lines,
        "latencies": list(tally.latencies),
    }
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
