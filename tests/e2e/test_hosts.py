"""Whom the command line answers for."""

from __future__ import annotations

from pathlib import Path

from tests.test_hosts import status_of

from .conftest import Start
from .test_reload import write


def test_safe_without_a_word(tmp_path: Path, start: Start) -> None:
    write(tmp_path / "app.py", "one")
    child = start("app.py", "--port", "0", "--name", "shop.localhost", "--name", "shop.test")
    for host in ("localhost", "127.0.0.1", "[::1]", "a.localhost", "shop.test"):
        assert status_of(child.port, host) == (200, "one")
    status, text = status_of(child.port, "evil.test")
    assert (status, "--allowed-host evil.test" in text) == (403, True)


def test_the_page_of_an_error_is_for_the_same_hosts(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text("SECRET = 1 / 0")
    child = start("app.py", "--port", "0", "--reload", "--allowed-host", ".shop.test")
    port = int(child.wait_for(r"Until then http://[^:]+:(\d+) shows")[1])
    assert status_of(port, "evil.test")[0] == 403
    for host in ("localhost", "a.shop.test"):
        status, text = status_of(port, host)
        assert (status, "ZeroDivisionError" in text) == (500, True)
