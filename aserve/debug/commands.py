"""What the pages ask for: JSON in, JSON out. Called in the thread of the request."""

from __future__ import annotations

import contextvars
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from ..guarded import guarded_headers
from ..pause import Pause
from .capture import Captured
from .console import Console
from .editor import EditorError, has_editor, open_in_editor
from .gate import Gate
from .guard import Guard
from .model import Frame, RequestView, with_texts
from .peek import is_ours
from .places import variables
from .store import Dropped, Elsewhere, Store
from .values import children, describe, look_up

if TYPE_CHECKING:
    from ..types import Environ, StartResponse

__all__ = ["Commands", "Report", "again_elsewhere"]

# A pasted program is larger than this never.
_MOST_BYTES: Final = 200_000


@dataclass(frozen=True, slots=True)
class Report:
    """An exception that is kept.

    Args:
        captured: The problem and its frames; None for a console of its own.
        request: The request, as shown.
        contexts: What the console enters around each input.
        context: What was set where it happened: proxies that look there work in the consoles.
        consoles: By frame, once they were asked for.
        lock: Held while one of them runs: frameworks enter their contexts on a stack.
    """

    captured: Captured | None
    request: RequestView | None
    contexts: tuple[AbstractContextManager[object], ...] = ()
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    consoles: dict[int, Console] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def console(self, number: int, frame: FrameType) -> Console:
        """The console of a frame; its state lives as long as the report."""
        if number not in self.consoles:
            # A copy, for two threads cannot be in one context.
            made = self.context.copy().run(
                Console, frame.f_globals, frame.f_locals, contexts=self.contexts, lock=self.lock
            )
            # Of two that ask at once, both get the one that was first.
            return self.consoles.setdefault(number, made)
        return self.consoles[number]


