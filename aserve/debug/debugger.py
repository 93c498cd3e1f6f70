"""What happens to an exception: it is logged, kept, and shown to whom it may be shown.

Imported at the first one. `answer` and `fail` are called in the thread of the request.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from ..guarded import guarded_headers, policy
from ..harmless import harmless, harmless_line
from ..safe_log import get_logger, log_exception
from ..sealed import Sealed
from .capture import capture
from .commands import Commands, Report, again_elsewhere
from .gate import Gate
from .guard import Guard, is_secure
from .model import with_texts
from .page import PageSettings, render, render_console
from .pin import load_pin
from .request import view_request
from .settings import PREFIX, DebugSettings, pin_of_environment
from .store import Elsewhere, Store
from .text import markdown, plain

if TYPE_CHECKING:
    from ..types import Environ, StartResponse, WSGIHeaders

__all__ = ["Debugger"]

_log = get_logger("aserve")

_REFUSED: Final = b"The application failed; its log says why.\n"
# What stands around the app; `aserve.demo` is one.
_OWN: Final = ("aserve.debug", "aserve.handler", "aserve.static", "aserve.threads")
_STATUS: Final = "500 Internal Server Error"


class Debugger:
    """The debugger of one app in one process. Any thread.

    Args:
        evalex: Offer the console.
        console_path: Where to offer one of its own; None for nowhere.
        settings: See `DebugSettings`.
    """

    def __init__(self, evalex: bool, console_path: str | None, settings: DebugSettings) -> None:
        self._settings = settings
        self._console_path = console_path
        self._root = settings.directory
        self._generation = settings.generation or secrets.token_hex(8)
        secret = settings.run_secret
        if not isinstance(secret, Sealed):
            secret = Sealed(secrets.token_hex(32))
        # Every process of the run accepts the pages of the others.
        self._token = _derived_token(secret)
        self._guard = Guard(
            settings.allowed_hosts, self._token, eval_from_network=settings.eval_from_network
        )
        configured = settings.configured_pin
        pin = load_pin(self._root, configured) if evalex else None
        gate = None
        if pin is not None:
            gate = Gate(pin, secret, self._root, is_configured=configured is not None)
        self._gate = gate
        self._store: Store[Report] = Store()
        self._commands = Commands(
            store=self._store,
            guard=self._guard,
            gate=gate,
            evalex=evalex,
            editor=settings.editor or os.environ.get("ASERVE_EDITOR") or None,
            root=self._root,
            generation=self._generation,
        )

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes] | None:
        """Answer a request that is for the debugger; None if it is for the app after all."""
        path = environ["PATH_INFO"]
        if path == PREFIX + "command":
            return self._commands.answer(environ, start_response)
        if path.startswith(PREFIX + "report/"):
            return self._show_kept(path.removeprefix(PREFIX + "report/"), environ, start_response)
        if path == self._console_path:
            return self._show_console(environ, start_response)
        if not path.startswith(PREFIX):
            return None  # it only begins like the console's
        return _respond(start_response, "404 Not Found", [], b"There is nothing here.\n")

    def fail(
        self,
        error: Exception,
        environ: Environ,
        start_response: StartResponse,
        contexts: Sequence[AbstractContextManager[object]],
    ) -> Iterable[bytes]:
        """Answer with what has happened.

        Raises:
            Exception: `error` itself, if the response has begun: the server cuts it, and logs.
        """
        pin_of_environment()  # an app may have read a file of variables by itself
        captured = capture(error, skip=_OWN, root=self._root)
        # Flask keeps its request there, and nowhere else.
        request = getattr(contexts[-1], "request", None) if contexts else None
        view = view_request(environ, request)
        hide = self._hider()
        captured = replace(captured, problem=with_texts(captured.problem, hide))
        view = with_texts(view, hide)
        report = Report(captured, view, tuple(contexts))
        shown = error.with_traceback(_without_own_frames(error))
        # "h2c" is offered by clients that are as content with HTTP/1.1.
        if environ.get("HTTP_UPGRADE", "h2c").lower() != "h2c":
            # Perhaps the app has taken the connection: it is no response that could be replaced.
            if not isinstance(error, ConnectionError | StopIteration):
                self._tell_where("", report, environ)
            raise shown
        # What nobody can ask for is not kept: others could push out what is looked at.
        name = self._store.add(report) if self._is_for_page(environ) else ""
        status, headers, body = self._respond(name, report, environ)
        trace = shown.__traceback__
        try:
            start_response(status, headers, (type(error), error, trace))
        except Exception as raised:
            if raised is not error:
                raise
            self._tell_where(name, report, environ)
            raise shown.with_traceback(trace)  # noqa: B904
        where = f"{environ.get('REQUEST_METHOD', '')} {_shown(_path_of(environ))}"
        log_exception(_log, f"{where}: the application raised an exception", shown, hide)
        return [body]

    def _hider(self) -> Callable[[str], str]:
        return self._gate.hider() if self._gate is not None else lambda text: text

    def _is_for_page(self, environ: Environ) -> bool:
        return "text/html" in environ.get("HTTP_ACCEPT", "") and self._guard.may_see(environ)

    def _respond(
        self, name: str, report: Report, environ: Environ
    ) -> tuple[str, WSGIHeaders, bytes]:
        if report.captured is None or not self._guard.may_see(environ):
            return _STATUS, guarded_headers("text/plain", len(_REFUSED)), _REFUSED
        if not self._is_for_page(environ):
            # Whoever asks for no HTML reads it on a terminal.
            body = harmless(plain(report.captured.problem)).encode("utf-8", "backslashreplace")
            return _STATUS, guarded_headers("text/plain", len(body)), body
        nonce = secrets.token_urlsafe(16)
        text = render(
            report.captured.problem, report.request, self._page(name, nonce, environ, report)
        )
        body = text.encode("utf-8", "backslashreplace")
        headers = guarded_headers("text/html", len(body), _page_policy(nonce))
        return _STATUS, headers, body

    def _page(self, name: str, nonce: str, environ: Environ, report: Report | None) -> PageSettings:
        problem = report.captured.problem if report and report.captured else None
        return PageSettings(
            token=self._token,
            report=name,
            generation=self._generation,
            command_url=_url_path(environ) + PREFIX + "command",
            nonce=nonce,
            can_eval=self._commands.can_eval(environ),
            is_unlocked=self._commands.is_unlocked(environ),
            has_editor=self._commands.can_open(environ),
            versions=_versions(),
            command_line=self._settings.typed,
            plain=plain(problem) if problem else "",
            markdown=markdown(problem, report.request if report else None) if problem else "",
        )

    def _show_kept(
        self, name: str, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        if not self._guard.may_see(environ):
            return _respond(start_response, "403 Forbidden", [], b"Not from here.\n")
        try:
            report = self._store.get(name)
        except LookupError as error:
            return self._say_missing(error, environ, start_response)
        _, headers, body = self._respond(name, report, environ)
        start_response("200 OK", headers)
        return [body]

    def _say_missing(
        self, error: LookupError, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        again: WSGIHeaders = []
        if not isinstance(error, Elsewhere):
            text = "This error is not kept any more, or never was."
        elif environ.get("wsgi.multiprocess"):
            text = "Another process of the server has this error: load the page again."
            again = again_elsewhere(environ)
        else:
            text = "This error was let go when the app was loaded anew."
        return _respond(start_response, "404 Not Found", again, f"{text}\n".encode())

    def _show_console(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes] | None:
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            return None
        if not self._guard.may_see(environ):
            return _respond(start_response, "403 Forbidden", [], b"Not from here.\n")
        if not self._commands.can_eval(environ):
            text = b"The console is for this machine only: --debug-eval-from-network opens it.\n"
            return _respond(start_response, "403 Forbidden", [], text)
        nonce = secrets.token_urlsafe(16)
        name = self._commands.open_console()
        body = render_console(self._page(name, nonce, environ, None)).encode()
        headers = guarded_headers("text/html", len(body), _page_policy(nonce))
        start_response("200 OK", headers)
        return [body]

    def _tell_where(self, name: str, report: Report, environ: Environ) -> None:
        where = f"{environ.get('REQUEST_METHOD', '')} {_shown(_path_of(environ))}"
        if not self._guard.may_see(environ):
            # A page of somebody else has asked, perhaps again and again: nothing is kept of that.
            _log.error("%s: the response had begun, to another origin", where)
            return
        # Perhaps nobody ever reads it: it pushes out none that was shown.
        name = name or self._store.add(report, "unread")
        scheme = "https" if is_secure(environ) else "http"
        host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        path = f"{_url_path(environ)}{PREFIX}report/{name}"
        _log.error(
            "%s: the response had begun; the error page is %s://%s%s",
            where, scheme, _shown(host), path,
        )  # fmt: skip


def _derived_token(secret: Sealed) -> str:
    import hashlib

    key = bytes.fromhex(secret.reveal())
    return hashlib.sha256(b"aserve debug token\0" + key).hexdigest()[:32]


def _page_policy(nonce: str) -> str:
    return policy(scripts=f"'nonce-{nonce}'", styles=f"'nonce-{nonce}'", connect="'self'")


def _respond(
    start_response: StartResponse, status: str, headers: WSGIHeaders, body: bytes
) -> Iterable[bytes]:
    start_response(status, [*guarded_headers("text/plain", len(body)), *headers])
    return [body]


def _url_path(environ: Environ) -> str:
    """Where the app is mounted, as it stands in a URL."""
    path: str = environ.get("SCRIPT_NAME", "")
    return quote(path, safe="/:@!$&'()*+,;=~", encoding="latin-1", errors="replace")


def _path_of(environ: Environ) -> str:
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def _shown(text: str) -> str:
    return harmless_line(text)[:2000]


def _without_own_frames(error: BaseException) -> Any:
    """A traceback that starts in the application, which is what its author wants to see."""
    start = error.__traceback__
    while start is not None:
        if not str(start.tb_frame.f_globals.get("__name__")).startswith(_OWN):
            return start
        start = start.tb_next
    return error.__traceback__


def _versions() -> str:
    names = [f"Python {sys.version.split()[0]}"]
    from importlib import metadata

    for module, name in (("flask", "Flask"), ("django", "Django"), ("werkzeug", "Werkzeug")):
        if module in sys.modules:
            try:
                names.append(f"{name} {metadata.version(name)}")
            except metadata.PackageNotFoundError:
                continue
    return ", ".join(names)
