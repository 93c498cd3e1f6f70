"""The command, with uvloop's loop in place of its own: a server as it is inside of such a program.

What the server does where it can tell nothing of the loop under it is tested so with all that the
command can be told, and with its signals.
"""

from __future__ import annotations

import sys

import uvloop

from aserve import running
from aserve.__main__ import main

running.own_loop = uvloop.new_event_loop  # type: ignore[assignment]
sys.exit(main())
