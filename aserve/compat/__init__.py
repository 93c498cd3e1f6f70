"""What people know from Werkzeug, under the same names and with the same meaning."""

from __future__ import annotations

from ..handler import WSGIRequestHandler
from .devcert import make_ssl_devcert
from .serving import run_simple

__all__ = ["WSGIRequestHandler", "make_ssl_devcert", "run_simple"]
