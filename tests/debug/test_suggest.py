"""`aserve.debug.suggest`: what was probably meant."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from aserve.debug.capture import capture

from .capturing import caught


class Model:
    shared = 1

    def __init__(self) -> None:
        self.address = 1

    @property
    def surname(self) -> str:
        raise AssertionError

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"no {name}", name=name, obj=self)

    def method(self) -> object:
        return address  # type: ignore[name-defined] # noqa: F821


def local() -> object:
    customer = 1  # noqa: F841
    return custmer  # type: ignore[name-defined] # noqa: F821


def unbound() -> None:
    if countt:  # type: ignore[has-type, used-before-def] # noqa: F821
        countt = counts = 1  # noqa: F841


def say(message: str, name: Any) -> None:
    raise NameError(message, name=name)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (local, "Did you mean 'customer'?"),
        (lambda: Modelx, "Did you mean 'Model'?"),  # type: ignore[name-defined] # noqa: F821
        (lambda: pritn, "Did you mean 'print'?"),  # type: ignore[name-defined] # noqa: F821
        (lambda: colorsys, "Did you forget to import 'colorsys'?"),  # type: ignore[name-defined] # noqa: F821
        (lambda: xyzzyqw, ""),  # type: ignore[name-defined] # noqa: F821
        (unbound, ""),
        (Model().method, "Did you mean 'self.address'?"),
        (lambda: Model().addressx, "Did you mean 'address'?"),
        (lambda: Model().surnam, "Did you mean 'surname'?"),
        (lambda: Model().methodx, "Did you mean 'method'?"),
        (lambda: Model.sharde, "Did you mean 'shared'?"),  # type: ignore[attr-defined]
        (lambda: os.getcdw(), "Did you mean 'getcwd'?"),  # type: ignore[attr-defined]
        (lambda: "".UPPER(), "Did you mean 'upper'?"),  # type: ignore[attr-defined]
        (lambda: None.x, ""),  # type: ignore[attr-defined]
        (lambda: exec("from os import getcdw"), "Did you mean 'getcwd'?"),
        (lambda: __import__("jsno"), "Did you mean 'json'?"),
        (lambda: __import__("json.decodr"), ""),
        (lambda: os.environ["X Y"], ""),
        (lambda: say("no thing. Did you mean 'that'?", name="lenn"), ""),
        (lambda: say("no thing", name="lenn"), "Did you mean 'len'?"),
        (lambda: say("no thing", name=5), ""),
    ],
)
def test_suggestions(function: Callable[[], object], expected: str) -> None:
    assert capture(caught(function)).problem.suggestion == expected


def test_the_message_has_no_suggestion_of_python() -> None:
    problem = capture(caught(local)).problem
    assert problem.message == "name 'custmer' is not defined"
