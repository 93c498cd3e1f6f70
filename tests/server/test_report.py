"""An exception whose report fails, too: the client is told all the same."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Iterator
from typing import Any

import pytest

import aserve
from aserve.types import Environ, StartResponse


class Refusing(logging.Handler):
    """A handler of the app's own, with a defect."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("the handler has failed")


@pytest.fixture
def refusing() -> Iterator[None]:
    logger, handler = logging.getLogger("aserve"), Refusing(logging.ERROR)
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


class NoTraceback(Exception):
    """Says nothing of where it came from."""

    @property
    def __traceback__(self) -> Any:
        raise RuntimeError("no traceback")


@pytest.mark.parametrize("error", [LookupError("plain"), NoTraceback("odd")])
def test_the_client_is_told(refusing: None, error: Exception) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        raise error

    def fails(record: aserve.ErrorRecord) -> None:
        raise RuntimeError("the observer has failed")

    hooks = aserve.Hooks(on_error=fails)
    with aserve.ServerThread(app, "127.0.0.1", hooks=hooks, threads=1) as server:
        for _ in range(3):  # the thread lives on
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            connection.request("GET", "/")
            assert connection.getresponse().status == 500
            connection.close()
