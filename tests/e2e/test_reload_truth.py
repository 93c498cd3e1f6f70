"""A reload is a fresh start: each generation says what a new process says of the same files.

The oracle is Python itself: `python -c "import app; print(app.state())"`. Packages below a folder
`site-packages` on PYTHONPATH count as installed, so they are imported ahead.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from . import test_reload
from .conftest import LOCATION, Child, Start, environment
from .programs import Program

SERVE = """
V = 0
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"v{V} {state()}".encode()]
"""


@dataclass
class Case:
    """A program, and what is edited besides `V`.

    Args:
        app: What defines `state()`.
        files: Others; `lib/` stands for installed ones.
        edits: By number of the edit: files with their new text; None removes one.
    """

    app: str
    files: Mapping[str, str] = field(default_factory=dict)
    edits: Mapping[int, Mapping[str, str | None]] = field(default_factory=dict)


READS = "import os\nHOME = os.environ.get('BOARD_HOME', 'default')\n"
CASES = {
    "a variable before the import": Case(
        "import os\nos.environ['BOARD_HOME'] = '/data'\nimport reads\n"
        "def state(): return reads.HOME",
        {"lib/reads.py": READS},
    ),
    "a file of variables": Case(
        "import os\nfor line in open('dev.env'):\n"
        "    name, _, value = line.strip().partition('=')\n    os.environ[name] = value\n"
        "import reads\ndef state(): return reads.HOME",
        {"lib/reads.py": READS, "dev.env": "BOARD_HOME=/one\n"},
        {2: {"dev.env": "BOARD_HOME=/two\n"}, 4: {"dev.env": ""}},
    ),
    "a variable between two imports": Case(
        "import reads\nimport os\nos.environ['BOARD_HOME'] = '/late'\nimport second\n"
        "def state(): return (reads.HOME, second.HOME)",
        {"lib/reads.py": READS, "lib/second.py": READS},
    ),
    "an optional module of the user": Case(
        "import board\ndef state(): return board.DATABASE",
        {
            "lib/board.py": "DATABASE = 'sqlite'\ntry:\n    from board_config import *\n"
            "except ImportError:\n    pass\n",
            "board_config.py": "DATABASE = 'postgres'\n",
        },
        {2: {"board_config.py": "DATABASE = 'other'\n"}, 4: {"board_config.py": None}},
    ),
    "an optional module that comes later": Case(
        "import board\ndef state(): return board.DATABASE",
        {
            "lib/board.py": "DATABASE = 'sqlite'\ntry:\n    from board_config import *\n"
            "except ImportError:\n    pass\n",
        },
        {2: {"board_config.py": "DATABASE = 'late'\n"}},
    ),
    "a folder in front of the path": Case(
        "import sys\nsys.path.insert(0, 'vendor')\nimport thing\n"
        "def state(): return thing.WHERE",
        {"lib/thing.py": "WHERE = 'installed'\n", "vendor/thing.py": "WHERE = 'vendor'\n"},
    ),
    "a module of the user with the name of an installed one": Case(
        "import thing\ndef state(): return thing.WHERE",
        {"lib/thing.py": "WHERE = 'installed'\n"},
        {2: {"thing.py": "WHERE = 'mine'\n"}, 4: {"thing.py": None}},
    ),
    "another module in its place": Case(
        "import sys, types\nfake = types.ModuleType('sqlite3')\nfake.version = 'fake'\n"
        "sys.modules['sqlite3'] = fake\nimport database\ndef state(): return database.VERSION",
        {"lib/database.py": "import sqlite3\nVERSION = getattr(sqlite3, 'version', 'real')\n"},
    ),
    "an import hook": Case(
        "import sys, importlib.abc, importlib.machinery\n"
        "class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'thing': return importlib.machinery.ModuleSpec(name, self)\n"
        "    def create_module(self, spec): return None\n"
        "    def exec_module(self, module): module.WHERE = 'hook'\n"
        "sys.meta_path.insert(0, Finder())\nimport thing\ndef state(): return thing.WHERE",
        {"lib/thing.py": "WHERE = 'installed'\n"},
    ),
    "another working directory": Case(
        "import os\nos.chdir('sub')\nimport here\ndef state(): return here.NAME",
        {"lib/here.py": "import os\nNAME = os.path.basename(os.getcwd())\n", "sub/x": ""},
    ),
    "a filter of warnings": Case(
        "import warnings\nwarnings.simplefilter('error')\nimport warns\n"
        "def state(): return warns.SEEN",
        {
            "lib/warns.py": "import warnings\ntry:\n    warnings.warn('x')\n    SEEN = 'no'\n"
            "except UserWarning:\n    SEEN = 'error'\n",
        },
    ),
    "filters that an installed package sets": Case(
        "import sets\nimport warnings\n"
        "def state(): return sum(1 for one in warnings.filters if one[2] is sets.Mine)",
        {
            "lib/sets.py": "import warnings\nclass Mine(Warning): pass\n"
            "warnings.simplefilter('ignore', Mine)\n",
        },
    ),
    "a patched standard library": Case(
        "import socket\nsocket.create_connection = lambda *a: 'patched'\nimport keeps\n"
        "def state(): return keeps.connect is socket.create_connection",
        {"lib/keeps.py": "from socket import create_connection as connect\n"},
    ),
    "a setting of a package before another one": Case(
        "import settings_of\nsettings_of.DEBUG = True\nimport uses\n"
        "def state(): return uses.DEBUG",
        {
            "lib/settings_of.py": "DEBUG = False\n",
            "lib/uses.py": "import settings_of\nDEBUG = settings_of.DEBUG\n",
        },
    ),
    "a package that fails when it is imported alone": Case(
        "import lib0\nlib0.ready = True\nimport lib0.sub\nimport sys\n"
        "def state(): return sorted(n for n in sys.modules if n.startswith('lib0'))",
        {
            "lib/lib0/__init__.py": "ready = False\n",
            "lib/lib0/sub/__init__.py": "from . import leaf\nimport lib0\n"
            "if not lib0.ready:\n    raise RuntimeError('not ready')\n",
            "lib/lib0/sub/leaf.py": "",
        },
    ),
    "an import that is taken out": Case(
        "import registry\nimport plugin\ndef state(): return registry.NAMES",
        {
            "lib/registry.py": "NAMES = []\n",
            "lib/plugin.py": "import registry\nregistry.NAMES.append('plugin')\n",
        },
        {2: {"app.py": "import registry\ndef state(): return registry.NAMES" + SERVE},
         4: {"app.py": "import registry\nimport plugin\ndef state(): return registry.NAMES"
             + SERVE}},
    ),
    "variables that a package sets": Case(
        "import os\nimport sets\ndef state(): return (os.environ.get('MADE'), sets.OLD)",
        {"lib/sets.py": "import os\nOLD = os.environ.get('MADE')\nos.environ['MADE'] = 'x'\n"},
    ),
    "imports in a circle": Case(
        "import one\nimport sys\n"
        "def state(): return (one.two.NAME, sorted(n for n in sys.modules if n in 'one two'))",
        {"lib/one.py": "import two\nNAME = 'one'\n", "lib/two.py": "import one\nNAME = 'two'\n"},
    ),
    "a package and its parts": Case(
        "import pack.part\nfrom pack import other\nimport sys\n"
        "def state(): return (sorted(n for n in sys.modules if n.startswith('pack')),\n"
        "    pack.part.HERE, other.__spec__.name, pack.part.__loader__.__class__.__name__,\n"
        "    pack.__path__ == list(pack.__spec__.submodule_search_locations))",
        {
            "lib/pack/__init__.py": "", "lib/pack/other.py": "", "lib/pack/unused.py": "",
            "lib/pack/part.py": "from . import other\nHERE = __name__\n",
        },
    ),
    "arguments": Case(
        "import sys\nsys.argv[1:] = ['--fast']\nimport asks\ndef state(): return asks.ARGUMENTS",
        {"lib/asks.py": "import sys\nARGUMENTS = sys.argv[1:]\n"},
    ),
    "exit functions": Case(
        "import ends\nimport atexit\ndef state(): return ends.count()",
        {
            "lib/ends.py": "import atexit\n_calls = []\natexit.register(_calls.append, 1)\n"
            "def count(): return len(_calls)\n",
        },
    ),
    "a file that a package reads": Case(
        "import reads_file\ndef state(): return reads_file.FOUND",
        {
            "lib/reads_file.py": "try:\n    FOUND = open('board.rc').read()\n"
            "except OSError:\n    FOUND = 'none'\n",
        },
        {2: {"board.rc": "one"}, 3: {"board.rc": "three"}, 5: {"board.rc": None}},
    ),
    "who only asks where a module is": Case(
        "import importlib.util, sys\nFOUND = importlib.util.find_spec('thing').origin[-8:]\n"
        "def state(): return (FOUND, 'thing' in sys.modules)",
        {"lib/thing.py": ""},
    ),
    "a logger that is switched off": Case(
        "import logging.config\n"
        "logging.config.dictConfig({'version': 1, 'disable_existing_loggers': True})\n"
        "import logs\ndef state(): return logs.log.disabled",
        {"lib/logs.py": "import logging\nlog = logging.getLogger('logs')\n"},
    ),
}  # fmt: skip


FLASK_SERVE = """
from flask import Flask
app = Flask(__name__)
@app.get("/")
def index():
    return f"v{V} {state()}"
