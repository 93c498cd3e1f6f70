"""What a worker thread runs."""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["Job", "Running"]


class Job(Protocol):
    """Something to run in a worker thread; `str` says what, for a person."""

    def run(self) -> None:
        """Do it; must not raise. Worker thread."""
        ...

    def is_stuck(self) -> bool:
        """Whether it is worth a line in the log that it has run for so long; asked once is enough.

        Loop thread.
        """
        ...

    def is_over(self) -> bool:
        """Whether the server has ended it: nobody waits for what it still does. Loop thread."""
        ...

    def drop(self) -> None:
        """It will not be run: the pool has closed. Loop thread."""
        ...


class Running(NamedTuple):
    """A job that is running now, for reports."""

    job: Job
    thread_id: int
    thread_name: str
    seconds: float
