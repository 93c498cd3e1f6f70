"""A prompt in a frame, or on its own."""

from __future__ import annotations
import __future__

import ast
import builtins
import codeop
import contextvars
import itertools
import linecache
import sys
import textwrap
import threading
import traceback
import types
import warnings
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Final

from .. import native
from . import completion, streams

__all__ = ["Console", "Reply"]

_MOST_OUTPUT: Final = 100_000
# Of how many inputs, and of what size, the source is kept for tracebacks.
_MOST_SOURCES: Final = 100
_LONGEST_SOURCE: Final = 20_000

# No code can be typed that has this name.
_SHOW: Final = "<show>"

# `warnings.catch_warnings` is for one thread at a time.
_asking: Final = native.threading.Lock()
_numbers: Final = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the console says.

    Args:
        output: What was printed and shown, errors included; with line ends.
        more: Nothing was run, for the input is incomplete: it goes on in another line.
    """

    output: str
    more: bool = False


class Console:
    """Runs what is typed, as Python's own prompt does, among the names of a frame.

    What is assigned stays in the console: neither the frame nor its module change, and functions
    that exist see no difference. Functions and classes that are typed see the console's names,
    then the frame's, then those of the module as they are at that moment, then builtins.
    `global x`, anywhere in an input, makes `x` the module's for the rest of the console: a
    statement that sets it sets it in the module, as soon as the statement has ended, and a local
    variable of that name is not seen any more.

    A console that is made while the exception is handled has the context variables of the
    request; what the code sets in them stays in the console, too.

    Args:
        globals_: Of the frame's module; not copied.
        locals_: Of the frame; copied.
        contexts: Entered around each input; e.g. Flask's, from `werkzeug.debug.preserve_context`.
        patience: Seconds to wait for an input that is still running.
        lock: Held while code runs; consoles that share contexts have to share it.
    """

    def __init__(
        self,
        globals_: dict[str, Any],
        locals_: Mapping[str, Any],
        *,
        contexts: Sequence[AbstractContextManager[Any]] = (),
        patience: float = 5.0,
        lock: threading.Lock | None = None,
    ) -> None:
        self._module = globals_
        # A frame of a module has the same dict as both, which is no reason to copy it.
        self._names = {} if locals_ is globals_ else dict(locals_)
        # Python looks for these in the namespace itself, e.g. for relative imports.
        for name in ("__name__", "__package__", "__spec__", "__file__"):
            if name in globals_:
                self._names.setdefault(name, globals_[name])
        self._names.setdefault("__name__", "__console__")
        self._names["__builtins__"] = _Beyond(globals_)
        self._declared: set[str] = set()
        self._contexts = tuple(contexts)
        self._patience = patience
        self._lock = lock or native.threading.Lock()
        self._variables = contextvars.copy_context()
        self._flags = 0
        self._sources = _Sources()

    def run(self, code: str) -> Reply:
        """Run an input, and say what it printed, what it is, or what went wrong.

        The value of an expression is shown and becomes `_`; of several statements in several
        lines, that of the last one. No exception leaves, not even SystemExit. Any thread; one
        input at a time.

        Args:
            code: All lines of the input so far. A compound statement alone is complete when it
                ends with an empty line, as at Python's prompt.
        """
        if not self._lock.acquire(timeout=self._patience):
            return Reply("The console is busy with an earlier input.\n")
        try:
            output = streams.Output(_MOST_OUTPUT)
            with streams.caught(output):
                more = self._variables.run(self._run, code, output)
            return Reply(output.text, more)
        except BaseException as error:  # e.g. an interrupt between the lines above
            return Reply(f"{type(error).__name__}\n")
        finally:
            self._lock.release()

    def complete(self, text: str) -> tuple[list[str], int]:
        """Find what the end of `text` may go on as. Any thread, also while code runs.

        Returns:
            Names, attributes or keys of a dict, at most 100, and where in `text` the word starts
            that they replace: for an attribute, behind the last dot.
        """
        beyond = self._names.get("__builtins__")
        known = beyond.builtins if isinstance(beyond, _Beyond) else vars(builtins)
        try:
            return completion.complete(text, (self._names, self._module, known))
        except BaseException:  # a `__dir__` may raise what it likes
            return [], len(text)

    def _run(self, code: str, output: streams.Output) -> bool:
        """Returns whether the input is incomplete."""
        source = code.replace("\r\n", "\n")
        if source[:1] in (" ", "\t"):
            source = textwrap.dedent(source)  # a part of a function, pasted
        try:
            file = self._sources.add(source)
            if _is_incomplete(source, file):
                return True
            statements = self._compile(source, file)
        except Exception as error:
            # Also what compile() says beside SyntaxError: null bytes, too deeply nested.
            output.write("".join(traceback.format_exception_only(error)))
            return False
        try:
            with ExitStack() as stack:
                for context in self._contexts:
                    stack.enter_context(context)
                try:
                    self._execute(statements)
                except BaseException as error:
                    # Within the contexts: its text may need them.
                    output.write(self._describe(error))
        except BaseException as error:
            output.write(self._describe(error))
        return False

    def _compile(self, source: str, file: str) -> list[types.CodeType]:
        # `dont_inherit`: the future statements of this module are none of the user's.
        tree = compile(source, file, "exec", ast.PyCF_ONLY_AST | self._flags, dont_inherit=True)
        body = tree.body
        is_one_line = bool(body) and body[0].lineno == body[-1].lineno
        shown = body if is_one_line else body[-1:]
        for statement in shown:
            _Shown().visit(statement)
        compiled = []
        for statement in body:
            module = ast.Module([statement], [])
            made = compile(module, file, "exec", self._flags, dont_inherit=True)
            self._flags |= made.co_flags & _FUTURES
            compiled.append(made)
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                self._declared.update(node.names)
                for name in node.names:
                    self._names.pop(name, None)
        return compiled

    def _execute(self, statements: list[types.CodeType]) -> None:
        for statement in statements:
            try:
                exec(statement, self._names)
            finally:
                for name in self._declared & self._names.keys():
                    self._module[name] = self._names.pop(name)

    def _describe(self, error: BaseException) -> str:
        """The traceback, without the frames of the console."""
        self._sources.show()
        try:
            trace = traceback.TracebackException.from_exception(error, compact=True)
            _without_ours(trace)
            return "".join(trace.format())
        except BaseException as failure:
            # The error's own code may fail, in ways that even `traceback` does not foresee.
            return f"{type(error).__name__} (no traceback, because of {type(failure).__name__})\n"


class _Beyond(dict[str, Any]):
    """The builtins of the console's namespace: the names of the module come before them.

    Python takes only a real dict as globals everywhere, but any mapping as builtins, and asks
    it last. So one namespace can have the names of the console, and see those of the module as
    they are, in functions, classes and comprehensions alike.
    """

    def __init__(self, module: dict[str, Any]) -> None:
        known = module.get("__builtins__", builtins)
        self.builtins: dict[str, Any] = known if isinstance(known, dict) else vars(known)
        # `import` and `class` look into the dict itself.
        super().__init__(self.builtins)
        self._module = module

    def __getitem__(self, name: str) -> Any:
        if name == _SHOW:
            return _show
        return self._module[name] if name in self._module else self.builtins[name]


def _show(value: object) -> None:
    """What `sys.displayhook` does, but `_` goes to the console that the code runs in."""
    if value is None:
        return
    names = sys._getframe(1).f_globals
    names["_"] = None  # as Python does: if repr fails, there is no half-known value
    print(repr(value))
    names["_"] = value


class _Shown(ast.NodeTransformer):
    """Shows the values of expressions that are statements, but not those within functions."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        name = ast.copy_location(ast.Name(_SHOW, ast.Load()), node.value)
        call = ast.Call(func=name, args=[node.value], keywords=[])
        node.value = ast.copy_location(call, node.value)
        return node

    def _leave(self, node: ast.stmt) -> ast.stmt:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _leave


