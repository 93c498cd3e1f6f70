"""HTTP/1.1 without I/O: bytes in, events out; events in, bytes out.

Nothing here opens a socket, starts a thread or looks at a clock, so every rule can be tested
in memory. `H1Connection` is the only class that the rest of aserve needs.
"""

from .h1 import H1Connection

__all__ = ["H1Connection"]