class _Refused(Exception):
    """A command that is not carried out.

    Args:
        error: See the explanation "The debugger".
        message: For a person.
        **more: Further values of the answer.
    """

    def __init__(self, error: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.answer = {"ok": False, "error": error, "message": message, **more}


_DROPPED: Final = "Only the latest errors are kept; the frames of this one were let go."
_GONE: Final = "The app was loaded anew, and the frames went with the old process."


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Carries out commands. Any thread.

    Args:
        store: The reports.
        guard: Who may.
        gate: What the PIN opens; None if nobody is asked for one.
        evalex: Whether there are consoles.
        editor: The command of an editor, or None for one that is found.
        root: The project's directory.
        generation: What `alive` answers.
    """

    store: Store[Report]
    guard: Guard
    gate: Gate | None
    evalex: bool
    editor: str | None
    root: str
    generation: str
    # Between two files that are opened without a PIN, where there is none.
    pause: Pause = field(default_factory=lambda: Pause(2.0))

    def can_open(self, environ: Environ) -> bool:
        """Whether there is an editor, on the screen of whoever sends this."""
        return self.guard.is_local(environ) and has_editor(self.editor)

    def can_eval(self, environ: Environ) -> bool:
        """Whether there is a console for whoever sends this."""
        return self.evalex and self.guard.may_eval(environ)

    def is_unlocked(self, environ: Environ) -> bool:
        """Whether the PIN was entered, in this run."""
        return self.gate is None or self.gate.is_open_for(environ)

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Carry out one command."""
        cookies: list[tuple[str, str]] = []
        status = "200 OK"
        try:
            if not self.guard.may_command(environ):
                status = "403 Forbidden"
                raise _Refused("forbidden", "This is no page of this run.")
            asked = _read(environ)
            command = _COMMANDS.get(asked.get("do", ""))
            if command is None:
                raise _Refused("bad-request", "There is no such command.")
            result = {"ok": True, **command(self, asked, environ, cookies)}
        except _Refused as refused:
            result = refused.answer
        body = json.dumps(result).encode()
        headers = [*guarded_headers("application/json", len(body)), *cookies]
        if result.get("error") == "elsewhere":
            headers += again_elsewhere(environ)
        start_response(status, headers)
        return [body]

    def open_console(self) -> str:
        """A console of its own; returns what commands call it."""
        report = Report(None, None)
        report.consoles[0] = Console({"__name__": "__console__"}, {})
        return self.store.add(report)

    # The commands. Each returns what its answer says beside `ok`.

    def alive(self, asked: Any, environ: Environ, cookies: Any) -> dict[str, Any]:
        try:
            self._report(asked, environ)
        except _Refused as refused:
            # Another process of the same generation may well have it.
            return {"run": self.generation, "kept": refused.answer["error"] == "elsewhere"}
        return {"run": self.generation, "kept": True}

    def locals(self, asked: Any, environ: Environ, cookies: Any) -> dict[str, Any]:
        frame = self._frame(self._report(asked, environ), asked)
        self._require_pin(environ)
        return self._values(variables(frame))

    def expand(self, asked: Any, environ: Environ, cookies: Any) -> dict[str, Any]:
        frame = self._frame(self._report(asked, environ), asked)
        self._require_pin(environ)
        path = asked.get("path")
        if not isinstance(path, list) or not all(type(step) in (str, int) for step in path):
            raise _Refused("bad-request", "A path is a name and then numbers.")
        try:
            value = look_up({} if is_ours(frame) else frame.f_locals, path)
        except LookupError:
            raise _Refused("bad-request", "It is not there any more.") from None
        return self._values(children(value))

    def open(self, asked: Any, environ: Environ, cookies: Any) -> dict[str, Any]:
        if not self.guard.is_local(environ):
            raise _Refused("editor", "Editors are opened from this machine only.")
        if not self.is_unlocked(environ):
            raise _Refused("pin", "The PIN is needed.")
        if self.gate is None and not self.pause.is_over():
            raise _Refused("editor", "One file in two seconds.")
        report = self._report(asked, environ)
        frame = self._frame(report, asked)
        # Where it was when it failed; the living frame may have gone on.
        line = _line_of(report, asked["frame"])
        try:
            open_in_editor(frame.f_code.co_filename, line, root=self.root, editor=self.editor)
        except EditorError as error:
            raise _Refused("editor", str(error)) from None
        return {}

    def show_pin(self, asked: Any, environ: Environ, cookies: Any) -> dict[str, Any]:
        self._require_eval(environ)
        return {"printed": self.gate is not None and self.gate.print_pin()}

    def unlock(self, asked: Any, environ: Environ, cookies: Any) -> dict[str, Any]:
        self._require_eval(environ)
        if self.gate is None:
            return {}
        attempt = self.gate.try_pin(str(asked.get("pin", "")))
        if attempt.state == "locked":
            text = "Too many wrong PINs: `aserve pin --new` makes another one."
            raise _Refused("locked", text)
        if attempt.state == "wrong":
            left = attempt.left
            tries = "1 more try" if left == 1 else f"{left} more tries"
            raise _Refused("wrong-pin", f"Wrong PIN; {tries}.", left=left)
        cookies.append(("Set-Cookie", self.gate.cookie_for(environ)))
        return {}

    def eval(self, asked: Any, environ: Environ, cookies: Any) -> dict[str, Any]:
        reply = self._console(asked, environ).run(str(asked.get("code", "")))
        return {"output": reply.output, "more": reply.more}

    def complete(self, asked: Any, environ: Environ, cookies: Any) -> dict[str, Any]:
        matches, start = self._console(asked, environ).complete(str(asked.get("text", "")))
        return {"matches": matches, "start": start}

    # What they have in common.

    def _require_eval(self, environ: Environ) -> None:
        if not self.evalex:
            raise _Refused("no-eval", "The console is switched off.")
        if not self.guard.may_eval(environ):
            text = "The console is for this machine only: --debug-eval-from-network opens it."
            raise _Refused("no-eval", text)

    def _require_pin(self, environ: Environ) -> None:
        """For all that reads beyond what the page has shown at first."""
        self._require_eval(environ)
        if not self.is_unlocked(environ):
            raise _Refused("pin", "The PIN is needed.")

    def _values(self, objects: Sequence[tuple[str, object]]) -> dict[str, Any]:
        values = describe(objects)
        if self.gate is not None:
            values = with_texts(values, self.gate.hider())
        return {"values": [asdict(value) for value in values]}

    def _console(self, asked: Any, environ: Environ) -> Console:
        self._require_pin(environ)
        report = self._report(asked, environ)
        number = asked.get("frame")
        if report.captured is None and number == 0:
            return report.consoles[0]
        return report.console(number, self._frame(report, asked))

    def _report(self, asked: Any, environ: Environ) -> Report:
        try:
            return self.store.get(str(asked.get("report", "")))
        except Dropped:
            raise _Refused("dropped", _DROPPED) from None
        except Elsewhere:
            if environ.get("wsgi.multiprocess"):
                text = "Another process of the server has these frames, and it did not answer."
                raise _Refused("elsewhere", text) from None
            raise _Refused("gone", _GONE) from None
        except LookupError:
            raise _Refused("dropped", _DROPPED) from None

    def _frame(self, report: Report, asked: Any) -> Any:
        frames = report.captured.frames if report.captured else ()
        number = asked.get("frame")
        if type(number) is not int or not 0 <= number < len(frames):
            raise _Refused("bad-request", "There is no such frame.")
        return frames[number]


_Command = Callable[[Commands, Any, Any, Any], dict[str, Any]]
_COMMANDS: Final[dict[str, _Command]] = {
    "alive": Commands.alive,
    "locals": Commands.locals,
    "expand": Commands.expand,
    "open": Commands.open,
    "show-pin": Commands.show_pin,
    "unlock": Commands.unlock,
    "eval": Commands.eval,
    "complete": Commands.complete,
}


def _read(environ: Environ) -> dict[str, Any]:
    """The command, which is the body of the request."""
    try:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        if not 0 < size <= _MOST_BYTES:
            raise ValueError(size)
        asked = json.loads(environ["wsgi.input"].read(size))
    except (ValueError, RecursionError):
        raise _Refused("bad-request", "A command is a small JSON object.") from None
    if not isinstance(asked, dict) or not isinstance(asked.get("do"), str):
        raise _Refused("bad-request", "A command is a JSON object with `do`.")
    return asked


def again_elsewhere(environ: Environ) -> list[tuple[str, str]]:
    """Headers that have the client ask again on a new connection, which may land elsewhere."""
    # Only our own server lets an app say so: PEP 3333 "Other HTTP Features".
    return [("Connection", "close")] if "aserve.server" in environ else []


def _line_of(report: Report, number: int) -> int:
    """Where a frame was, in any problem of the chain."""
    problems = [report.captured.problem] if report.captured else []
    while problems:
        problem = problems.pop()
        for place in problem.places:
            if isinstance(place, Frame) and place.id == number:
                return place.line
        problems += [*problem.group, *([problem.earlier] if problem.earlier else [])]
    return 1