class _Sources:
    """What was typed, for tracebacks: the last inputs, under names that no file has."""

    def __init__(self) -> None:
        self._console = next(_numbers)
        self._count = 0
        self._kept: deque[tuple[str, list[str]]] = deque()
        weakref.finalize(self, _forget, self._kept).atexit = False

    def add(self, source: str) -> str:
        """Returns the name of the file that it seems to be from."""
        self._count += 1
        file = f"<console {self._console}-{self._count}>"
        if len(source) <= _LONGEST_SOURCE:
            # Each line with its end: without it the marks of a traceback are one place off.
            self._kept.append((file, [f"{line}\n" for line in source.split("\n")]))
        while len(self._kept) > _MOST_SOURCES:
            linecache.cache.pop(self._kept.popleft()[0], None)
        return file

    def show(self) -> None:
        """Let `linecache` know them, again if it was cleared meanwhile."""
        for file, lines in self._kept:
            linecache.cache[file] = (sum(map(len, lines)), None, lines, file)


def _forget(kept: deque[tuple[str, list[str]]]) -> None:
    for file, _ in kept:
        linecache.cache.pop(file, None)


def _is_incomplete(source: str, file: str) -> bool:
    with _asking, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are said when it is compiled to be run
        try:
            return codeop.compile_command(source, file, "single") is None
        except SyntaxError:
            # Several statements are none in "single".
            return codeop.compile_command(source, file, "exec") is None


_OURS: Final = frozenset({__file__, streams.__file__})
_FUTURES: Final = sum(
    {getattr(__future__, name).compiler_flag for name in __future__.all_feature_names}
    # It has the value of another flag of code objects: that of nested functions.
    - {__future__.nested_scopes.compiler_flag}
)


def _without_ours(trace: traceback.TracebackException) -> None:
    """Take the frames of this package out, also of what an exception came from."""
    waiting, seen = [trace], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.stack[:] = [frame for frame in one.stack if frame.filename not in _OURS]
        related = (one.__cause__, one.__context__, *(one.exceptions or ()))
        waiting += [other for other in related if other is not None]
