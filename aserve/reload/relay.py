"""Connections between two processes: the old one has left them, and the next one takes them."""

from __future__ import annotations

import os
from collections import deque

from .channel import Message
from .child import Child
from .page import Page

__all__ = ["Relay"]


class Relay:
    """Passes connections on, as soon as there is somebody who answers. Loop thread."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Message, int]] = deque()
        self._receivers: deque[Child] = deque()
        self._page: Page | None = None

    def pass_on(self, message: Message, descriptor: int) -> None:
        """A connection at rest, and what was read of its next request; owned from here on."""
        self._waiting.append((message, descriptor))
        self._pass_on()

    def add(self, child: Child) -> None:
        """This process takes connections, in turn with the others."""
        self._receivers.append(child)
        self._pass_on()

    def remove(self, child: Child) -> None:
        """It takes none any more."""
        if child in self._receivers:
            self._receivers.remove(child)

    def show(self, page: Page) -> None:
        """The supervisor itself answers."""
        self._page = page
        self._pass_on()

    def hide(self) -> None:
        """It does so no more; who has not been answered waits for the next process."""
        page, self._page = self._page, None
        if page is not None:
            for descriptor, data in page.close():
                message = {"type": "connection", "data": data.decode("latin-1")}
                self._waiting.append((message, descriptor))

    def close(self) -> None:
        """Nobody is going to take them."""
        for _, descriptor in self._waiting:
            os.close(descriptor)
        self._waiting.clear()

    def _pass_on(self) -> None:
        while self._waiting and (self._receivers or self._page is not None):
            message, descriptor = self._waiting.popleft()
            if self._page is not None:
                self._page.adopt(descriptor, message["data"].encode("latin-1"))
            elif self._receivers[0].channel.send(message, [descriptor]):
                os.close(descriptor)
                self._receivers.rotate(-1)
            else:
                self._receivers.popleft()  # it has ended
                self._waiting.appendleft((message, descriptor))
