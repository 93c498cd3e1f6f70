"""`aserve.debug.request`: a request as the page shows it, without its secrets and unread."""

from __future__ import annotations

import io
from typing import Any

import bottle  # type: ignore[import-untyped]
import pytest
import werkzeug
from flask import Flask, request

from aserve.debug.model import RequestView
from aserve.debug.request import view_request


class Unread(io.BytesIO):
    """An input that must not be asked for."""

    def read(self, *arguments: Any) -> bytes:
        raise AssertionError("wsgi.input was read")

    readline = readlines = __iter__ = read1 = readinto = read  # type: ignore[assignment]


def environ(**more: Any) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "example.org",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
        "wsgi.input": Unread(),
        "wsgi.errors": io.StringIO(),
        **more,
    }


def section(view: RequestView, title: str) -> dict[str, str]:
    values = dict(view.sections).get(title, ())
    return {value.name: value.text for value in values}


@pytest.mark.parametrize(
    ("more", "url"),
    [
        ({}, "http://example.org:8000/"),
        ({"SERVER_PORT": "80"}, "http://example.org/"),
        ({"SERVER_PORT": "443", "wsgi.url_scheme": "https"}, "https://example.org/"),
        ({"SERVER_NAME": "::1"}, "http://[::1]:8000/"),
        ({"HTTP_HOST": "[::1]:5000"}, "http://[::1]:5000/"),
        ({"HTTP_HOST": "shop.localhost:5000"}, "http://shop.localhost:5000/"),
        ({"HTTP_HOST": "ada:geheim@shop"}, "http://shop/"),
        ({"HTTP_HOST": 'a"<b>'}, "http://a%22%3Cb%3E/"),
        ({"SCRIPT_NAME": "/shop", "PATH_INFO": "/a b"}, "http://example.org:8000/shop/a%20b"),
        (
            {"PATH_INFO": "/gr\xc3\xbcn;x=1,(2)?#"},
            "http://example.org:8000/gr%C3%BCn;x=1,(2)%3F%23",
        ),
        ({"QUERY_STRING": "a=%20b&c"}, "http://example.org:8000/?a=%20b&c"),
        ({"QUERY_STRING": "a=<b>"}, "http://example.org:8000/?a=%3Cb%3E"),
        (
            {"QUERY_STRING": "a=1&token=abc&user%5Bpassword%5D=x&API_KEY="},
            "http://example.org:8000/?a=1&token=<hidden>&user%5Bpassword%5D=<hidden>&"
            "API_KEY=<hidden>",
        ),
    ],
)
def test_url(more: dict[str, str], url: str) -> None:
    assert view_request(environ(**more)).url == url


def test_headers_in_their_usual_spelling() -> None:
    view = view_request(
        environ(
            CONTENT_TYPE="text/plain",
            CONTENT_LENGTH="",
            HTTP_X_REQUEST_ID="7",
            HTTP_X_FORWARDED_FOR="1.2.3.4",
            HTTP_SEC_CH_UA_MOBILE="?0",
            HTTP_SEC_WEBSOCKET_KEY="x",
            HTTP_NAME="Gr\xc3\xbc\xc3\x9fe",
        )
    )
    assert section(view, "Headers") == {
        "Content-Type": "text/plain",
        "X-Request-ID": "7",
        "X-Forwarded-For": "1.2.3.4",
        "Sec-CH-UA-Mobile": "?0",
        "Sec-WebSocket-Key": "x",
        "Name": "Grüße",
    }


def test_secrets_are_not_in_the_view_at_all() -> None:
    view = view_request(
        environ(
            HTTP_AUTHORIZATION="Bearer Geheim",
            HTTP_PROXY_AUTHORIZATION="Geheim",
            HTTP_COOKIE="theme=dark; session=Geheim; Geheim; csrftoken=Geheim",
            HTTP_SET_COOKIE="Geheim",
            HTTP_X_API_KEY="Geheim",
            HTTP_REFERER="http://ada:Geheim@x.org/?a=1&token=Geheim#access_token=Geheim&b=2",
            HTTP_X_ORIGINAL_URI="/?password=Geheim",
            QUERY_STRING="a=1&secret=Geheim&%70assword=Geheim",
            REQUEST_URI="/?a=1&secret=Geheim",
            RAW_URI="/?a=1&secret=Geheim",
            HTTP_ACCESS_CONTROL_REQUEST_HEADERS="authorization",
            **{"shop.secret": "Geheim", "shop.urls": ("/?token=Geheim&x=1",)},
        )
    )
    assert "Geheim" not in repr(view)
    headers = section(view, "Headers")
    assert headers["Authorization"] == "Bearer <hidden>"
    assert headers["Proxy-Authorization"] == "<hidden>"
    assert headers["Cookie"] == headers["Set-Cookie"] == headers["X-Api-Key"] == "<hidden>"
    assert headers["Referer"] == ("http://<hidden>@x.org/?a=1&token=<hidden>&b=2")
    assert section(view, "Query") == {"a": "1", "secret": "<hidden>", "password": "<hidden>"}
    assert section(view, "Cookies") == {
        "theme": "dark", "session": "<hidden>", "": "<hidden>", "csrftoken": "<hidden>",
    }  # fmt: skip
    assert section(view, "Environ")["QUERY_STRING"] == "a=1&secret=<hidden>&%70assword=<hidden>"


