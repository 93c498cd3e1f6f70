"""Which process holds a port, where the system tells: for the error when it is taken.

On Linux /proc tells; elsewhere nothing portable does, and the message leaves the name out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["describe_holder"]

_LISTEN: Final = "0A"  # TCP_LISTEN in include/net/tcp_states.h


def describe_holder(port: int, proc: Path = Path("/proc")) -> str:
    """`NAME (pid N)` of the process that listens on the port, or an empty text.

    Args:
        port: The TCP port.
        proc: Where the process file system is mounted.
    """
    inodes = set(_listening_inodes(port, proc))
    if not inodes:
        return ""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in proc.iterdir():
        if process.name.isdecimal() and _holds(process, wanted):
            return f"{_name_of(process)} (pid {process.name})"
    return ""


def _listening_inodes(port: int, proc: Path) -> Iterator[str]:
    suffix = f":{port:04X}"
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[1].endswith(suffix) and columns[3] == _LISTEN:
                yield columns[9]


def _holds(process: Path, wanted: set[str]) -> bool:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:
        return False  # another user's, or gone
    for descriptor in descriptors:
        try:
            if str(descriptor.readlink()) in wanted:
                return True
        except OSError:
            continue
    return False


def _name_of(process: Path) -> str:
    try:
        arguments = (process / "cmdline").read_bytes().split(b"\0")
        words = [Path(word.decode(errors="replace")).name for word in arguments[:3] if word]
        return " ".join(words) or (process / "comm").read_text().strip()
    except OSError:
        return "a process"
