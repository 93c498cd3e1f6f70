"""The server that waits for a callback, for async programs and for others."""

from __future__ import annotations

import contextlib
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Final, Self

from ..api import Hooks, open_server
from ..errors import AserveError, CallbackError, CallbackTimeout, ConfigError, ListenError
from ..net.browser import open_browser
from ..server import Server
from .app import CallbackApp, params_of
from .inbox import Bell, Feed, Feeds, Inbox, Verdict
from .messages import CallbackRequest, printable
from .options import CallbackOptions, check_path

__all__ = ["CallbackServer", "wait_for_callback"]

# An address that a provider fills with tokens is longer than what a person types.
_LONGEST_REQUEST_LINE: Final = 65_536


class CallbackServer:
    """A server on this machine that receives the redirect of an OAuth flow, or webhooks.

    An async context manager, on asyncio and on trio: on entry it listens on 127.0.0.1 and ::1, on
    the same port; at the exit the answer page is sent to its end, and nothing is left behind.
    Several can live beside each other. It logs no request: their addresses have codes in them.

    What is not the awaited answer is refused and changes nothing: other paths and methods, other
    hosts, a missing or a wrong `state`, what browsers ask for by themselves.

    Args:
        path: Where the answer arrives, as it is registered with the provider.
        state: What the answer's `state` has to be; None makes up a secret one, see `state`.
        options: The further ones.

    Raises:
        ConfigError: An argument cannot be used.
    """

    def __init__(
        self,
        path: str = "/callback",
        *,
        state: str | None = None,
        options: CallbackOptions | None = None,
    ) -> None:
        check_path(path)
        options = options or CallbackOptions()
        if state is not None and (not state or not options.check_state):
            raise ConfigError("state", state, "is not checked; leave it away")
        self._path = path
        self._options = options
        # RFC 6749 section 10.10: not to be guessed; this one has 256 bits.
        self._state = state or secrets.token_urlsafe(32)
        self._inbox = Inbox(self._state if options.check_state else None, options.issuer)
        self._feeds: Feeds[CallbackRequest] = Feeds()
        self._app = CallbackApp(path, options, self._inbox, self._feeds)
        self._opened: contextlib.AbstractAsyncContextManager[Server] | None = None
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """The redirect URI, e.g. `http://127.0.0.1:49152/callback` (RFC 8252 section 7.3).

        Raises:
            AserveError: It was not entered yet.
        """
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        return f"http://{host}:{self.port}{self._path}"

    @property
    def port(self) -> int:
        """The TCP port.

        Raises:
            AserveError: It was not entered yet.
        """
        if self._server is None:
            raise AserveError("the callback server was not started; use `async with`")
        return self._server.port

    @property
    def state(self) -> str:
        """The first `state` that is expected: put it into the authorization URL."""
        return self._state

    def expect(self, state: str | None = None) -> str:
        """Expect one more answer, e.g. for another account. Any thread.

        Args:
            state: Its state; None makes up a secret one.

        Returns:
            The state, for the authorization URL and for `wait`.
        """
        state = state or secrets.token_urlsafe(32)
        self._inbox.slot(state)
        return state

    async def wait(
        self, state: str | None = None, *, timeout: float | None = None
    ) -> dict[str, str]:
        """Wait for the answer, and until the browser has its page. asyncio and trio.

        Asked again, it returns the same: of several answers to one state, the first counts.

        Args:
            state: Which answer; None for that with the first `state`.
            timeout: Seconds; None for as long as it takes.

        Returns:
            All its parameters, e.g. `code` and `state`.

        Raises:
            CallbackError: The answer is an error, e.g. the person has refused.
            CallbackTimeout: None came in time. The server goes on, and can be asked again.
            AserveError: The server was closed meanwhile.
        """
        import anyio

        slot = self._inbox.slot(state or self._state)
        params: dict[str, str] | None = None
        with anyio.move_on_after(timeout):
            params = await self._inbox.wait(slot)
        # The end of the block sends the rest of a page that is still under way.
        params = params or slot.params
        if params is None:
            raise CallbackTimeout(f"no callback came to {self.url} within {timeout:g} s")
        if "error" in params:
            description = params.get("error_description", "")
            raise CallbackError(params["error"], description, params.get("error_uri", ""))
        return dict(params)

    def feed(self, url: str) -> None:
        """Take the answer out of the browser's address bar, pasted by the person. Any thread.

        For when browser and program are on two machines, and the browser cannot reach this one.

        Args:
            url: The whole address, or what stands behind its `?`.

        Raises:
            ConfigError: It is not what is waited for. The message repeats none of its parameters.
        """
        place, mark, query = url.strip().partition("?")
        if not mark and "=" in place:
            place, query = "", place
        shown = printable(place)  # neither code nor state
        if place and not place.endswith(self._path):
            raise ConfigError("url", shown, f"does not end with {self._path}; copy all of it")
        params = params_of(query.partition("#")[0])
        if params is None:
            raise ConfigError(
                "url", shown, "has no parameters behind a question mark; copy all of it"
            )
        verdict, slot = self._inbox.take(params)
        if verdict is Verdict.TAKEN and slot is not None:
            slot.finish()
        elif verdict is Verdict.FOREIGN:
            fix = "belongs to another attempt; use the one that was begun last"
            raise ConfigError("url", shown, fix)

    def requests(self) -> AsyncIterator[CallbackRequest]:
        """Every request from this call on, in order, whatever it is answered. asyncio and trio.

        Call it before you give the URL away. At the end of the server the iteration ends. When
        1000 requests wait to be read, further ones are answered 503.

        Returns:
            An async iterator; when nobody holds it any more, nothing is kept for it.
        """
        return self._open_feed()

    async def open_browser(self, url: str) -> bool:
        """`aserve.open_browser`, for async programs: does not block. asyncio and trio.

        Args:
            url: The authorization URL.

        Returns:
            Whether it is open; if not, show the URL.
        """
        opened: list[bool] = []
        bell = Bell()

        def work() -> None:
            opened.append(open_browser(url))
            bell.ring()

        threading.Thread(target=work, name="aserve-open-browser", daemon=True).start()
        await bell.wait()
        return opened[0]

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            ListenError: None of the ports can be had.
        """
        if self._opened is not None:
            raise AserveError("a callback server can be started once; make another one")
        hooks = Hooks(on_exchange=self._app.on_exchange)
        for port in self._options.ports:
            self._opened = open_server(
                self._app,
                "localhost",
                port,
                hooks=hooks,
                limit_request_line=_LONGEST_REQUEST_LINE,
            )
            try:
                self._server = await self._opened.__aenter__()
            except ListenError as error:
                if port == self._options.ports[-1]:
                    raise self._listen_error(error) from None
            else:
                break
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._opened is not None
        try:
            await self._opened.__aexit__(kind, error, trace)
        finally:
            self._inbox.close()
            self._feeds.close()

    def _open_feed(self) -> Feed[CallbackRequest]:
        feed = self._feeds.open()
        if self._inbox.is_closed:
            feed.close()
        return feed

    def _listen_error(self, error: ListenError) -> ListenError:
        ports = self._options.ports
        if len(ports) == 1:
            return error
        listed = ", ".join(map(str, ports))
        advice = "Stop what uses them, or register another port with the provider."
        return ListenError(error.errno, f"none of the ports {listed} is free", advice=advice)


def wait_for_callback(
    authorize: Callable[[CallbackServer], str | None],
    path: str = "/callback",
    *,
    state: str | None = None,
    timeout: float | None = None,
    options: CallbackOptions | None = None,
) -> dict[str, str]:
    """Send the person to a provider and wait for the answer, in a program that is not async.

    The server has a loop in a thread of its own, and is gone when this returns. Any thread; Ctrl-C
    in the main thread ends it.

    Args:
        authorize: Called in the caller's thread with the server, which already listens: `url` and
            `state` belong into the authorization URL. That is what it returns; it is opened in
            the browser, and where there is none, shown on standard error. None if it has done so.
        path: As in `CallbackServer`.
        state: The same.
        timeout: Seconds; None for as long as it takes.
        options: As in `CallbackServer`.

    Returns:
        The parameters of the answer, e.g. `code` and `state`.

    Raises:
        CallbackError: The answer is an error.
        CallbackTimeout: None came in time.
        ConfigError: An argument cannot be used.
        ListenError: None of the ports can be had.
    """
    from anyio.from_thread import start_blocking_portal

    server = CallbackServer(path, state=state, options=options)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(server):
        url = authorize(server)
        if url is not None and not open_browser(url):
            _show(url)
        waiting = portal.start_task_soon(lambda: server.wait(timeout=timeout))
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()
            raise


def _show(url: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"Open this address in a browser:\n{url}\n")
        sys.stderr.flush()
