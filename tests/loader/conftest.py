"""Each test of the loader writes real files and imports them afresh."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import django.conf
import pytest

PLAIN = "def app(environ, start_response):\n    return []\n"

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def restored_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test imports afresh: path, modules and environment are put back."""
    path, modules = list(sys.path), dict(sys.modules)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    # Other tests of this process may have configured Django.
    monkeypatch.setattr(django.conf, "settings", django.conf.LazySettings())
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        # Libraries stay: C extensions do not like to be imported twice.
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if "site-packages" not in origin and name not in sys.stdlib_module_names:
            del sys.modules[name]
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write files below `tmp_path`: `write("app.py", "text")`."""

    def write_file(name: str, text: str = PLAIN) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        importlib.invalidate_caches()
        return path

    return write_file