"""
PLAIN_SERVE = SERVE.replace("V = 0\n", "")


@dataclass
class Door:
    """A way to start a server of `app.py`.

    Args:
        command: The words.
        files: What it needs.
        serve: What makes an app of the module.
        processes: How many serve.
    """

    command: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    serve: str = PLAIN_SERVE
    processes: int = 1


COMMAND = (
    sys.executable, "-m", "aserve", "app:app", "--port", "0", "--reload", "--no-access-log",
    "--log-level", "debug",
)  # fmt: skip
# Doors without an option for it.
DEBUG_LOG = "import logging, sys\nlogging.getLogger('aserve').setLevel('DEBUG')\n"
SCRIPT = "import aserve, app\nif __name__ == '__main__':\n    "
DOORS = {
    "aserve": Door(COMMAND),
    # An installed package of this name is never imported in a process that is forked from.
    "aserve, without forks": Door(
        COMMAND, {"lib/ddtrace.py": ""}, f"import ddtrace\n{PLAIN_SERVE}"
    ),
    "aserve --processes": Door((*COMMAND, "--processes", "2"), processes=2),
    "flask aserve": Door(
        (sys.executable, "flask_script.py", "--app", "app", "aserve", "--port", "0", "--reload"),
        {"flask_script.py": f"{DEBUG_LOG}from flask.cli import main\nmain()\n"},
        FLASK_SERVE,
    ),
    "run": Door(
        (sys.executable, "serve.py"),
        {"serve.py": f"{SCRIPT}aserve.run(app.app, port=0, reload=True, log_level='debug')\n"},
    ),
    "run_simple": Door(
        (sys.executable, "serve.py"),
        {
            "serve.py": f"{DEBUG_LOG}{SCRIPT}"
            "aserve.run_simple('localhost', 0, app.app, use_reloader=True)\n"
        },
    ),
    "manage.py runserver": Door(
        (sys.executable, "manage.py", "runserver", "0"),
        {
            "manage.py": f"{DEBUG_LOG}import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'site1'\n"
            "from django.core.management import execute_from_command_line\n"
            "execute_from_command_line(sys.argv)\n",
            "site1.py": "SECRET_KEY = 'x'\nDEBUG = True\n"
            "INSTALLED_APPS = ['aserve.contrib.django']\nWSGI_APPLICATION = 'app.app'\n"
            "ROOT_URLCONF = 'site1'\nurlpatterns = []\n",
        },
    ),
}
# How many programs, in the long form.
PROGRAMS = int(os.environ.get("ASERVE_TEST_PROGRAMS", "0"))


def until(child: Child, text: str) -> str:
    """The body of the first answer with a text in it."""
    return test_reload.until(child, text).partition(" ")[2]


def write(folder: Path, files: Mapping[str, str | None]) -> None:
    for name, text in files.items():
        path = folder / name.replace("lib/", "site-packages/", 1)
        if text is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def cold(folder: Path, variables: Mapping[str, str]) -> str:
    """What a new process says of these files."""
    program = "import sys; sys.path.insert(0, ''); import app; print(app.V, app.state())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=folder, env=environment(**variables),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return f"v{done.stdout.strip()}"


def variables_of(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join((str(LOCATION), str(folder / "site-packages")))}


def save(folder: Path, number: int, more: Mapping[str, str | None]) -> None:
    write(folder, more)
    app = folder / "app.py"
    app.write_text(re.sub(r"(?m)^V = \d+$", f"V = {number}", app.read_text()))


def wait_until_warm(child: Child) -> None:
    """Until a process that imports ahead is ready; the log at level debug says so.

    There is one until a load was cold, and then another one.
    """
    seen = 1 + child.errors.count("cold: ")
    child.wait_for(rf"(?s)(modules are imported ahead.*?){{{seen}}}")


@pytest.mark.parametrize("name", CASES)
def test_each_generation_is_what_a_new_process_is(tmp_path: Path, start: Start, name: str) -> None:
    case = CASES[name]
    write(tmp_path, {**case.files, "app.py": case.app + SERVE})
    variables = variables_of(tmp_path)
    child = start(
        "app:app", "--port", "0", "--reload", "--no-access-log", "--log-level", "debug", **variables
    )
    said = [until(child, "v0 ")]
    right = [cold(tmp_path, variables)]
    for number in range(1, 6):
        # Warm ones are what is tested: without any, all would be right.
        wait_until_warm(child)
        save(tmp_path, number, case.edits.get(number, {}))
        said.append(until(child, f"v{number} "))
        right.append(cold(tmp_path, variables))
    assert said == right
    assert child.end() == 0


@pytest.mark.parametrize("seed", range(PROGRAMS or len(DOORS)))
def test_programs_that_nobody_has_thought_of(tmp_path: Path, start: Start, seed: int) -> None:
    """Five edits of one program for each door; the long form has ten of each."""
    door = list(DOORS.values())[seed % len(DOORS)]
    program = Program(seed)
    write(tmp_path, {**door.files, **program.files(door.serve)})
    variables = variables_of(tmp_path)
    child = start(*door.command, raw=True, **variables)
    assert until(child, "v0 ") == cold(tmp_path, variables)
    for number in range(1, 11 if PROGRAMS else 6):
        wait_until_warm(child)
        write(tmp_path, program.edit(number, door.serve))
        for _ in range(door.processes * 3):
            assert until(child, f"v{number} ") == cold(tmp_path, variables), child.errors
    assert child.end() == 0


@pytest.mark.parametrize("first", ["STOP", "CHANGED"])
def test_what_a_process_says_at_its_end_starts_no_other(
    tmp_path: Path, start: Start, first: str
) -> None:
    """Its word was on the way when the supervisor had done with it already."""
    script = f"""
        import aserve, sys
        from aserve.reload.machine import Event, What, step
        from aserve.reload.supervisor import Supervisor

        hear = Supervisor._hear

        def hear_too_late(self, child, message):
            if message["type"] == "misfit":
                self._apply(*step(self._model, Event(What.{first})))
                self._events.put_nowait(Event(What.SETTLED))
            hear(self, child, message)

        Supervisor._hear = hear_too_late
        import app
        if __name__ == "__main__":
            aserve.run(app.app, port=0, reload=True, log_level="debug")
    """
    case = CASES["a file of variables"]
    write(tmp_path, {**case.files, "app.py": case.app + SERVE, "serve.py": textwrap.dedent(script)})
    child = start(sys.executable, "serve.py", raw=True, **variables_of(tmp_path))
    until(child, "v0 ")
    wait_until_warm(child)
    save(tmp_path, 1, {"dev.env": "BOARD_HOME=/two\n"})
    if first == "STOP":
        assert child.wait() == 0
    else:
        until(child, "v1 ")
        assert child.end() == 0


@pytest.mark.parametrize("name", ["a variable before the import", "a file of variables"])
def test_who_takes_the_place_of_one_that_has_died(tmp_path: Path, start: Start, name: str) -> None:
    """Each of three processes, killed behind a warm load, comes back as its brothers are."""
    case = CASES[name]
    tells = SERVE.replace("{state()}", "{state()} {__import__('os').getpid()}")
    write(tmp_path, {**case.files, "app.py": case.app + tells})
    variables = variables_of(tmp_path)
    words = ("app:app", "--port", "0", "--reload", "--processes", "3", "--log-level", "debug")
    child = start(*words, "--no-access-log", **variables)
    until(child, "v0 ")
    wait_until_warm(child)
    save(tmp_path, 1, {})
    right = cold(tmp_path, variables)
    seen: dict[str, bool] = {}  # whether it was killed, by its number
    while not (len(seen) == 6 and sum(seen.values()) == 3):
        answer, _, number = until(child, "v1 ").rpartition(" ")
        assert answer == right
        if not seen.setdefault(number, False) and sum(seen.values()) < 3 and len(seen) >= 3:
            seen[number] = True
            os.kill(int(number), signal.SIGKILL)
    assert child.end() == 0


def test_random_numbers_are_not_repeated(tmp_path: Path, start: Start) -> None:
    """A generator that a package has made at its import, seeded by the system, or by itself."""
    library = (
        "import random, secrets, uuid\nOWN = random.Random()\nFIXED = random.Random(7)\n"
        "TOKEN = secrets.token_hex(9) + uuid.uuid4().hex\n"
    )
    app = "import dice\ndef state(): return (dice.OWN.random(), dice.FIXED.random(), dice.TOKEN)"
    write(tmp_path, {"lib/dice.py": library, "app.py": app + SERVE})
    child = start(
        "app:app", "--port", "0", "--reload", "--log-level", "debug", **variables_of(tmp_path)
    )
    said = [until(child, "v0 ")]
    for number in range(1, 4):
        wait_until_warm(child)
        save(tmp_path, number, {})
        said.append(until(child, f"v{number} "))
    drawn = [answer.partition("(")[2].rstrip(")").split(", ") for answer in said]
    own, fixed, tokens = zip(*drawn, strict=True)
    assert len(set(own)) == len(set(tokens)) == len(said)
    assert set(fixed) == {str(random.Random(7).random())}


def test_a_line_says_why_a_load_was_cold(tmp_path: Path, start: Start) -> None:
    app = "import os\nos.environ['BOARD_HOME'] = 'a'\nimport reads\ndef state(): return reads.HOME"
    write(tmp_path, {"lib/reads.py": READS, "app.py": app + SERVE})
    child = start(
        "app:app", "--port", "0", "--reload", "--log-level", "debug", **variables_of(tmp_path)
    )
    until(child, "v0 a")
    wait_until_warm(child)
    (tmp_path / "app.py").write_text(app.replace("'a'", "'b'") + SERVE)
    assert until(child, "v0 b") == "v0 b"
    child.wait_for("cold: BOARD_HOME was changed before reads")
    assert child.errors.count("cold:") == 1


SETS = {
    # As numpy does it; whoever comes next sees their order.
    "filters": "import warnings\n"
    "for word in ('dtype', 'ufunc', 'array'):\n"
    "    warnings.filterwarnings('ignore', message=word)\n",
    "a filter that was there": "import warnings\n"
    "warnings.filterwarnings('ignore', message='dtype')\n"
    "warnings.simplefilter('ignore', ImportWarning)\n"
    "warnings.simplefilter('always', ImportWarning, append=True)\n",
    "a variable before it imports a part": "import os\nos.environ['A'] = '1'\nimport other\n"
    "os.environ['B'] = '2'\n",
    "the path": "import sys\n"
    "for name in ('one', 'two'):\n    sys.path.insert(0, name)\n    sys.path.append(name * 2)\n",
    "variables": "import os\nos.environ['A'] = '1'\nos.environ['B'] = '2'\n",
}


@pytest.mark.parametrize("name", SETS)
def test_a_package_that_changes_its_surroundings_is_no_reason_to_load_cold(
    tmp_path: Path, start: Start, name: str
) -> None:
    app = (
        "import sets\nimport other\nimport os, sys, warnings\n"
        "def state(): return (other.SEEN, os.environ.get('A'), sys.path[:2], sys.path[-2:],\n"
        "    [(one[0], one[1] and one[1].pattern, one[2].__name__) for one in warnings.filters])"
    )
    sees = "import sys, warnings\nSEEN = (sys.path[:2], len(warnings.filters))\n"
    write(tmp_path, {"lib/sets.py": SETS[name], "lib/other.py": sees, "app.py": app + SERVE})
    variables = variables_of(tmp_path)
    child = start(
        "app:app", "--port", "0", "--reload", "--no-access-log", "--log-level", "debug", **variables
    )
    first = until(child, "v0 ")
    for number in (1, 2):
        wait_until_warm(child)
        save(tmp_path, number, {})
        assert until(child, f"v{number} ").partition(" ")[2] == first.partition(" ")[2]
    assert "cold:" not in child.errors


def test_a_warm_load_that_fails_is_tried_cold(tmp_path: Path, start: Start) -> None:
    """What the page shows has happened in a process that has imported nothing ahead."""
    app = "import marks\ndef state(): return 1\nif V0: raise RuntimeError(marks.PID == PID)\n"
    head = "import os\nPID = os.getpid()\nV0 = 0\n"
    write(
        tmp_path, {"lib/marks.py": "import os\nPID = os.getpid()\n", "app.py": head + app + SERVE}
    )
    child = start(
        "app:app", "--port", "0", "--reload", "--log-level", "debug", **variables_of(tmp_path)
    )
    until(child, "v0 1")
    wait_until_warm(child)
    (tmp_path / "app.py").write_text(head.replace("V0 = 0", "V0 = 1") + app + SERVE)
    child.wait_for("RuntimeError: ")
    assert "RuntimeError: True" in child.errors
    assert "RuntimeError: False" not in child.errors
