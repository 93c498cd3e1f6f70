"""Runs of pytest with the plugin, each in a process of its own, as people start it."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import aserve

# Where the tested package is: site-packages, or the checkout.
LOCATION = Path(aserve.__file__).parents[1]

# Without an installation, e.g. with PYTHONPATH alone, there is no entry point.
_IS_REGISTERED = bool(importlib.metadata.entry_points(group="pytest11", name="aserve"))
PLUGIN = () if _IS_REGISTERED else ("-p", "aserve.pytest_plugin")

SHOP = """
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/broken":
        raise ValueError("no more shoes")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [path.encode()]
"""

# Beside the test's own clients: urllib, because it blocks and takes the environment's proxies.
HELPERS = """
import urllib.error
import urllib.request

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

def get(url):
    try:
        with _opener.open(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Write a module of tests and run it: `project(source, *arguments)`."""
    for name in [name for name in os.environ if name.startswith(("PYTEST_ADD", "ASERVE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CI", raising=False)  # there pytest prints every message a second time
    paths = [str(pytester.path), str(LOCATION), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    pytester.makepyfile(shop=SHOP, helpers=HELPERS)

    def run(source: str, *arguments: str) -> pytest.RunResult:
        if not (pytester.path / "tox.ini").exists():
            # Or else settings from above would count, when the temporary folder is in a checkout.
            pytester.makeini("[pytest]")
        pytester.makepyfile(test_it=f"import pytest\nfrom helpers import get\n{source}")
        others = ("-p", "no:flask", "-p", "no:asyncio", "-p", "no:cacheprovider")
        words = (*PLUGIN, *others, "-W", "error", *arguments)
        return pytester.runpytest_subprocess(*words)

    return run
