"""The corpus through each target, without a fuzzer; and proof that the targets can fail."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aserve.http import body, h1, head
from aserve.http.body import ChunkedReader
from aserve.http.scan import HeadScanner

from . import __main__ as runner
from .reference import Decoded, decode
from .seeds import seeds
from .targets import TARGETS, cuts

CORPUS = Path(__file__).parent / "corpus"
# Bytes: small enough to be looked at by everybody who clones the project.
MOST = 150_000


def entries(target: str) -> list[Path]:
    return sorted((CORPUS / target).iterdir())


@pytest.mark.parametrize("target", TARGETS)
def test_replay(target: str) -> None:
    """What fuzzing has found worth keeping still holds."""
    paths = entries(target)
    assert len(paths) > 50
    for path in paths:
        try:
            TARGETS[target](path.read_bytes())
        except BaseException as error:
            error.add_note(f"the input is {path}")
            raise


@pytest.mark.parametrize("target", TARGETS)
def test_tables(target: str) -> None:
    """The targets hold for the cases of the other tests, too, and around the limits."""
    streams = list(seeds(target))
    assert len(streams) > 300
    for stream in streams:
        # Byte by byte the reference and the counting take their time.
        TARGETS[target](stream[:2000])


def test_corpus_is_small() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS) == set(runner.NAMES)
    sizes = [path.stat().st_size for target in TARGETS for path in entries(target)]
    assert sum(sizes) < MOST
    assert max(sizes) <= runner.MAX_KEPT


# -- broken on purpose: some entry of the corpus has to notice ---------------------------------


def _lenient_extension(patch: pytest.MonkeyPatch) -> None:
    """Anything behind the semicolon (CVE-2022-24761)."""
    lenient = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[^\r\n]*)?")
    patch.setattr(body, "_CHUNK_HEAD", lenient)


def _lenient_size(patch: pytest.MonkeyPatch) -> None:
    """Sizes that `int(..., 16)` takes."""
    patch.setattr(body, "_CHUNK_HEAD", re.compile(rb"((?:0x)?[0-9A-Fa-f]{1,16})(?:;.*)?"))


def _lenient_end(patch: pytest.MonkeyPatch) -> None:
    """Any two bytes behind a chunk (CVE-2025-43859)."""
    patch.setattr(body, "_ends_chunk", lambda buffer, position: len(buffer) >= position + 2)


def _short_trailers(patch: pytest.MonkeyPatch) -> None:
    """The first trailer ends the body (CVE-2025-59822)."""
    patch.setattr(ChunkedReader, "_trailer", lambda self, _: setattr(self, "complete", True))


def _short_length(patch: pytest.MonkeyPatch) -> None:
    """The last byte of a body is taken for the next request."""
    right: Callable[..., int | None] = head._body_length
    patch.setattr(head, "_body_length", lambda *fields: (n := right(*fields)) and n - 1)
    head.parse_head.cache_clear()


def _order_of_faults(patch: pytest.MonkeyPatch) -> None:
    """A head that comes whole is refused for another fault than one that comes in pieces."""
    patch.setattr(h1, "check_start", lambda _: None)


def _forgotten_cr(patch: pytest.MonkeyPatch) -> None:
    """The end of a head is missed when a packet ends within it."""
    right = HeadScanner.take

    def take(self: HeadScanner, buffer: bytearray) -> bytes | None:
        self._searched += 3 if self._searched else 0
        return right(self, buffer)

    patch.setattr(HeadScanner, "take", take)


def _searched_again(patch: pytest.MonkeyPatch) -> None:
    """Each read searches the whole head: quadratic."""
    right = HeadScanner.take

    def take(self: HeadScanner, buffer: bytearray) -> bytes | None:
        self._searched = 0
        return right(self, buffer)

    patch.setattr(HeadScanner, "take", take)


def _no_limits(patch: pytest.MonkeyPatch) -> None:
    """A head may grow without an end."""
    patch.setattr(HeadScanner, "_check_size", lambda *_: None)


def _other_exception(patch: pytest.MonkeyPatch) -> None:
    """What no caller expects."""

    def fail(*_: Any) -> None:
        raise ValueError("not declared")

    patch.setattr(head, "_split_target", fail)
    head.parse_head.cache_clear()


BROKEN = [
    ("chunks", _lenient_extension),
    ("chunks", _lenient_size),
    ("chunks", _lenient_end),
    ("chunks", _short_trailers),
    ("oracle", _short_trailers),
    ("oracle", _short_length),
    ("splits", _order_of_faults),
    ("splits", _forgotten_cr),
    ("bounds", _searched_again),
    ("bounds", _no_limits),
    ("bounds", _other_exception),
]


@pytest.mark.parametrize(
    ("target", "break_it"), BROKEN, ids=lambda value: getattr(value, "__name__", value)
)
def test_targets_can_fail(
    target: str, break_it: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        break_it(patch)
        try:
            failures = [path for path in entries(target) if _fails(target, path)]
        finally:
            head.parse_head.cache_clear()  # of what the broken one has left in it
    assert failures


def _fails(target: str, path: Path) -> bool:
    try:
        TARGETS[target](path.read_bytes())
    except (AssertionError, ValueError):
        return True
    return False


# -- the parts that the targets stand on -------------------------------------------------------


def test_pieces_are_the_whole() -> None:
    data = bytes(range(256)) + b"\r\n\r\n"
    for pieces in cuts(data):
        assert b"".join(pieces) == data
        assert len(pieces) > 1
        assert all(pieces)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Decoded(b"")),
        (b"9\r\nhello", Decoded(b"hello")),
        (b"5\r\nhello\r\n0\r\n\r\nGET", Decoded(b"hello", left=b"GET")),
        (b'1;a="\\"" ; b\r\nx\r\n0\r\nT: 1\r\n\r\n', Decoded(b"x", left=b"")),
        (b"1\r\nx\r\n1;\r\n", Decoded(b"x", status=400)),
        (b"1\r\nxy", Decoded(b"x", status=400)),
        (b"0\r\nT\r\n", Decoded(b"", status=400)),
        (b"0;" + b"a" * 99, Decoded(b"", status=431)),
    ],
)
def test_reference(data: bytes, expected: Decoded) -> None:
    """The decoder that ours is compared with, compared with what is written here."""
    assert decode(data, 64) == expected


# -- the runner --------------------------------------------------------------------------------


def test_failure_is_printed_as_a_test(capsys: pytest.CaptureFixture[str]) -> None:
    """It can be pasted into a file that imports `targets`, and fails there in the same way."""

    def target(data: bytes) -> None:
        raise AssertionError(data)

    with pytest.raises(AssertionError):
        runner._reporting("splits", target)(b"\0'\"\r\n")
    found = re.search(
        r"^def test_splits_\w+\(\) -> None:\n    (.*)$", capsys.readouterr().out, re.M
    )
    assert found
    seen: list[bytes] = []

    class targets:
        splits = staticmethod(seen.append)

    eval(found[1], {"targets": targets})
    assert seen == [b"\0'\"\r\n"]


def test_unknown_target(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz", "heads"])
    with pytest.raises(SystemExit):
        runner.main()
    assert "there is no target 'heads'" in capsys.readouterr().err


def test_without_atheris(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no wheel of it, the reason is said."""
    monkeypatch.setattr(sys, "argv", ["fuzz", "splits"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert runner.main() == 2
    assert "nox -s fuzz" in capsys.readouterr().err