def test_query_is_decoded() -> None:
    view = view_request(environ(QUERY_STRING="q=gr%C3%BCner+Tee&q=2&empty=&bad=%FF&raw=\xc3\xbc"))
    values = dict(view.sections)["Query"]
    assert [(value.name, value.text) for value in values] == [
        ("q", "grüner Tee"), ("q", "2"), ("empty", ""), ("bad", "\ufffd"), ("raw", "ü"),
    ]  # fmt: skip


def test_environ_without_headers_objects_and_the_process() -> None:
    view = view_request(
        environ(
            HTTP_HOST="x",
            PATH="/usr/bin",
            HOME="/home/ada",
            SSH_AUTH_SOCK="/tmp/x",
            REMOTE_ADDR="127.0.0.1",
            **{"wsgi.multithread": True, "shop.user": object(), "shop.pair": (1, object())},
        )
    )
    shown = section(view, "Environ")
    assert shown["wsgi.version"] == "(1, 0)"
    assert shown["wsgi.multithread"] == "True"
    assert shown["REMOTE_ADDR"] == "127.0.0.1"
    assert not {"PATH", "HOME", "SSH_AUTH_SOCK", "HTTP_HOST"} & set(shown)
    assert not {"wsgi.input", "wsgi.errors", "shop.user", "shop.pair"} & set(shown)


FORM = b"name=Ada+L&password=Geheim&lang=gr%C3%BCn&lang=2"


def posted(body: bytes = FORM) -> dict[str, Any]:
    return environ(
        REQUEST_METHOD="POST",
        CONTENT_TYPE="application/x-www-form-urlencoded",
        CONTENT_LENGTH=str(len(body)),
        **{"wsgi.input": io.BytesIO(body)},
    )


def form_of(values: dict[str, Any], request: object = None) -> list[tuple[str, str]]:
    sections = dict(view_request(values, request).sections)
    return [(value.name, value.text) for value in sections.get("Form", ())]


SHOWN = [("name", "Ada L"), ("password", "<hidden>"), ("lang", "grün"), ("lang", "2")]


@pytest.mark.parametrize("is_parsed", [True, False])
def test_form_that_werkzeug_has_parsed(is_parsed: bool) -> None:
    values = posted()
    request = werkzeug.Request(values)
    assert not is_parsed or request.form["name"] == "Ada L"
    place = values["wsgi.input"].tell()
    assert form_of(values) == (SHOWN if is_parsed else [])
    assert values["wsgi.input"].tell() == place


def test_form_that_flask_has_parsed() -> None:
    app = Flask(__name__)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    contexts: list[Any] = []
    values = {**posted(), "werkzeug.debug.preserve_context": contexts.append}

    @app.post("/")
    def index() -> str:
        raise LookupError(request.form["name"])

    with pytest.raises(LookupError):
        app(values, lambda *arguments: lambda data: None)
    assert form_of(values) == []  # Flask has taken its request out of the environ
    assert form_of(values, contexts[-1].request) == SHOWN


def test_form_that_django_has_parsed() -> None:
    class Request:
        def __init__(self) -> None:
            self._post = self

        def lists(self) -> list[tuple[str, list[str]]]:
            return [("name", ["Ada L"]), ("password", ["x"]), ("lang", ["grün", "2"])]

    assert form_of(environ(), Request()) == SHOWN


@pytest.mark.parametrize("is_parsed", [True, False])
def test_form_that_bottle_has_parsed(is_parsed: bool) -> None:
    app = bottle.Bottle()
    values = posted()

    @app.post("/")  # type: ignore[untyped-decorator, unused-ignore]
    def index() -> str:
        return str(bottle.request.forms.name) if is_parsed else "unread"

    list(app(values, lambda *arguments: lambda data: None))
    assert form_of(values) == (SHOWN if is_parsed else [])


class Hostile:
    """An object that is angry at whoever asks it for anything."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("repr")


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("str")


@pytest.mark.parametrize(
    "strange",
    [
        {},
        {"REQUEST_METHOD": None, "PATH_INFO": b"/", "QUERY_STRING": 7, "HTTP_HOST": Hostile()},
        {1: 2, None: None, b"HTTP_X": b"y", ("a",): "b"},
        {"PATH_INFO": "/\udcff\U0001f600", "QUERY_STRING": "\udcff=\U0001f600&=&&="},
        {"werkzeug.request": Hostile(), "bottle.request.forms": Hostile()},
        {"HTTP_COOKIE": ";;;=;a", "HTTP_X": Text("x"), "wsgi.x": Text("y"), "x.y": Hostile()},
        {"wsgi.x": (1, (2, Hostile())), "wsgi.url_scheme": "\0\n<"},
        {"HTTP_X": "y" * 10**6, "QUERY_STRING": "&".join(["a=1"] * 10**4)},
        {f"HTTP_X{number}": "y" for number in range(10**4)},
    ],
)
def test_strange_environs(strange: dict[Any, Any]) -> None:
    view = view_request(strange)
    assert len(view.url) < 5000
    for _, values in view.sections:
        assert len(values) <= 200
        assert all(len(value.text) < 5000 for value in values)
