"""What Django's own reloader does beside reloading: templates, translations, receivers of apps."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..contrib.conftest import free_port
from .conftest import Child, Start
from .test_reload import ask

__all__ = ["free_port"]

FILES = {
    "manage.py": "import os, sys\nos.environ['DJANGO_SETTINGS_MODULE'] = 'site1.settings'\n"
    "from django.core.management import execute_from_command_line\n"
    "execute_from_command_line(sys.argv)\n",
    "site1/__init__.py": "",
    "site1/settings.py": "from pathlib import Path\nSECRET_KEY = 'x'\nDEBUG = True\n"
    "ROOT_URLCONF = 'site1.urls'\nINSTALLED_APPS = ['aserve.contrib.django', 'parts']\n"
    "ALLOWED_HOSTS = ['*']\nWSGI_APPLICATION = 'site1.wsgi.application'\n"
    "TEMPLATES = [{'BACKEND': 'django.template.backends.django.DjangoTemplates',\n"
    "    'DIRS': [Path(__file__).parent / 'templates']}]\n"
    "LANGUAGE_CODE = 'de'\nLOCALE_PATHS = [Path(__file__).parent / 'locale']\n",
    "site1/wsgi.py": "import os\n"
    "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site1.settings')\n"
    "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
    "site1/urls.py": "import os\nfrom django.http import HttpResponse\n"
    "from django.shortcuts import render\nfrom django.urls import path\nimport parts.apps\n"
    "from django.utils.translation import gettext\n"
    "def state(request):\n"
    "    return HttpResponse(f'{os.getpid()} {parts.apps.SEEN}')\n"
    "page = lambda request: render(request, 'page.html')\n"
    "word = lambda request: HttpResponse(f\"{os.getpid()} {gettext('a word')}.\")\n"
    "urlpatterns = [path('', page), path('state', state), path('word', word)]\n",
    "site1/templates/page.html": "T1 {{ 1 }}",
    # A library of components, say, whose files are neither templates nor modules.
    "parts/__init__.py": "",
    "parts/apps.py": "from pathlib import Path\nfrom django.apps import AppConfig\n"
    "from django.utils import autoreload\nSEEN = []\n"
    "def on_start(sender, **more): sender.watch_dir(Path('pieces'), '*.piece')\n"
    "def on_change(sender, file_path, **more):\n"
    "    if file_path.suffix == '.piece':\n"
    "        SEEN.append(file_path.name)\n        return 'ask' not in file_path.name\n"
    "class Config(AppConfig):\n    name = 'parts'\n"
    "    def ready(self):\n"
    "        autoreload.autoreload_started.connect(on_start, dispatch_uid='a')\n"
    "        autoreload.file_changed.connect(on_change, dispatch_uid='b')\n",
    "pieces/one.piece": "1",
    "pieces/ask.piece": "1",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def catalogue(translation: str) -> bytes:
    """A `.mo` file, as in the GNU gettext manual, section 10.3."""
    texts = {"": "Content-Type: text/plain; charset=UTF-8\n", "a word": translation}
    offset = 28 + 16 * len(texts)
    tables, body = b"", b""
    for column in (texts.keys(), texts.values()):
        for text in column:
            tables += struct.pack("<II", len(text), offset + len(body))
            body += text.encode() + b"\0"
    second_table = 28 + 8 * len(texts)
    head = struct.pack("<7I", 0x950412DE, 0, len(texts), 28, second_table, 0, offset)
    return head + tables + body


Serve = Callable[[], tuple[Child, int]]


@pytest.fixture(params=["aserve", "manage.py runserver"])
def serve(request: pytest.FixtureRequest, folder: Path, start: Start, free_port: int) -> Serve:
    def run() -> tuple[Child, int]:
        if request.param == "aserve":
            child = start("--reload", "--port", str(free_port))
        else:
            words = ("manage.py", "runserver", f"127.0.0.1:{free_port}")
            child = start(sys.executable, *words, raw=True, PYTHONUNBUFFERED="1")
        until(free_port, "T1 1")
        return child, free_port

    return run


def until(port: int, text: str, path: str = "/") -> str:
    for _ in range(100_000):
        try:
            _, body = ask(port, path)
        except OSError:
            continue  # it has not begun to listen
        if text in body:
            return body
    raise AssertionError(body)


def test_templates_and_files_of_receivers(folder: Path, serve: Serve) -> None:
    child, port = serve()
    pid = ask(port, "/state")[1].split()[0]
    for number in (2, 3):
        (folder / "site1" / "templates" / "page.html").write_text(f"T{number} {{{{ 1 }}}}")
        assert until(port, f"T{number} ") == f"T{number} 1"
    (folder / "site1" / "templates" / "new.html").write_text("x")
    (folder / "pieces" / "one.piece").write_text("2")
    assert until(port, "one.piece", "/state") == f"{pid} ['one.piece']", child.errors
    # All of that without a restart; what no receiver has seen to is a reload.
    (folder / "pieces" / "ask.piece").write_text("2")
    child.wait_for(r"Detected change in '.*ask\.piece', reloading")
    assert until(port, "[]", "/state").split()[0] != pid


def test_translations(folder: Path, serve: Serve) -> None:
    path = folder / "site1" / "locale" / "de" / "LC_MESSAGES" / "django.mo"
    path.parent.mkdir(parents=True)
    path.write_bytes(catalogue("one"))
    child, port = serve()
    pid = ask(port, "/state")[1].split()[0]
    for translation in ("one", "two", "three"):
        path.write_bytes(catalogue(translation))
        assert until(port, f" {translation}.", "/word") == f"{pid} {translation}.", child.errors
