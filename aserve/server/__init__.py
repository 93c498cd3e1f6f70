"""The engine: connections on the loop, the application in worker threads.

It is handed everything that it needs (the application, listening sockets, configuration,
observers), prints nothing, installs no signal handler and never ends the process.
"""

from .server import Server
from .state import ServerState

__all__ = ["Server", "ServerState"]
