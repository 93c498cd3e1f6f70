"""The debugger: a page for every exception that an app lets out, and a console in its frames."""

from .middleware import DebuggedApplication
from .settings import DebugSettings

__all__ = ["DebugSettings", "DebuggedApplication"]
