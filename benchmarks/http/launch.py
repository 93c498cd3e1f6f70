"""Starts the peers that have no command of their own, or none with the options we need.

Runs in the peers' environment:
`python -m benchmarks.http.launch PEER MODULE:APP PORT [--log] [--cert FILE --key FILE]`.
"""

from __future__ import annotations

import argparse
import importlib
import logging
from typing import Any


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _werkzeug(options: argparse.Namespace) -> None:
    from werkzeug.serving import run_simple

    if not options.log:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # `threaded` is what `flask run` passes.
    run_simple(
        "127.0.0.1",
        options.port,
        _load(options.app),
        threaded=True,
        ssl_context=(options.cert, options.key) if options.cert else None,
    )


def _cheroot(options: argparse.Namespace) -> None:
    from cheroot.wsgi import Server

    server = Server(("127.0.0.1", options.port), _load(options.app), numthreads=10)
    if options.cert:
        from cheroot.ssl.builtin import BuiltinSSLAdapter

        server.ssl_adapter = BuiltinSSLAdapter(options.cert, options.key)
    server.start()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=("werkzeug", "cheroot"))
    parser.add_argument("app")
    parser.add_argument("port", type=int)
    parser.add_argument("--log", action="store_true")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    options = parser.parse_args()
    {"werkzeug": _werkzeug, "cheroot": _cheroot}[options.peer](options)


if __name__ == "__main__":
    main()
else:
    # For uvicorn and hypercorn, which take ASGI: `BENCHMARK_APP` names the WSGI app behind it.
    import os

    if target := os.environ.get("BENCHMARK_APP"):
        from a2wsgi import WSGIMiddleware

        asgi = WSGIMiddleware(_load(target))
