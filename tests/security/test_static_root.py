"""Static files behind a real server: nothing outside of their folder, however it is asked for."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aserve
from aserve.static import StaticFiles

from .asking import ask

SECRET = "not for you"


def the_app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the app"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "a.txt").write_text("fine")
    for secret in (tmp_path / "secret.txt", root / ".env", root / ".git" / "config"):
        secret.write_text(SECRET)
    for name, target in {
        "out.txt": "../secret.txt", "up": "..", "absolute.txt": str(tmp_path / "secret.txt"),
        "hidden.txt": ".env", "zero": "/dev/zero", "environ": "/proc/self/environ",
        "passwd": "/proc/self/root/etc/passwd", "stdin": "/proc/self/fd/0", "loop": "loop",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture
def port(root: Path) -> Iterator[int]:
    with aserve.ServerThread(StaticFiles(the_app, {"/s": root})) as server:
        yield server.port


TARGETS = [
    "/s/../secret.txt", "/s/%2e%2e/secret.txt", "/s/%2E./secret.txt", "/s/%2e%2e%2fsecret.txt",
    "/s/..%5csecret.txt", "/s/\\..\\secret.txt", "/s/sub/../../secret.txt", "/s/sub/..%2f..%2fa",
    "/s/%252e%252e/secret.txt", "/s/..;/secret.txt", "/s/.%00./secret.txt", "/s/a.txt%00",
    "/s/a.txt%00.css", "/s/%00", "/s//a.txt", "//s/a.txt", "/s/%2fetc%2fpasswd", "/s//etc/passwd",
    "/s/\xc0\xae\xc0\xae/secret.txt", "/s/%c0%ae%c0%ae/secret.txt", "/s/%e0%80%ae./secret.txt",
    "/s/%ef%bc%8e%ef%bc%8e/secret.txt", "/s/out.txt", "/s/up/secret.txt", "/s/absolute.txt",
    "/s/hidden.txt", "/s/.env", "/s/%2eenv", "/s/.git/config", "/s/zero", "/s/environ",
    "/s/passwd", "/s/stdin", "/s/loop", "/s/fifo", "/s", "/s/", "/s/sub", "/s/sub/",
    "/s/" + "x" * 3000, "/s/" + "x/" * 1500, "/x/../s/a.txt", "/s/a.txt/", "/s/a.txt/.",
    "http://localhost/s/../secret.txt", "http://localhost/s/%2e%2e/secret.txt", "/s/C:/secret.txt",
]  # fmt: skip


def test_the_file_itself(port: int) -> None:
    assert ask(port, target="/s/a.txt").text == "fine"
    assert ask(port, target="/s/%61.txt?x=../secret.txt").text == "fine"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: ascii(target)[:40])
def test_nothing_else(port: int, target: str) -> None:
    for method in ("GET", "POST"):
        assert ask(port, target=target, method=method).text == "the app"


def test_a_link_that_comes_and_goes(root: Path, port: int) -> None:
    """Between any two looks at the name, it leads somewhere else."""
    done = threading.Event()
    place, link, file = root / "swap.txt", root / "link", root / "file"

    def swap() -> None:
        while not done.is_set():
            link.symlink_to("../secret.txt")
            link.replace(place)
            file.write_text("fine")
            file.replace(place)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        seen: set[str] = set()
        asked = 0
        while asked < 300 or "fine" not in seen:  # however little the other thread gets on
            seen.add(ask(port, target="/s/swap.txt").text)
            asked += 1
    finally:
        done.set()
        swapping.join()
    assert seen <= {"fine", "the app"}
