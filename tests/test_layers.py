"""The layers: imports go downwards only, and `import aserve` loads the standard library alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import aserve

ROOT = Path(__file__).parents[1]
# Where the tested package is: site-packages, or the checkout.
LOCATION = Path(aserve.__file__).parents[1]

_LINT = (
    "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
)

# What `import aserve` adds; a tool that measures this process may have loaded others before.
_REPORT_NEW = """
import sys
before = set(sys.modules)
import aserve
print(*sorted(set(sys.modules) - before))
"""

# Each costs more than the rest of `import aserve` together, and none is needed before serving.
_SLOW = {"asyncio", "email", "http.server", "importlib.metadata", "ssl", "urllib.request"}

_IMPORT_ALONE = """
import sys
for name in sys.argv[1:]:
    for loaded in [name for name in sys.modules if name.partition(".")[0] == "aserve"]:
        del sys.modules[loaded]
    __import__(name)
"""


def _python(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(LOCATION)}
    return subprocess.run(
        [sys.executable, "-P", "-s", "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
    )


def test_contracts_of_the_layers_are_kept() -> None:
    done = _python(_LINT, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def new_modules(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    done = _python(_REPORT_NEW, cwd=tmp_path_factory.mktemp("import"))
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_import_loads_no_third_party_module(new_modules: set[str]) -> None:
    packages = {name.partition(".")[0] for name in new_modules}
    assert packages - sys.stdlib_module_names == {"aserve"}


def test_import_loads_no_slow_module(new_modules: set[str]) -> None:
    assert not new_modules & _SLOW


def test_every_module_can_be_imported_first(tmp_path: Path) -> None:
    """No module needs another one to have been imported before it."""
    package = LOCATION / "aserve"
    names = [
        ".".join(path.relative_to(LOCATION).with_suffix("").parts)
        for path in sorted(package.rglob("*.py"))
        if path.name not in {"__init__.py", "__main__.py"}
    ]
    assert "aserve.config" in names
    done = _python(_IMPORT_ALONE, *names, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
