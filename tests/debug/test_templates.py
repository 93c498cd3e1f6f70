"""`aserve.debug.templates`: places in templates of Jinja and Django, rendered by them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import flask
import pytest

from aserve.debug import values
from aserve.debug.capture import capture

from .capturing import frames_of, last, take


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may stop a thread for longer than a reader wants to wait."""
    monkeypatch.setattr(values, "BUDGET", 40.0)
    monkeypatch.setattr(values, "PATIENCE", 20.0)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def app(project: Path) -> flask.Flask:
    (project / "templates").mkdir()
    (project / "templates" / "base.html").write_text("<html>\n{% block body %}{% endblock %}\n")
    (project / "templates" / "page.html").write_text(
        "{% extends 'base.html' %}\n{% block body %}\n  {{ user.name.first }}\n{% endblock %}\n"
    )
    (project / "templates" / "wrong.html").write_text("<p>\n{% if x %}\n{% endfor %}\n")
    return flask.Flask("app", root_path=str(project))


def test_places_in_jinja_templates(app: flask.Flask, project: Path) -> None:
    with app.test_request_context():
        captured = take(lambda: flask.render_template("page.html", user=object()), project)
    frames = [frame for frame in frames_of(captured.problem) if frame.kind == "template"]
    assert [(frame.shown_file, frame.line, frame.name) for frame in frames] == [
        ("templates/page.html", 1, "top-level template code"),
        ("templates/base.html", 2, "top-level template code"),
        ("templates/page.html", 3, "block 'body'"),
    ]
    assert all(frame.is_user and frame.can_open and frame.mark is None for frame in frames)
    assert [line.number for line in frames[-1].source] == [1, 2, 3, 4]
    assert "user" in {value.name for value in frames[-1].values or ()}


def test_variables_are_read_in_the_context_of_the_request(app: flask.Flask, project: Path) -> None:
    module: dict[str, Any] = {}
    exec("def view(request):\n    {}['x']\n", module)
    with app.test_request_context("/here"):
        captured = take(lambda: module["view"](flask.request), project)
    assert "/here" in (last(captured).values or ())[0].text


@pytest.mark.parametrize("source", ["file", "string"])
def test_mistakes_in_jinja_templates(app: flask.Flask, project: Path, source: str) -> None:
    def render() -> str:
        if source == "file":
            return flask.render_template("wrong.html")
        return flask.render_template_string("<p>\n{% if x %}\n{% endfor %}\n")

    with app.test_request_context():
        frame = last(take(render, project))
    assert (frame.line, frame.kind, frame.is_user) == (3, "template", True)
    assert frame.source[2].text == "{% endfor %}"


DJANGO = """
import sys
import django
from django.conf import settings
from django.template import Library, loader
from aserve.debug.capture import capture

engine = "django.template.backends.django.DjangoTemplates"
settings.configure(TEMPLATES=[{"BACKEND": engine, "DIRS": ["."], "OPTIONS": {"debug": True}}])
django.setup()
try:
    loader.render_to_string(sys.argv[1], {"broken": lambda: 1 / 0})
except Exception as error:
    problem = capture(error).problem
    frame = problem.places[-1]
    mark = frame.mark
    print(problem.type, frame.id, frame.kind, frame.shown_file, frame.line, frame.name, sep="|")
    print(frame.is_user, frame.can_open, frame.file.endswith(sys.argv[1]), len(frame.source))
    line = next(line.text for line in frame.source if line.number == frame.line)
    print(line[mark.column : mark.end_column])
"""


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            "<p>\n<b>é &amp; {{ broken }}</b>\n</p>\n",
            ["ZeroDivisionError|None|template|page.html|2|{{ broken }}", "True True True 4",
             "{{ broken }}"],
        ),
        (
            "{% if x %}\n<b>{% endfor %}",
            ["django.template.exceptions.TemplateSyntaxError|None|template|page.html|2"
             "|{% endfor %}", "True True True 2", "{% endfor %}"],
        ),
    ],
    ids=["runtime", "syntax"],
)  # fmt: skip
def test_places_in_django_templates(project: Path, template: str, expected: list[str]) -> None:
    (project / "page.html").write_text(template, "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", DJANGO, "page.html"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.splitlines() == expected


def test_an_attribute_that_only_looks_like_djangos() -> None:
    error = ValueError("x")
    error.template_debug = {"name": 5, "line": "many"}  # type: ignore[attr-defined]
    assert capture(error).problem.places == ()
