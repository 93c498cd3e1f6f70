"""Three small sites, one per framework, with the same pages and what each does in its own way."""

# The frameworks have no types of their own.
# mypy: disable-error-code="import-untyped, untyped-decorator, no-any-return"

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bottle
import django
import flask
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path as route
from django.views.decorators.csrf import csrf_exempt

from ..conformance.wsgi_server import App

__all__ = ["FILE", "SITES"]

# A file that every checkout has and whose size is not round.
FILE = Path(__file__)


def ticks() -> Iterator[str]:
    """Server-sent events without an end."""
    return (f"data: {number}\n\n" for number in itertools.count())


def _flask_site() -> App:
    app = flask.Flask("site")

    @app.get("/")
    def page() -> str:
        return "Grüße"

    @app.get("/wörld/<name>")
    def named(name: str) -> str:
        return name

    @app.post("/upload")
    def upload() -> Any:
        file = flask.request.files["file"]
        digest = hashlib.file_digest(file.stream, "sha256").hexdigest()  # type: ignore[arg-type]
        return flask.jsonify(name=file.filename, form=flask.request.form, sha256=digest)

    @app.post("/raw")
    def raw() -> Any:
        return flask.jsonify(size=len(flask.request.get_data()))

    @app.get("/file")
    def file() -> Any:
        return flask.send_file(FILE, mimetype="text/plain")

    @app.get("/login")
    def login() -> Any:
        answer = flask.redirect("/me")
        answer.set_cookie("user", "ada")
        answer.set_cookie("theme", "dark; x", httponly=True)
        return answer

    @app.get("/me")
    def me() -> Any:
        return flask.jsonify(flask.request.cookies)

    @app.get("/events")
    def events() -> Any:
        return flask.Response(ticks(), mimetype="text/event-stream")

    @app.get("/context")
    def context() -> Any:
        def pieces() -> Iterator[str]:
            yield "method "
            yield flask.request.method

        return flask.Response(flask.stream_with_context(pieces()))

    @app.get("/error")
    def error() -> Any:
        raise ZeroDivisionError("on purpose")

    return app


def _bottle_site() -> App:
    app = bottle.Bottle()

    @app.get("/")
    def page() -> str:
        return "Grüße"

    @app.get("/wörld/<name>")
    def named(name: str) -> str:
        return name

    @app.post("/upload")
    def upload() -> Any:
        file = bottle.request.files["file"]
        digest = hashlib.file_digest(file.file, "sha256").hexdigest()
        form = {key: bottle.request.forms.getunicode(key) for key in bottle.request.forms}
        return {"name": file.raw_filename, "form": form, "sha256": digest}

    @app.post("/raw")
    def raw() -> Any:
        return {"size": len(bottle.request.body.read())}

    @app.get("/file")
    def file() -> Any:
        return bottle.static_file(FILE.name, root=str(FILE.parent), mimetype="text/plain")

    @app.get("/login")
    def login() -> Any:
        bottle.response.set_cookie("user", "ada")
        bottle.response.set_cookie("theme", "dark; x", httponly=True)
        bottle.redirect("/me")

    @app.get("/me")
    def me() -> Any:
        return dict(bottle.request.cookies)

    @app.get("/events")
    def events() -> Any:
        bottle.response.content_type = "text/event-stream"
        return ticks()

    @app.get("/error")
    def error() -> Any:
        raise ZeroDivisionError("on purpose")

    return app


def _django_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Grüße")


def _django_named(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(name)


@csrf_exempt
def _django_upload(request: HttpRequest) -> HttpResponse:
    file: Any = request.FILES["file"]
    digest = hashlib.sha256(b"".join(file.chunks())).hexdigest()
    return JsonResponse({"name": file.name, "form": request.POST.dict(), "sha256": digest})


@csrf_exempt
def _django_raw(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"size": len(request.body)})


def _django_file(request: HttpRequest) -> FileResponse:
    return FileResponse(FILE.open("rb"), content_type="text/plain")


def _django_login(request: HttpRequest) -> HttpResponse:
    answer = HttpResponseRedirect("/me")
    answer.set_cookie("user", "ada")
    answer.set_cookie("theme", "dark; x", httponly=True)
    return answer


def _django_me(request: HttpRequest) -> HttpResponse:
    return HttpResponse(json.dumps(request.COOKIES), content_type="application/json")


def _django_events(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(ticks(), content_type="text/event-stream")


def _django_error(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError("on purpose")


class _Urls:
    """What Django takes for a module of routes."""

    urlpatterns = [  # noqa: RUF012 - Django's own form
        route("", _django_view),
        route("wörld/<name>", _django_named),
        route("upload", _django_upload),
        route("raw", _django_raw),
        route("file", _django_file),
        route("login", _django_login),
        route("me", _django_me),
        route("events", _django_events),
        route("error", _django_error),
    ]


def _django_site() -> App:
    if not settings.configured:
        settings.configure(
            DEBUG=False,
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF=_Urls,
            SECRET_KEY="for tests",
            LOGGING_CONFIG=None,
            # So that a file of some hundred KB goes to the disk, as large ones do.
            FILE_UPLOAD_MAX_MEMORY_SIZE=65_536,
        )
        django.setup()
    app: App = WSGIHandler()
    return app


SITES = {"flask": _flask_site, "django": _django_site, "bottle": _bottle_site}
