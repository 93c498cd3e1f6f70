"""`aserve.debug.console`: code in a frame, what it prints, and how words go on."""

from __future__ import annotations

import builtins
import contextlib
import contextvars
import gc
import io
import linecache
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from types import FrameType, ModuleType
from typing import Any

import flask
import pytest

from aserve.debug.console import Console, Reply

MODULE = """
limit = 10
names = ["a", "b"]
def double(number):
    return number * factor()
def factor():
    return 2
def read_limit():
    return limit
def raise_limit():
    global limit
    limit += 1
def ask():
    return input("name? ")
def stop():
    breakpoint()
def fail(user):
    secret = {"key one": 1, "key two": 2, 3: 4, 'it"s': 5}
    limit_here = limit
    raise LookupError("nobody")
"""


@pytest.fixture
def module() -> ModuleType:
    module = ModuleType("project")
    exec(compile(MODULE, "/project/app.py", "exec"), module.__dict__)
    return module


@pytest.fixture
def frame(module: ModuleType) -> FrameType:
    try:
        module.fail("ada")
    except LookupError as error:
        trace = error.__traceback__
    assert trace is not None
    assert trace.tb_next is not None
    return trace.tb_next.tb_frame


@pytest.fixture
def console(frame: FrameType) -> Console:
    return Console(frame.f_globals, frame.f_locals)


@pytest.fixture(autouse=True)
def streams() -> Iterator[None]:
    """What belongs to the whole process is as it was."""
    before = (sys.stdin, sys.stdout, sys.stderr, sys.breakpointhook)
    yield
    assert (sys.stdin, sys.stdout, sys.stderr, sys.breakpointhook) == before


def said(console: Console, code: str) -> str:
    reply = console.run(code)
    assert not reply.more
    return reply.output


# Input


def test_values_are_shown_and_kept(console: Console) -> None:
    assert said(console, "1 + 1") == "2\n"
    assert said(console, "_ * 10") == "20\n"
    assert said(console, "None") == ""
    assert said(console, "_") == "20\n"
    assert said(console, "user") == "'ada'\n"
    assert not hasattr(builtins, "_")


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("", ""),
        ("# nothing", ""),
        ("1; 2", "1\n2\n"),
        ("a = 1\nb = 2\na + b", "3\n"),
        ("1\n2", "2\n"),
        ("a = 1\r\na", "1\n"),
        ("for i in range(2):\n    i\n", "0\n1\n"),
        ("for i in range(2):\n    i\nprint('end')", "end\n"),
        ("if True:\n  'yes'\n", "'yes'\n"),
        ("def f():\n    'no'\n    1\n\n    return 2\n", ""),
        ("def f():\n    return 2\nf()", "2\n"),
        ("    a = 1\n    a", "1\n"),
        ("from __future__ import annotations\nx: nowhere = 1\nx", "1\n"),
        ("import sys; print('out'); print('err', file=sys.stderr)", "out\nerr\n"),
        ("class A:\n    'text'\n    1\n", ""),
    ],
)
def test_complete_inputs(console: Console, code: str, output: str) -> None:
    assert console.run(code) == Reply(output)


@pytest.mark.parametrize(
    "code",
    ["if True:", "if True:\n  1", "def f():\n  return 1", "(1,", "'''text", "@double", "a = 1\\",
     "a = 1\nif a:", "try:\n  1\n", "class A: pass"],
)  # fmt: skip
def test_inputs_that_go_on(console: Console, code: str) -> None:
    assert console.run(code) == Reply("", more=True)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("a b", "SyntaxError"),
        ("a = 1\nb c", "SyntaxError"),
        ("a = 1\n  b = 2", "IndentationError"),
        ("return 1", "SyntaxError"),
        ("print(1)\nreturn 1", "SyntaxError"),
        ("a\0b", "null byte"),
        ("'\udc80'", "UnicodeEncodeError"),
        ("(" * 300 + ")" * 300, "too many nested"),
    ],
)
def test_what_cannot_be_read(console: Console, code: str, error: str) -> None:
    output = said(console, code)
    assert error in output
    assert "Traceback" not in output
    assert not output.startswith("1")  # nothing was run


