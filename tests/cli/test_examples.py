"""The examples are served by the command line, as their readers do it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))

Start = Callable[..., Any]


def test_all_four_are_there() -> None:
    assert NAMES == ["bottle_app.py", "django_app.py", "flask_app.py", "plain_app.py"]


@pytest.mark.parametrize("name", NAMES)
def test_example(name: str, start: Start) -> None:
    server = start(str(EXAMPLES / name), "--port", "0")
    with httpx.Client(base_url=server.url) as client:
        assert "Hello from" in client.get("/").text
        assert client.post("/form", data={"name": "Zoë <b>"}).text == "Hello, Zoë &lt;b&gt;"
        assert client.post("/json", json=[1, 2, 3]).json() == {"sum": 6}
        assert client.get("/stream").text == "".join(f"line {n}\n" for n in range(5))
        content = b"x" * 300_000
        if name == "plain_app.py":
            assert client.post("/upload", content=content).json() == {"size": len(content)}
        else:
            answer = client.post("/upload", files={"file": ("a.bin", content)}).json()
            assert answer == {"name": "a.bin", "size": len(content)}
        assert client.get("/none").status_code == 404
    assert server.end() == 0
    assert "Traceback" not in server.output
