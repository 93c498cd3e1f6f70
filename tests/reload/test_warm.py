"""`aserve.reload.shelf`, `recorder`: what is imported ahead, what must not be, and what is left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aserve

LOCATION = Path(aserve.__file__).parents[1]

Ahead = Callable[..., Any]

MODULES = {
    "harmless.py": "import json",
    "threads.py": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True)."
    "start()",
    "native.py": "import _thread, time\n_thread.start_new_thread(time.sleep, (1000,))",
    "files.py": "file = open(__file__)",
    "leads.py": "import threads",
    "broken.py": "1 / 0",
    "ends.py": "import sys; sys.exit(3)",
    "asks.py": "try:\n    import mine\nexcept ImportError:\n    pass",
    "asks_again.py": "import asks",
    "optional.py": "try:\n    import broken\nexcept ZeroDivisionError:\n    pass",
    "goes.py": "import os\nos.chdir('/')",
    "changes.py": "import atexit, logging, os, sys, warnings\nos.environ['MADE'] = 'x'\n"
    "sys.path.append('/made')\nwarnings.simplefilter('ignore', ImportWarning)\n"
    "atexit.register(lambda: None)\nlog = logging.getLogger('made')\n",
    "pack/__init__.py": "",
    "pack/part.py": "import harmless",
}

PROGRAM = """
import json, os, sys, warnings
sys.path[:0] = [{installed!r}, {users!r}]
from aserve.reload.shelf import Shelf
from aserve.reload.warm import _Belongings
shelf = Shelf()
shelf.install()
before = (dict(os.environ), list(sys.path), list(warnings.filters), set(sys.modules))
unfit = shelf.stock({names!r}, {refused!r}, mine={mine!r}, check=_Belongings())
after = (dict(os.environ), list(sys.path), list(warnings.filters), set(sys.modules))
left = sorted(name for name in after[3] - before[3] if not name.startswith("_"))
print(json.dumps([unfit, before[:3] == after[:3], left, sorted(shelf._nodes)]))
{more}
"""


@pytest.fixture
def ahead(tmp_path: Path) -> Ahead:
    installed = tmp_path / "site-packages"
    for name, text in MODULES.items():
        path = installed / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "mine.py").write_text("")

    def run(names: list[str], refused: Any = (), more: str = "", mine: Any = ()) -> Any:
        program = PROGRAM.format(
            installed=str(installed), users=str(tmp_path), names=names, more=more,
            refused=list(refused), mine=list(mine),
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=LOCATION, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        first, *rest = done.stdout.splitlines()
        return (*json.loads(first), *map(json.loads, rest))

    return run


@pytest.mark.parametrize(
    ("names", "refused", "unfit", "kept"),
    [
        (["harmless"], [], [], ["harmless"]),
        (["mine", "harmless"], [], ["mine"], ["harmless"]),
        (["broken", "ends", "harmless"], [], ["broken", "ends"], ["harmless"]),
        (["no_such_module"], [], ["no_such_module"], []),
        (["harmless", "threads"], [], ["threads"], ["harmless", "threads"]),
        (["native", "harmless"], [], ["native"], ["harmless", "native"]),
        (["files"], [], ["files"], ["files"]),
        (["threads", "harmless"], ["threads"], ["threads"], ["harmless"]),
        # Nor by way of another one, and that other one neither.
        (["leads", "harmless"], ["threads"], ["leads"], ["harmless"]),
        # Though it swallows that there is none.
        (["asks_again", "asks"], [], ["asks", "asks_again"], []),
        # What fails in the app, too, and is swallowed there, is as it will be.
        (["optional"], [], [], ["optional"]),
        (["broken", "optional"], [], ["broken", "optional"], []),
        (["goes"], [], ["goes"], ["goes"]),
    ],
)  # fmt: skip
def test_what_is_imported_ahead(
    ahead: Ahead, names: list[str], refused: list[str], unfit: list[str], kept: list[str]
) -> None:
    found, _, left, nodes = ahead(names, refused)
    assert sorted(found) == sorted(set(unfit) - set(refused))
    assert all(found.values())
    mine = {name.partition(".")[0] for name in MODULES} | {"pack"}
    # Unfit ones are in a process that is thrown away.
    assert [name for name in nodes if name in mine and name not in unfit] == [
        name for name in kept if name not in unfit
    ]
    assert not set(left) & mine


def test_names_of_the_users_modules_are_refused(ahead: Ahead) -> None:
    """A file of that name may come, or be found in another folder."""
    found, *_ = ahead(["asks"], mine=["mine"])
    assert found == {"asks": "asks for mine"}


def test_everything_is_put_aside_and_undone(ahead: Ahead) -> None:
    more = (
        "import logging\nlogging.getLogger('made').disabled = True\n"
        "shelf.start()\nimport changes\n"
        "print(json.dumps([os.environ['MADE'], '/made' in sys.path, changes.log.disabled,\n"
        "    changes.__spec__.name, type(changes.__loader__).__name__,\n"
        "    warnings.filters != before[2]]))"
    )
    unfit, is_undone, left, nodes, given = ahead(["changes"], more=more)
    assert (unfit, is_undone) == ({}, True)
    assert "changes" in nodes
    assert "changes" not in left
    assert given == ["x", True, False, "changes", "SourceFileLoader", True]


def test_a_package_and_its_part(ahead: Ahead) -> None:
    more = (
        "pack = shelf._nodes['pack'].module\nprint(json.dumps(hasattr(pack, 'part')))\n"
        "shelf.start()\nimport pack as again\nprint(json.dumps(hasattr(again, 'part')))\n"
        "import pack.part\n"
        "print(json.dumps([again is pack, hasattr(pack, 'part'), 'harmless' in sys.modules]))"
    )
    *_, aside, alone, given = ahead(["pack.part"], more=more)
    assert (aside, alone, given) == (False, False, [True, True, True])


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ("os.environ['X'] = '1'", "settable", "X"),
        ("sys.path.insert(0, '/x')", "settable", "sys.path"),
        ("sys.argv.append('x')", "settable", "sys.argv"),
        ("os.chdir('/')", "settable", "the working directory"),
        ("warnings.simplefilter('error')", "settable", "a filter of warnings"),
        ("sys.meta_path.append(object())", "fixed", "an import hook"),
        ("sys.path_hooks.append(print)", "fixed", "an import hook"),
        ("import time; time.sleep = print", "fixed", "time.sleep"),
        ("import types; sys.modules['json'] = types.ModuleType('json')", "fixed",
         "sys.modules['json']"),
        ("open(sys.path[1] + '/harmless.py', 'w').close(); sys.path.reverse(); sys.path.reverse()",
         "", ""),
    ],
)  # fmt: skip
def test_misfits(ahead: Ahead, change: str, kind: str, reason: str) -> None:
    more = (
        "told = []\nshelf.on_misfit = lambda *words: told.append(words)\nshelf.start()\n"
        f"{change}\nimport harmless\nprint(json.dumps(told))"
    )
    *_, told = ahead(["harmless"], more=more)
    assert told == ([["harmless", kind, reason]] if kind else [])


def test_late_imports_are_made_anew(ahead: Ahead) -> None:
    more = (
        "shelf.on_misfit = lambda *words: print(1 / 0)\nshelf.start()\n"
        "aside = shelf._nodes['harmless'].module\nshelf.is_late = True\n"
        "os.environ['X'] = '1'\nimport harmless\n"
        "print(json.dumps([harmless is aside, harmless.__name__]))"
    )
    *_, given = ahead(["harmless"], more=more)
    assert given == [False, "harmless"]


def test_what_is_told_for_the_next_time(ahead: Ahead) -> None:
    more = (
        "shelf.start()\nos.environ['A'] = '1'\nimport harmless\nos.environ['B'] = '2'\n"
        "os.environ.pop('A')\nimport pack.part\n"
        "names = shelf.order(['pack', 'harmless', 'pack.part', 'os'])\n"
        "print(json.dumps(names))\n"
        "print(json.dumps([(at, state['variables']) for at, state in shelf.report(names)]))"
    )
    *_, names, states = ahead([], more=more)
    assert names == ["harmless", "pack", "pack.part"]
    assert states == [[0, {"A": "1"}], [1, {"B": "2"}]]