@pytest.mark.parametrize("code", ["1 / 0", "1 / 0\n", "a = 1\n1 / 0"])
def test_the_marks_of_a_traceback_are_in_place(console: Console, code: str) -> None:
    *_, source, marks, error = said(console, code).removesuffix("\n").split("\n")
    assert marks.index("~") == source.index("1 / 0")
    assert error == "ZeroDivisionError: division by zero"


def test_warnings_are_said_once(console: Console) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert said(console, "1 is 1") == "True\n"
    assert [warning.category for warning in seen] == [SyntaxWarning]


# Names


def test_code_sees_the_frame_and_the_module_everywhere(console: Console) -> None:
    for code, value in (
        ("[user + name for name in names]", ["adaa", "adab"]),
        ("(lambda: [user for _i in names][0] + str(limit))()", "ada10"),
        (
            "{n: [limit_here + len(m) for m in names] for n in names}",
            {"a": [11, 11], "b": [11, 11]},
        ),
        ("sorted(names, key=lambda n: (user, limit, n))", ["a", "b"]),
        ("double(limit_here)", 20),
        ("eval('limit + limit_here')", 20),
        ("'limit' in dir() or limit", 10),
        ("sum(limit_here + limit for _i in range(2))", 40),
    ):
        assert said(console, code) == f"{value!r}\n"


def test_classes_and_functions_see_both(console: Console) -> None:
    said(
        console, "def outer():\n    def inner():\n        return user, limit\n    return inner()\n"
    )
    assert said(console, "outer()") == "('ada', 10)\n"
    said(console, "class A:\n    a = limit\n    b = user\n    c = [limit for _ in names]\n"
                  "    def m(self):\n        return limit, user\n")  # fmt: skip
    assert said(console, "A.a, A.b, A.c, A().m()") == "(10, 'ada', [10, 10], (10, 'ada'))\n"


def test_assignments_stay_in_the_console(console: Console, module: ModuleType) -> None:
    said(console, "user = 'bob'; limit = 99; new = 1; names.append('c')")
    assert said(console, "user, limit, new, len(names)") == "('bob', 99, 1, 3)\n"
    assert said(console, "read_limit()") == "10\n"
    assert module.limit == 10
    assert not hasattr(module, "new")
    said(console, "del limit")
    assert said(console, "limit") == "10\n"


def test_the_module_is_seen_as_it_is(console: Console) -> None:
    assert said(console, "raise_limit(); limit") == "11\n"
    assert said(console, "raise_limit()\nlimit") == "12\n"


def test_global_means_the_module(console: Console, module: ModuleType) -> None:
    said(console, "global limit; limit = 5")
    assert module.limit == 5
    assert said(console, "limit += 1; read_limit()") == "6\n"
    said(console, "def f():\n    global user, fresh\n    user = 1\n    fresh = 2\n")
    assert "NameError" in said(console, "user")
    said(console, "f()")
    assert (module.user, module.fresh) == (1, 2)
    assert said(console, "user, fresh") == "(1, 2)\n"


def test_imports_are_of_the_module() -> None:
    import aserve.debug.model as model

    console = Console(vars(model), {})
    assert said(console, "from . import redact; redact.__name__") == "'aserve.debug.redact'\n"
    assert said(console, "import os.path; os.path is __import__('os').path") == "True\n"


def test_a_frame_of_a_module_and_no_frame(module: ModuleType) -> None:
    console = Console(module.__dict__, module.__dict__)
    said(console, "limit = 3")
    assert said(console, "limit, double(2)") == "(3, 4)\n"
    assert module.limit == 10
    alone = Console({}, {})
    assert said(alone, "x = 1\n[x for _i in range(2)], __name__") == "([1, 1], '__console__')\n"


# Errors


def test_an_error_is_shown_with_what_was_typed(console: Console) -> None:
    said(console, "def wrong():\n    return user.nothing\n")
    output = said(console, "wrong()")
    assert output.startswith('Traceback (most recent call last):\n  File "<console ')
    assert "    wrong()\n" in output
    assert "    return user.nothing\n" in output
    assert output.endswith("AttributeError: 'str' object has no attribute 'nothing'\n")
    assert "aserve" not in output


def test_an_error_while_a_value_is_shown(console: Console) -> None:
    said(console, "class Bad:\n    def __repr__(self):\n        raise ValueError('no text')\n")
    output = said(console, "Bad()")
    assert "ValueError: no text" in output
    assert "raise ValueError('no text')" in output
    assert "aserve" not in output
    said(console, "1")
    said(console, "class Worse(Exception):\n    def __str__(self):\n        raise SystemExit\n")
    assert "Worse" in said(console, "raise Worse")


