"""Reloads of apps made with real packages, against new processes: `nox -s packages`.

Not part of the suite: what they need is some 300 MB.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from .conftest import Start, environment
from .test_reload import ask, children_of, until
from .test_reload_truth import cold, wait_until_warm

SERVE = """
V = 0
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return f"v{V} {state()}"
"""

APPS: Mapping[str, Mapping[str, str]] = {
    "Flask-SQLAlchemy, with a file of variables": {
        "config/dev.env": "DATABASE=sqlite:///dev.db\n",
        "app.py": "import os\nfrom dotenv import load_dotenv\nload_dotenv('config/dev.env')\n"
        "from flask_sqlalchemy import SQLAlchemy\n"
        "from flask import Flask\n"
        "app = Flask(__name__)\n"
        "app.config['SQLALCHEMY_DATABASE_URI'] = os.environ['DATABASE']\n"
        "database = SQLAlchemy(app)\n"
        "class Thing(database.Model):\n"
        "    id = database.Column(database.Integer, primary_key=True)\n"
        "with app.app_context():\n    database.create_all()\n"
        "    COUNT = database.session.query(Thing).count()\n"
        "    URL = str(database.engine.url).rpartition('/')[2]\n"
        "def state(): return (URL, COUNT, os.environ['DATABASE'])\nV = 0\n"
        "app.get('/')(lambda: f'v{V} {state()}')\n",
    },
    "Faker": {
        "app.py": "from faker import Faker\nfake = Faker()\n"
        "Faker.seed(7)\nNAMES = [fake.name(), Faker('de_DE').name()]\ndef state(): return NAMES\n"
        + SERVE,
    },
    "scikit-learn, with a model that is made at the import": {
        "app.py": "import numpy as np\nfrom sklearn.cluster import KMeans\n"
        "points = np.random.RandomState(1).rand(5000, 4)\n"
        "model = KMeans(4, n_init=2, random_state=0).fit(points)\n"  # by threads of OpenMP
        "def state(): return sorted(np.bincount(model.predict(points)).tolist())\n" + SERVE,
    },
    "generators of numpy, in a package": {
        "site-packages/dice.py": "import numpy\nOWN = numpy.random.default_rng()\n"
        "FIXED = numpy.random.default_rng(7)\nOLD = numpy.random.RandomState()\n",
        "app.py": "import dice, numpy, pathlib\n"
        "drawn = [dice.OWN.random(), dice.OLD.rand(), numpy.random.rand()]\n"
        "with pathlib.Path('drawn').open('a') as file: print(*drawn, sep='\\n', file=file)\n"
        "def state(): return dice.FIXED.bit_generator.state['state']\n" + SERVE,
    },
    "settings that a package imports": {
        "superset_config.py": "THEME = 'mine'\n",
        "site-packages/superset_like/__init__.py": "from superset_like.config import THEME\n",
        "site-packages/superset_like/config.py": "import os, importlib.util\nTHEME = 'default'\n"
        "if path := os.environ.get('SUPERSET_CONFIG_PATH'):\n"
        "    spec = importlib.util.spec_from_file_location('superset_config', path)\n"
        "    module = importlib.util.module_from_spec(spec)\n    spec.loader.exec_module(module)\n"
        "    THEME = module.THEME\n"
        "else:\n    try:\n        from superset_config import *\n"
        "    except ImportError:\n        pass\n",
        "app.py": "import superset_like\ndef state(): return superset_like.THEME\n" + SERVE,
    },
}


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("name", APPS)
def test_each_generation_is_what_a_new_process_is(tmp_path: Path, start: Start, name: str) -> None:
    write(tmp_path, APPS[name])
    own = environment()["PYTHONPATH"]
    variables = {"PYTHONPATH": os.pathsep.join((own, str(tmp_path / "site-packages")))}
    child = start("app:app", "--port", "0", "--reload", "--log-level", "debug", **variables)
    right = cold(tmp_path, variables)
    assert until(child, "v0 ").partition(" ")[2] == right
    app = tmp_path / "app.py"
    for number in range(1, 6):
        wait_until_warm(child)
        app.write_text(re.sub(r"(?m)^V = \d+$", f"V = {number}", app.read_text()))
        assert until(child, f"v{number} ").partition(" ")[2] == cold(tmp_path, variables)
    assert child.end() == 0
    assert "Traceback" not in child.errors
    if (drawn := tmp_path / "drawn").exists():
        numbers = drawn.read_text().split()
        assert len(numbers) == len(set(numbers)) == 12 * 3


def manage(folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, "manage.py", *words], cwd=folder, env=environment(), check=True)


@pytest.mark.parametrize("door", ["aserve", "manage.py runserver"])
@pytest.mark.parametrize("kind", ["wagtail start", "django-admin startproject"])
def test_a_new_site(tmp_path: Path, start: Start, kind: str, door: str) -> None:
    """The pages answer, and edits of a view are on the next page, warm."""
    command = Path(sys.executable).parent / kind.split()[0]
    words = [str(command), *kind.split()[1:], "site1", "."]
    subprocess.run(words, cwd=tmp_path, env=environment(), check=True)
    is_wagtail = kind.startswith("wagtail")
    settings = tmp_path / "site1" / ("settings/base.py" if is_wagtail else "settings.py")
    urls = tmp_path / "site1" / "urls.py"
    code = urls.read_text() + (
        "\nfrom django.http import HttpResponse\n"
        "urlpatterns.insert(0, path('word/', lambda request: HttpResponse('word 0')))\n"
    )
    urls.write_text(code)
    settings.write_text(
        settings.read_text() + "\nINSTALLED_APPS.insert(0, 'aserve.contrib.django')\n"
    )
    manage(tmp_path, "migrate", "--verbosity", "0")
    if door == "aserve":
        child = start("--port", "0", "--reload", "--log-level", "debug")
    else:
        script = tmp_path / "manage.py"
        script.write_text(
            "import logging\nlogging.getLogger('aserve').setLevel('DEBUG')\n" + script.read_text()
        )
        child = start(sys.executable, "manage.py", "runserver", "0", raw=True)
    pages = ["/admin/login/", "/"] if is_wagtail else ["/admin/login/"]
    first = [ask(child.port, page, accept="text/html")[0] for page in pages]
    assert set(first) == {200}
    for number in range(1, 5):
        wait_until_warm(child)
        urls.write_text(code.replace("word 0", f"word {number}"))
        while ask(child.port, "/word/") != (200, f"word {number}"):
            pass
        assert [ask(child.port, page, accept="text/html")[0] for page in pages] == first
    assert child.errors.count("cold:") <= 1
    assert children_of(child.pid)
    assert child.end() == 0
    assert "Traceback" not in child.errors
