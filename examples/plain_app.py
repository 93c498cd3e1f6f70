"""A plain WSGI callable; needs nothing but Python. Run it: aserve examples/plain_app.py"""

import json
from html import escape
from urllib.parse import parse_qs

FORM = b"""<!doctype html><title>Plain WSGI</title><h1>Hello from plain WSGI</h1>
<form method="post" action="/form"><input name="name" value="Ada"><button>Post</button></form>
<p><a href="/stream">stream</a></p>"""


def app(environ, start_response):
    """Route by method and path; each handler returns (status, content type, iterable)."""
    handler = ROUTES.get((environ["REQUEST_METHOD"], environ["PATH_INFO"]), not_found)
    status, content_type, body = handler(environ)
    start_response(status, [("Content-Type", content_type)])
    return body


def hello(environ):
    return "200 OK", "text/html; charset=utf-8", [FORM]


def form(environ):
    fields = parse_qs(environ["wsgi.input"].read().decode())
    name = escape(fields.get("name", ["nobody"])[0])
    return "200 OK", "text/html; charset=utf-8", [f"Hello, {name}".encode()]


def add(environ):
    numbers = json.load(environ["wsgi.input"])
    return "200 OK", "application/json", [json.dumps({"sum": sum(numbers)}).encode()]


def stream(environ):
    # A generator is sent item by item.
    return "200 OK", "text/plain", (f"line {number}\n".encode() for number in range(5))


def upload(environ):
    """Read the body piece by piece: an upload of any size needs 64 KiB of memory."""
    size = 0
    while piece := environ["wsgi.input"].read(65536):
        size += len(piece)
    return "200 OK", "application/json", [json.dumps({"size": size}).encode()]


def not_found(environ):
    return "404 Not Found", "text/plain", [b"Not found\n"]


ROUTES = {
    ("GET", "/"): hello,
    ("POST", "/form"): form,
    ("POST", "/json"): add,
    ("GET", "/stream"): stream,
    ("POST", "/upload"): upload,
}