def test_chains_and_groups(console: Console) -> None:
    code = "try:\n    fail('x')\nexcept LookupError as e:\n    raise ValueError('new') from e\n"
    output = said(console, code)
    assert "LookupError: nobody" in output
    assert "direct cause" in output
    output = said(console, "raise ExceptionGroup('many', [KeyError('k'), OSError('o')])")
    assert "many (2 sub-exceptions)" in output
    assert "OSError: o" in output
    output = said(console, "def deep():\n    deep()\n\ndeep()")
    assert "RecursionError" in output
    assert len(output) < 5000


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("raise SystemExit(3)", "SystemExit: 3\n"),
        ("import sys; sys.exit('bye')", "SystemExit: bye\n"),
        ("exit()", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt\n"),
        ("raise GeneratorExit", "GeneratorExit\n"),
    ],
)
def test_nothing_is_raised(console: Console, code: str, shown: str) -> None:
    assert shown in said(console, code)
    assert said(console, "1") == "1\n"
    assert not sys.stdin.closed


@pytest.mark.parametrize(
    "code",
    ["input()", "ask()", "import sys; sys.stdin.read()", "import sys; list(sys.stdin)",
     "import sys; next(sys.stdin)"],
)  # fmt: skip
def test_nobody_is_asked(console: Console, code: str) -> None:
    output = said(console, code)
    assert output.endswith("RuntimeError: there is no terminal here: nobody could answer\n")
    assert "aserve" not in output


@pytest.mark.parametrize("code", ["breakpoint()", "stop()"])
def test_nothing_stops_in_a_debugger(console: Console, code: str) -> None:
    assert "RuntimeError: breakpoint() needs a terminal" in said(console, code)
    assert sys.gettrace() is None or "pdb" not in repr(sys.gettrace())


def test_sources_are_bounded_and_go_with_the_console(console: Console) -> None:
    earlier = set(linecache.cache)

    def known() -> list[str]:
        return [name for name in linecache.cache if name not in earlier and name[0] == "<"]

    for _ in range(150):
        said(console, "1 / 0")
    assert 1 <= len(known()) <= 100
    linecache.clearcache()
    assert "    1 / 0\n" in said(console, "1 / 0")
    other = Console({}, {})
    said(other, "1 / 0")
    name = known()[-1]
    del other
    gc.collect()
    assert name not in linecache.cache


def test_a_console_lets_go_at_once() -> None:
    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)
    console = Console({}, {"held": held})
    said(console, "held")
    said(console, "held.nothing")
    del held
    gc.disable()
    try:
        del console
        assert gone() is None
    finally:
        gc.enable()


# Output


def test_output_is_bounded(console: Console) -> None:
    output = said(console, "for i in range(300):\n    print('x' * 1000)\n")
    assert len(output) < 100_100
    assert output.endswith("\n... cut after 100,000 characters\n")
    assert said(console, "1") == "1\n"


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("sys.stdout.buffer.write(b'by\\xc3\\xa9\\xfft'); None", "byé\\xfft"),
        ("click.echo('text'); click.echo(b'bytes', err=True)", "text\nbytes\n"),
        ("sys.stdout.writelines(['a', 'b']); sys.stdout.flush(); sys.stdout.isatty()", "abFalse\n"),
        ("sys.stdout.encoding, sys.stderr.errors", "('utf-8', 'backslashreplace')\n"),
        ("pprint.pprint({1: 2})", "{1: 2}\n"),
    ],
)
def test_ways_to_print(console: Console, code: str, output: str) -> None:
    assert said(console, f"import click, pprint, sys\n{code}") == output


def test_what_is_no_text(console: Console) -> None:
    output = said(console, "import sys\nsys.stdout.write(1)")
    assert "TypeError: write() needs a str, not int" in output
    assert "UnsupportedOperation" in said(console, "sys.stdout.fileno()")


def test_other_threads_print_where_they_did(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import threading\n"
        "thread = threading.Thread(target=print, args=('theirs',))\n"
        "thread.start(); thread.join(); print('mine')"
    )
    assert said(console, code) == "mine\n"
    assert capsys.readouterr().out == "theirs\n"


