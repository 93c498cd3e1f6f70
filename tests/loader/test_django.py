"""Django projects: found by `manage.py`, or in one file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import aserve

EXAMPLES = Path(__file__).parents[2] / "examples"
PLAIN = "def app(environ, start_response):\n    return []\n"

Write = Callable[..., Path]

_LOAD_AND_CALL = """
import io, json, pathlib, sys
from aserve.errors import AppLoadError
from aserve.loader import load_app
try:
    loaded = load_app(None, directory=pathlib.Path.cwd())
except AppLoadError as error:
    print(json.dumps({"error": str(error), "traceback": error.user_traceback}))
    sys.exit()
environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.input": io.BytesIO()}
environ |= {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.url_scheme": "http"}
body = b"".join(loaded.app(environ, lambda status, headers, exc_info=None: None)).decode()
facts = {"name": loaded.name, "location": loaded.location, "kind": loaded.kind, "body": body}
print(json.dumps(facts))
"""

_SETTINGS = """
from django.http import HttpResponse
from django.urls import path

SECRET_KEY = "x"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "project.settings"
urlpatterns = [path("", lambda request: HttpResponse("from django"))]
"""

_MANAGE = """
import os, sys
def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
if __name__ == "__main__":
    main()
"""


def _load_in_a_process(directory: Path, **environment: str) -> dict[str, str]:
    """Django's settings are global, so each project gets a process of its own."""
    package_root = str(Path(aserve.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-B", "-c", _LOAD_AND_CALL],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": package_root, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


@pytest.fixture
def django_project(write: Write, tmp_path: Path) -> Path:
    """A project as `django-admin startproject` lays it out, reduced to what counts."""
    write("manage.py", _MANAGE)
    write("project/__init__.py", "")
    write("project/settings.py", _SETTINGS + "WSGI_APPLICATION = 'project.wsgi.application'\n")
    load = "from django.core.wsgi import get_wsgi_application"
    write("project/wsgi.py", f"{load}\n\napplication = get_wsgi_application()\n")
    return tmp_path


def test_manage_py_leads_to_wsgi_application(django_project: Path) -> None:
    assert _load_in_a_process(django_project) == {
        "name": "project.wsgi:application",
        "location": "project/wsgi.py:3",
        "kind": "Django",
        "body": "from django",
    }


def test_manage_py_without_wsgi_application(django_project: Path, write: Write) -> None:
    write("project/settings.py", _SETTINGS)
    loaded = _load_in_a_process(django_project)
    assert (loaded["name"], loaded["body"]) == ("django:project.settings", "from django")


def test_settings_of_the_environment_beat_those_of_manage_py(
    django_project: Path, write: Write
) -> None:
    write("project/other.py", _SETTINGS.replace('from django"', 'from other"'))
    loaded = _load_in_a_process(django_project, DJANGO_SETTINGS_MODULE="project.other")
    assert loaded["name"] == "django:project.other"


def test_settings_that_fail_show_the_users_frames(django_project: Path, write: Write) -> None:
    write("project/settings.py", "raise ValueError('no secret')\n")
    failed = _load_in_a_process(django_project)
    assert failed["error"] == (
        "'manage.py (settings project.settings)' failed to import: ValueError: no secret"
    )
    assert "project/settings.py" in failed["traceback"]
    assert "importlib/__init__.py" not in failed["traceback"]


def test_django_in_one_file() -> None:
    """The single-file example configures Django when it is imported."""
    program = _LOAD_AND_CALL.replace("None, directory", "'django_app.py', directory")
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd=EXAMPLES,
        env={**os.environ, "PYTHONPATH": str(Path(aserve.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = json.loads(done.stdout)
    assert (loaded["name"], loaded["kind"]) == ("django_app:app", "Django")
    assert "Hello from Django" in loaded["body"]
