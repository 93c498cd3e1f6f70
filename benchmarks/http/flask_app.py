"""A Flask app with one route."""

from __future__ import annotations

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Answer 13 bytes through routing and response objects."""
    return "Hello, World!"