def test_many_consoles_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    barrier = threading.Barrier(5)
    replies: dict[int, str] = {}

    def work(number: int) -> None:
        console = Console({}, {"number": number, "barrier": barrier})
        for _ in range(20):
            barrier.wait()
            replies[number] = console.run("for _ in range(9):\n    print(number)\n").output
            assert replies[number] == f"{number}\n" * 9

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        barrier.wait()
        print("outside")
    for thread in threads:
        thread.join()
    assert replies == {number: f"{number}\n" * 9 for number in range(4)}
    assert capsys.readouterr().out == "outside\n" * 20


def test_stdout_is_replaced_meanwhile(console: Console) -> None:
    before = sys.stdout
    theirs = io.StringIO()
    said(console, "import sys, io; kept = sys.stdout; sys.stdout = new = io.StringIO()")
    try:
        assert sys.stdout is not before  # it is theirs now
        assert said(console, "print('caught')") == "caught\n"
        sys.stdout = theirs
        said(console, "kept.write('through')")
        assert sys.stdout is theirs
    finally:
        sys.stdout = before
    # What was kept and put back later is taken out by the next that comes.
    other = Console({}, {})
    said(other, "import sys; sys.stdout.flush()")
    said(console, "other = 1")
    assert sys.stdout is before


def test_what_was_kept_of_stdout_goes_on(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: list[Any] = []
    Console({}, {"kept": kept}).run("import sys; kept.append(sys.stdout)")
    kept[0].write("later\n")
    assert capsys.readouterr().out == "later\n"
    before = sys.stdout
    sys.stdout = kept[0]
    try:
        print("again")
        said(console, "1")
        assert sys.stdout is before
    finally:
        sys.stdout = before


def test_no_stdout_at_all(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    code = "import threading\nt = threading.Thread(target=print, args=(1,))\nt.start(); t.join(); 2"
    assert said(console, code) == "2\n"
    assert sys.stdout is None
    monkeypatch.undo()


# One at a time, contexts


def test_busy(console: Console) -> None:
    started, go_on = threading.Event(), threading.Event()
    slow = Console({}, {"started": started, "go_on": go_on}, patience=0.05)
    thread = threading.Thread(target=slow.run, args=("started.set(); go_on.wait(50)",))
    thread.start()
    assert started.wait(50)
    assert "busy" in slow.run("1").output
    assert slow.complete("go_")[0] == ["go_on"]
    go_on.set()
    thread.join()
    assert slow.run("1").output == "1\n"
    assert "busy" in said(Console({}, {"slow": slow}), "slow._lock.acquire(); slow.run('1')")


def test_contexts_are_entered_around_each_input() -> None:
    seen: list[str] = []

    @contextlib.contextmanager
    def one() -> Iterator[None]:
        seen.append("in")
        print("entered")
        yield
        seen.append("out")

    class Again:
        def __enter__(self) -> None:
            self.inner = one()
            self.inner.__enter__()

        def __exit__(self, *exc: object) -> None:
            self.inner.__exit__(None, None, None)

    console = Console({}, {"seen": seen}, contexts=[Again(), Again()])
    assert said(console, "len(seen)") == "entered\nentered\n2\n"
    assert "ZeroDivisionError" in said(console, "1 / 0")
    assert seen == ["in", "in", "out", "out"] * 2
    assert console.run("if 1:").output == ""
    assert len(seen) == 8

    class Broken:
        def __enter__(self) -> None:
            raise OSError("not again")

        def __exit__(self, *exc: object) -> None: ...

    assert "OSError: not again" in said(Console({}, {}, contexts=[Broken()]), "1")


def test_flask(capsys: pytest.CaptureFixture[str]) -> None:
    app = flask.Flask("shop")
    app.testing = True
    contexts: list[Any] = []
    consoles: list[Console] = []

    @app.get("/cart/<name>")
    def cart(name: str) -> str:
        raise LookupError(name)

    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/cart/ada", "SCRIPT_NAME": "", "QUERY_STRING": "q=1",
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(), "werkzeug.debug.preserve_context": contexts.append,
    }  # fmt: skip
    try:
        app(environ, lambda *_: lambda _: None)
    except LookupError as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        assert trace is not None
        frame = trace.tb_frame
        consoles.append(
            Console(frame.f_globals, {**frame.f_locals, "flask": flask}, contexts=contexts)
        )
    assert not flask.has_request_context()
    console = consoles[0]
    outputs: list[str] = []

    def later() -> None:
        codes = (
            "flask.request.path", "flask.url_for('cart', name=name)", "flask.request.args['q']",
            "flask.g.kept = 1", "flask.current_app.name", "flask.request.nothing",
            "flask.request.path",
        )  # fmt: skip
        outputs.extend(said(console, code) for code in codes)

    thread = threading.Thread(target=later)
    thread.start()
    thread.join()
    assert outputs[:5] == ["'/cart/ada'\n", "'/cart/ada'\n", "'1'\n", "", "'shop'\n"]
    assert "AttributeError" in outputs[5]
    assert outputs[6] == "'/cart/ada'\n"
    assert not flask.has_request_context()


def test_context_variables() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    token = variable.set("of the request")
    console = Console({}, {"variable": variable})
    variable.reset(token)
    assert said(console, "variable.get()") == "'of the request'\n"
    said(console, "variable.set('mine')")
    assert said(console, "variable.get()") == "'mine'\n"
    assert variable.get(None) is None


# Completion


class Slotted:
    __slots__ = ("empty", "filled")

    def __init__(self) -> None:
        self.filled = "text"


class Thing:
    def __init__(self) -> None:
        self.plain = {"inner": 1}
        self.slotted = Slotted()
        self.ran: list[str] = []

    @property
    def costly(self) -> str:
        self.ran.append("costly")
        return "text"

    def method(self) -> None: ...

    def __getattr__(self, name: str) -> str:
        self.ran.append(name)
        return "text"


class Evil:
    def __dir__(self) -> list[str]:
        raise SystemExit


def test_names_attributes_and_keys(console: Console) -> None:
    for text, matches, start in (
        ("use", ["user"], 0),
        ("x = use", ["user"], 4),
        ("lim", ["limit", "limit_here"], 0),
        ("prin", ["print"], 0),
        ("whil", ["while"], 0),
        ("user.upp", ["upper"], 5),
        ("f(user.isdi", ["isdigit"], 7),
        ("a.b(user.isdi", ["isdigit"], 9),
        ("names.app", ["append"], 6),
        ('secret["key', ['"key one"]', '"key two"]'], 7),
        ("secret['key o", ["'key one']"], 7),
        ("print(secret[ 'key o", ["'key one']"], 14),
        ("secret['", ["'key one']", "'key two']"], 7),
        ("secret['key'].x", [], 14),
        ("user[0].up", [], 8),
        ("nothing.x", [], 8),
        ("1.x", [], 2),
        ("double(1).re", [], 10),
        ("names['", [], 6),
        ("zzz", [], 0),
    ):
        assert console.complete(text) == (matches, start), text
    found, start = console.complete("")
    assert start == 0
    assert len(found) == 100
    assert "__name__" not in found
    assert "__name__" in console.complete("__n")[0]


def test_what_was_assigned_and_imported(console: Console) -> None:
    said(console, "import os.path; other = 1")
    assert console.complete("oth") == (["other"], 0)
    assert console.complete("os.path.joi") == (["join"], 8)
    assert console.complete("os.path.join.__nam") == (["__name__"], 13)


def test_no_property_is_run() -> None:
    thing = Thing()
    console = Console({}, {"thing": thing, "Thing": Thing, "evil": Evil()})
    assert console.complete("thing.cos") == (["costly"], 6)
    assert console.complete("thing.costly.u") == ([], 13)
    assert console.complete("thing.dynamic.u") == ([], 14)
    assert console.complete("thing.plain['in") == (["'inner']"], 12)
    assert console.complete("thing.slotted.filled.upp") == (["upper"], 21)
    assert console.complete("thing.slotted.empty.u") == ([], 20)
    assert console.complete("thing.method.__na") == (["__name__"], 13)
    assert console.complete("Thing.cos") == (["costly"], 6)
    # One of the libraries that the tests load asks so within dir().
    assert set(thing.ran) <= {"__name__"}
    assert console.complete("evil.x") == ([], 6)


def test_long_and_strange_texts(console: Console) -> None:
    assert console.complete("x" * 100_000) == ([], 100_000 - 500)
    assert console.complete("a." * 50_000)[0] == []
    assert console.complete("\udc80\0(") == ([*console.complete("")[0]], 3)
    assert console.complete("é" * 10 + ".") == ([], 11)
