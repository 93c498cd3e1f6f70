"""What the pages say in tables agrees with the code; nothing public is missing."""

from __future__ import annotations

import importlib
import re
import shlex
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

import aserve
import aserve.cli
from aserve.config import iter_options
from aserve.http.state import RECEIVING, SENDING
from aserve.server.state import TRANSITIONS

from .playground import Playground
from .snippets import fences_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    *(page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts),
]
SVG = "{http://www.w3.org/2000/svg}"


def _rows(page: Path) -> Iterator[list[str]]:
    """The cells of every table row of a page."""
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture(scope="module")
def state_figure() -> Iterator[ModuleType]:
    """The module that draws, which lies beside the pages and not in a package."""
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        yield importlib.import_module("state_figure")
    finally:
        sys.path.remove(str(DOCS / "_ext"))


def test_every_group_of_options_has_its_table() -> None:
    text = (REFERENCE / "options.md").read_text("utf-8")
    shown = re.findall(r"^```\{aserve-options\} (.+)$", text, re.MULTILINE)
    assert shown == list(dict.fromkeys(option.group for option in iter_options()))


def test_everything_public_has_its_entry() -> None:
    pages = [REFERENCE / name for name in ("api.md", "errors.md")]
    text = "".join(page.read_text("utf-8") for page in pages)
    shown = re.findall(
        r"^\.\. auto(?:function|class|exception):: aserve\.(\w+)$", text, re.MULTILINE
    )
    assert sorted(shown) == sorted(set(aserve.__all__) - {"__version__"})


def test_exit_statuses_are_those_of_the_command_line() -> None:
    codes = {value for name, value in vars(aserve.cli).items() if name.startswith("EXIT_")}
    # 1 is Python's own, for an exception that nobody caught.
    shown = {int(row[0]) for row in _rows(REFERENCE / "cli.md") if row[0].isdecimal()}
    assert shown == codes | {1}


def test_every_key_of_the_environ_is_explained() -> None:
    page = REFERENCE / "environ.md"
    explained = {key for row in _rows(page) for key in re.findall(r"`([\w.*]+)`", row[0])}
    (listed,) = [
        fence.text.splitlines()[1:] for fence in fences_of(page) if "HTTP_ACCEPT" in fence.text
    ]
    missing = [key for key in listed if key not in explained and not key.startswith("HTTP_")]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page: Path) -> None:
    """Sphinx checks the pages in docs/, but not README.md, and not what is read on the web."""
    targets = re.findall(r"\[[^\]`\"]+\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_begins_with_its_only_title(page: Path) -> None:
    lines = page.read_text("utf-8").splitlines()
    inside = {
        number
        for fence in fences_of(page)
        for number in range(fence.line - 1, fence.line + fence.text.count("\n"))
    }
    titles = [n for n, line in enumerate(lines) if line.startswith("# ") and n not in inside]
    assert titles == [0]


@pytest.mark.parametrize("table", [RECEIVING, SENDING, TRANSITIONS], ids=["in", "out", "server"])
def test_figure_shows_every_state_and_every_event(
    table: dict[tuple[Enum, str], Enum], state_figure: ModuleType
) -> None:
    machine = state_figure.Machine.of(table)
    image = ElementTree.fromstring(state_figure.draw(machine, "A & B"))
    texts = [element.text for element in image.iter(f"{SVG}text")]
    members = type(next(iter(table.values())))
    events = [event for member in members for state, event in table if state is member]
    assert sorted(filter(None, texts)) == sorted([*(state.name for state in members), *events])
    # One dot where each event joins the lane of the state it leads to.
    assert len(list(image.iter(f"{SVG}circle"))) == len(table)
    assert image.findtext(f"{SVG}title") == "A & B"
    described = image.findtext(f"{SVG}desc") or ""
    for (state, event), target in table.items():
        assert f"{state.name}, on {event}, becomes {target.name}." in described


def test_figure_has_no_two_labels_in_one_place(state_figure: ModuleType) -> None:
    image = ElementTree.fromstring(state_figure.draw(state_figure.Machine.of(RECEIVING), "x"))
    places = [(text.get("x"), text.get("y")) for text in image.iter(f"{SVG}text")]
    assert len(set(places)) == len(places)


def test_systemd_unit_of_the_page_works(tmp_path: Path) -> None:
    """What systemd does at the first connection, with the words of the page's own unit."""
    files = {fence.argument: fence for fence in fences_of(DOCS / "howto" / "sockets.md")}
    (command,) = re.findall(r"^ExecStart=(.*)$", files["shop.service"].text, re.MULTILINE)
    program, *words = shlex.split(command)
    assert Path(program).name == "aserve"
    playground = Playground(tmp_path)
    playground.run(files["shop.py"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # sd_listen_fds(3): the sockets begin at descriptor 3, and LISTEN_PID is who may have them.
        script = (
            f"LISTEN_PID=$$ LISTEN_FDS=1 exec aserve {shlex.join(words)} 3<&{listener.fileno()}"
        )
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=playground.directory,
            env={**playground.environment, "ASERVE_LOG_LEVEL": "warning"},
            pass_fds=[listener.fileno()],
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    try:
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"shop\n"
    finally:
        process.terminate()
        assert process.wait() == 0


def test_pages_name_no_place_of_this_machine() -> None:
    found = [
        f"{page.relative_to(ROOT)}: {place}"
        for page in PAGES
        for place in re.findall(r"(?:/home/|/root/|/tmp/|/work/)\S*", page.read_text("utf-8"))
    ]
    assert found == []
