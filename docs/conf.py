"""How Sphinx builds these pages: `sphinx-build -W docs docs/_build/html`.

Needs no network: there is no intersphinx, no web font, no diagram service.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from aserve import __version__

project = "aserve"
author = "aserve contributors"
copyright = "aserve contributors"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "aserve_docs",
]
exclude_patterns = ["_build", "_ext"]
source_suffix = {".md": "markdown"}

html_theme = "furo"
html_title = "aserve"
html_static_path = ["_static"]
html_css_files = ["figures.css"]
html_copy_source = False

# `:::{note}` reads better than a fence in plain text, and `#anchors` of headings can be linked.
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# Defaults as they were written: `hooks=None`, not the repr of an object.
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Every reference has to lead somewhere. There is no inventory of other projects, because the
# build works offline, so names of Python's and anyio's own documentation stay without a link.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(asyncio|anyio|collections|contextlib|os|socket|ssl|typing|types)\..*"),
    (r"py:.*", r"(None|Any|Callable|Sequence|Mapping|AsyncIterator|Unpack|TaskStatus)"),
    (r"py:.*", r"(int|str|bytes|float|bool|object|type|tuple|list|dict)"),
    (r"py:exc", r"[A-Z]\w+Error|RuntimeError|ValueError|ImportError|OSError"),
    # Spelled out in the text of the options' page.
    (r"py:.*", r".*ServerOptions|WSGIApp|.*SSLContext(Like)?|socket"),
    # What keeps a secret; whoever hands one in writes a text.
    (r"py:.*", r"aserve\.sealed\.Sealed"),
]
