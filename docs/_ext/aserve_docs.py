"""Directives that write pages from the code, so that the two cannot drift apart.

`{aserve-options} GROUP` is the table of the options of one group of `aserve --help`;
`{aserve-states} MODULE:TABLE` draws a table of transitions. Docstrings, whose literals have
Markdown's single backticks, are made into what autodoc reads.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from state_figure import Machine, draw

from aserve.config import iter_options
from aserve.options import Option

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["OptionsTable", "StateFigure", "default_text", "flags_text", "setup"]

# A literal in single backticks, which is no part of a role or of a longer run of backticks.
_LITERAL = re.compile(r"(?<![:`])`([^`]+)`(?!`)")
_BLOCK = re.compile(r"(?<=::)\n(?:\n|[ ]+.*\n?)+")
# Napoleon reads what stands before a colon in a property's docstring as its type, unless the
# colon is in a literal of reStructuredText; so this comes first.
_BEFORE_NAPOLEON = 100


def flags_text(option: Option) -> str:
    """The spellings on the command line, e.g. `--port PORT, -p`."""
    if option.kind is bool:
        return ", ".join(filter(None, (*option.flags, option.off_flag)))
    long, *short = option.flags
    # As in `aserve --help`: a choice is called by the last word of its option.
    metavar = option.name.rpartition("_")[2].upper() if option.choices else option.metavar
    return ", ".join((f"{long} {metavar}", *short))


def default_text(option: Option) -> str:
    """The default as a person writes it, with its unit."""
    value = option.default
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text} {option.unit}".rstrip()


class OptionsTable(SphinxDirective):
    """The options of one group: flag, key, default, meaning."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Make the table; a group without options is an error in the page."""
        options = [option for option in iter_options() if option.group == self.arguments[0]]
        if not options:
            raise self.error(f"no option belongs to the group {self.arguments[0]!r}")
        widths = (34, 20, 46)
        table = nodes.table(classes=["options"])
        group = nodes.tgroup(cols=len(widths))
        group += [nodes.colspec(colwidth=width) for width in widths]
        head = nodes.thead()
        head += _row([[nodes.Text(title)] for title in ("Flag", "Default", "Meaning")])
        body = nodes.tbody()
        body += [self._option_row(option) for option in options]
        group += [head, body]
        table += group
        return [table]

    def _option_row(self, option: Option) -> nodes.row:
        flags: list[nodes.Node] = []
        for flag in flags_text(option).split(", "):
            flags += [nodes.Text(", ")] if flags else []
            flags.append(nodes.literal("", flag))
        meaning, _ = self.parse_inline(option.help)
        if option.choices:
            meaning += [nodes.Text(" One of ")]
            for choice in option.choices:
                meaning += [nodes.literal("", choice), nodes.Text(", ")]
            meaning[-1] = nodes.Text(".")
        row = _row([flags, [nodes.Text(default_text(option))], meaning])
        row["ids"].append(f"option-{option.name.replace('_', '-')}")
        return row


def _row(cells: list[list[nodes.Node]]) -> nodes.row:
    row = nodes.row()
    for content in cells:
        paragraph = nodes.paragraph("", "", *content)
        row += nodes.entry("", paragraph)
    return row


class StateFigure(SphinxDirective):
    """A table of transitions as a figure; the body is its title."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        module, _, name = self.arguments[0].partition(":")
        machine = Machine.of(getattr(import_module(module), name))
        title = " ".join(self.content) or name
        return [nodes.raw("", draw(machine, title), format="html")]


def _translate_literals(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    text, blocks = "\n".join(lines), iter(_BLOCK.findall("\n".join(lines)))
    # Blocks of code are as they are: take them out, and put them back.
    text = _LITERAL.sub(r"``\1``", _BLOCK.sub("\0", text))
    lines[:] = re.sub("\0", lambda _: next(blocks), text).split("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what is here; called by Sphinx."""
    app.connect("autodoc-process-docstring", _translate_literals, priority=_BEFORE_NAPOLEON)
    app.add_directive("aserve-options", OptionsTable)
    app.add_directive("aserve-states", StateFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
