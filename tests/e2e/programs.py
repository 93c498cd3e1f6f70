"""Programs with imports that see, and change, what is around them; each made from a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

__all__ = ["Program"]

_LIBRARIES: Final = 7

# What the libraries are made of; @N is their own number, @M another one's.
_PARTS: Final = (
    "SEEN = os.environ.get('KEY_@M', 'unset')",
    "SEEN = [place for place in sys.path if place.startswith('extra')]",
    "SEEN = [one[1].pattern for one in warnings.filters if one[1] is not None]",
    "SEEN = sorted(name for name in sys.modules if name.startswith('lib@M'))",
    "os.environ['KEY_@N'] = 'set by @N'\nSEEN = 'sets'",
    "os.environ.setdefault('KEY_@M', 'default of @N')\nSEEN = os.environ['KEY_@M']",
    "sys.path.append('extra@N')\nsys.path.insert(0, 'extra_first@N')\nSEEN = 'paths'",
    "warnings.filterwarnings('ignore', message='one@N')\n"
    "warnings.filterwarnings('ignore', message='two@N')\nSEEN = 'filters'",
    "import lib@M\nSEEN = ('uses', getattr(lib@M, 'SEEN', 'half'))",
    "import lib@M\nlib@M.SEEN = 'patched by @N'\nSEEN = 'patches'",
    "import lib@M\nlib@M.COUNT = getattr(lib@M, 'COUNT', 0) + 1\nSEEN = 'counts'",
    "from lib@M import *\nSEEN = ('stars', globals().get('SHARED'))\nSHARED = '@N'",
    "try:\n    from conf import SETTING\nexcept ImportError:\n    SETTING = 'default'\n"
    "SEEN = SETTING",
    "try:\n    import conf_@M as found\nexcept ImportError:\n    found = None\n"
    "SEEN = getattr(found, 'NAME', 'none')",
    "try:\n    import fragile\nexcept RuntimeError as error:\n    SEEN = type(error).__name__\n"
    "else:\n    SEEN = fragile.leaf.NAME",
    "def late():\n    import fragile_late\n    return fragile_late.SEEN\nSEEN = 'lazy'",
    "SEEN = 'alias'\nsys.modules.setdefault('lib_alias_@N', sys.modules[__name__])",
)

# What the app does before, between and behind its imports.
_STEPS: Final = (
    "import lib@M", "import lib@M", "import lib@M", "from lib@M import *",
    "os.environ['KEY_@M'] = 'app'", "os.environ.pop('KEY_@M', None)",
    "sys.path.insert(0, 'extra_app')", "warnings.filterwarnings('ignore', message='app')",
    "sys.modules['lib@M'] = types.ModuleType('lib@M')", "import mine",
    "import lib@M\nlib@M.SEEN = 'patched by the app'", "import fragile_late",
)  # fmt: skip

_STATE: Final = """
def state():
    for module in list(sys.modules.values()):
        if hasattr(module, "late"):
            module.late()
    return {
        "modules": {name: (getattr(module, "SEEN", None), getattr(module, "COUNT", None))
                    for name, module in sorted(sys.modules.items())
                    if name.startswith(("lib", "fragile")) and not name.startswith("lib2to3")},
        "variables": {name: os.environ[name] for name in sorted(os.environ) if "KEY_" in name},
        "path": [place for place in sys.path if place.startswith("extra")],
        "filters": [one[1].pattern for one in warnings.filters if one[1] is not None],
    }
"""


class Program:
    """One of them, and the edits that it meets.

    Args:
        seed: Which one.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._has_conf = False
        self._last = ""  # the app's module

    def files(self, serve: str) -> dict[str, str | None]:
        """All files at first; `lib/` stands for installed ones.

        Args:
            serve: What makes an app of the module.
        """
        head = "import os, sys, warnings\n"
        found: dict[str, str | None] = {
            f"lib/lib{number}.py": head + self._fill(self._random.choice(_PARTS), number)
            for number in range(_LIBRARIES)
        }
        # Fails when it is imported by itself, and leaves a part behind.
        found["lib/fragile/__init__.py"] = (
            "import os\nfrom . import leaf\nif os.environ.get('KEY_0') is None:\n"
            "    raise RuntimeError('KEY_0 is to be set before')\n"
        )
        found["lib/fragile/leaf.py"] = "NAME = 'leaf'\n"
        found["lib/fragile_late.py"] = "import os\nSEEN = os.environ.get('KEY_1', 'unset')\n"
        self._last = self._app(0)
        return {**found, "mine.py": self._mine(), "app.py": self._last + serve}

    def _app(self, number: int) -> str:
        steps = [self._fill(step, 0) for step in self._random.choices(_STEPS, k=6)]
        return "\n".join(["import os, sys, types, warnings", *steps, f"V = {number}", _STATE])

    def edit(self, number: int, serve: str) -> Mapping[str, str | None]:
        """What is saved next.

        Args:
            number: What the answers of this generation begin with.
            serve: See `files`.
        """
        files: dict[str, str | None] = {}
        kind = self._random.randrange(6)
        if kind == 0:
            files["conf.py"] = None if self._has_conf else f"SETTING = 'mine {number}'\n"
            self._has_conf = not self._has_conf
        elif kind == 1:
            files["mine.py"] = self._mine()
        elif kind == 2:
            files[f"conf_{self._random.randrange(_LIBRARIES)}.py"] = f"NAME = {number}\n"
        if kind > 2 or self._random.random() < 0.5:
            self._last = self._app(number)
        else:
            self._last = self._last.replace(f"V = {number - 1}", f"V = {number}")
        return {**files, "app.py": self._last + serve}

    def _mine(self) -> str:
        steps = self._random.choices(_STEPS[:6], k=2)
        return "\n".join(
            ["import os, sys, types, warnings", *(self._fill(s, 0) for s in steps), ""]
        )

    def _fill(self, text: str, number: int) -> str:
        other = self._random.choice([each for each in range(_LIBRARIES) if each != number])
        return text.replace("@N", str(number)).replace("@M", str(other))
