"""Starts the peers that have no command of their own, or none with the options we need.

Runs in the peers' environment: `python -m benchmarks.http.launch PEER MODULE:APP PORT [--log]`.
"""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _werkzeug(app: Any, port: int, log: bool) -> None:
    from werkzeug.serving import run_simple

    if not log:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # `threaded` is what `flask run` passes.
    run_simple("127.0.0.1", port, app, threaded=True)


def _cheroot(app: Any, port: int, log: bool) -> None:
    from cheroot.wsgi import Server

    Server(("127.0.0.1", port), app, numthreads=10).start()


def main() -> None:
    """Serve until the process is ended."""
    peer, target, port = sys.argv[1:4]
    run = {"werkzeug": _werkzeug, "cheroot": _cheroot}[peer]
    run(_load(target), int(port), "--log" in sys.argv[4:])


if __name__ == "__main__":
    main()
else:
    # For uvicorn and hypercorn, which take ASGI: `BENCHMARK_APP` names the WSGI app behind it.
    import os

    if target := os.environ.get("BENCHMARK_APP"):
        from a2wsgi import WSGIMiddleware

        asgi = WSGIMiddleware(_load(target))
