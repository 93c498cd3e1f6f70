"""`aserve.debug.values`: objects as texts and parts, whatever they do."""

from __future__ import annotations

import contextvars
import dataclasses
import threading
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aserve.debug import values
from aserve.debug.model import Value
from aserve.debug.values import can_expand, children, describe, look_up

MILLION = 10**6


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may stop a thread for longer than a reader wants to wait."""
    monkeypatch.setattr(values, "BUDGET", 40.0)
    monkeypatch.setattr(values, "PATIENCE", 20.0)


@pytest.fixture
def hurry(patience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "PATIENCE", 1.0)


@pytest.fixture
def hanging() -> Iterator[type]:
    """A class whose repr waits until the test is over."""
    over = threading.Event()

    class Hanging:
        def __repr__(self) -> str:
            over.wait()
            return "at last"

    yield Hanging
    over.set()
    for thread in threading.enumerate():
        if thread.name == "aserve-debug-repr":
            thread.join()


def text(obj: object, name: str = "x") -> str:
    return describe([(name, obj)])[0].text


class Trap:
    """Tells when something of it is run that is not its repr."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(name)

    @property
    def run(self) -> None:
        raise AssertionError

    def __len__(self) -> int:
        raise AssertionError

    def __iter__(self) -> Any:
        raise AssertionError

    def __hash__(self) -> int:
        raise AssertionError

    def __eq__(self, other: object) -> bool:
        raise AssertionError

    def __bool__(self) -> bool:
        raise AssertionError


class Meta(type):
    """A class of classes that cannot be compared, and whose attributes lie."""

    def __hash__(cls) -> int:
        raise AssertionError

    def __eq__(cls, other: object) -> bool:
        raise AssertionError

    def __instancecheck__(cls, instance: object) -> bool:
        raise AssertionError

    @property
    def __name__(cls) -> str:  # type: ignore[override, unused-ignore]
        raise AssertionError

    @property
    def __mro__(cls) -> tuple[type, ...]:  # type: ignore[override, unused-ignore]
        raise AssertionError


class Odd(metaclass=Meta):
    def __repr__(self) -> str:
        return "odd"


def made(**methods: Any) -> Any:
    return type("Made", (), methods)()


Point = namedtuple("Point", "x token")


@dataclasses.dataclass
class Account:
    user: str
    password: str
    quiet: int = dataclasses.field(default=1, repr=False)


@dataclasses.dataclass(slots=True)
class Slotted:
    left: int
    api_key: str


@pytest.mark.parametrize(
    "obj",
    [1, -5, True, None, 1.5, 2j, ..., "a'b", b"\x00", bytearray(b"x"), [], [1, [2]], (), (1,), {},
     {"a": 1, 2: (3, 4)}, set(), {1}, frozenset(), frozenset({1}), deque([1]), range(3),
     {1: 2}.keys(), {1: 2}.values(), {1: 2}.items(), slice(1), Slotted, len,
     OrderedDict(), defaultdict(list)],
    ids=repr,
)  # fmt: skip
def test_what_is_small_reads_as_its_repr(obj: object) -> None:
    assert text(obj) == repr(obj)


def test_types_of_mappings_are_told() -> None:
    assert text(defaultdict(list, a=[1])) == "defaultdict({'a': [1]})"
    assert text(OrderedDict(a=1)) == "OrderedDict({'a': 1})"
    assert text(SimpleNamespace(a=1)) == "SimpleNamespace(a=1)"


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        ("x" * MILLION, "… 999,700 more characters"),
        (b"x" * MILLION, "… 999,700 more bytes"),
        (list(range(MILLION)), "49, … 999,950 more]"),
        (dict.fromkeys(range(MILLION)), " more}"),
        (set(range(MILLION)), " more}"),
        (dict.fromkeys(range(MILLION)).values(), " more])"),
        (["x" * MILLION] * MILLION, "… 999,999 more]"),
        (10**MILLION, "<int with about 1,000,001 digits>"),
        ([10**MILLION], "[<int with about 1,000,001 digits>]"),
        (made(__repr__=lambda self: "y" * MILLION), "yy… 999,700 more characters"),
        ("\U0010ffff" * 1000, " more characters"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_huge_is_cut(obj: object, expected: str) -> None:
    found = text(obj)
    assert found.endswith(expected)
    assert len(found) < 500


def test_subclasses_of_strings_are_read_past_their_methods() -> None:
    class Sub(str):
        def __getitem__(self, key: object) -> str:
            raise AssertionError

        def __len__(self) -> int:
            raise AssertionError

    assert text(Sub("abc")) == "'abc'"
    assert text(made(__repr__=lambda self: Sub("abc"))) == "abc"


def test_circles_and_depth() -> None:
    circle: list[object] = [1]
    circle.append(circle)
    assert text(circle) == "[1, […]]"
    mapping: dict[str, object] = {}
    mapping["me"] = mapping
    assert text(mapping) == "{'me': {…}}"
    twice = [1]
    assert text([twice, twice]) == "[[1], [1]]"
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert text(deep) == "[[[[[[…]]]]]]"
    while deep:  # freed from the outside, for a recursion in C may be too deep
        deep = deep.pop()  # type: ignore[assignment]


def test_secrets_are_hidden_at_any_depth() -> None:
    headers = [("Authorization", "Bearer s3cret"), ("Accept", "*/*")]
    secret = {
        "password": "s3cret", "deep": [{"API-Key": "s3cret", b"token": "s3cret"}],
        "account": Account("ann", "s3cret"), "slotted": Slotted(1, "s3cret"),
    }  # fmt: skip
    objects = [secret, headers, Point(1, "s3cret"), SimpleNamespace(pin="s3cret"), secret.items()]
    for value in describe([(f"v{i}", obj) for i, obj in enumerate(objects)]):
        assert "s3cret" not in value.text
        assert "<hidden>" in value.text or "more" in value.text, value
    assert text(Account("ann", "s3cret")) == "Account(user='ann', password=<hidden>)"


def test_subclasses_of_dict_hide_secrets_too() -> None:
    class Form(dict[str, str]):
        def __repr__(self) -> str:
            return f"<Form {dict(self)}>"

    assert text(Form(password="s3cret")) == "Form({'password': <hidden>})"
    assert text(Form()) == "<Form {}>"


@pytest.mark.parametrize(
    "name", ["password", ".api_key", "['pin']", "[b'authorization']", "HTTP_COOKIE"]
)
def test_a_name_can_say_that_the_value_is_hidden(name: str) -> None:
    assert describe([(name, ["s3cret"])]) == (
        Value(name=name, type="list", text="<hidden>", is_hidden=True),
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("no"), "<repr raised ValueError: no>"),
        (SystemExit(3), "<repr raised SystemExit: 3>"),
        (KeyboardInterrupt(), "<repr raised KeyboardInterrupt>"),
        (GeneratorExit(), "<repr raised GeneratorExit>"),
        (StopIteration(), "<repr raised StopIteration>"),
        (type("Own", (BaseException,), {})("x" * 9999), "more characters>"),
        (type("Bad", (Exception,), {"__str__": lambda self: 1 / 0})(), "<repr raised Bad>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_reprs_that_raise(error: BaseException, expected: str) -> None:
    def raises(self: object) -> str:
        raise error

    found = text(made(__repr__=raises))
    assert found.endswith(expected)
    assert len(found) < 300
    assert text([1, made(__repr__=raises), 2]).startswith("[1, <repr raised ")


def test_reprs_of_another_kind() -> None:
    assert "TypeError" in text(made(__repr__=lambda self: 5))
    assert "TypeError" in text(made(__repr__=None))

    def again(self: object) -> str:
        return repr(self)

    assert "RecursionError" in text(made(__repr__=again))


def test_nothing_else_of_an_object_is_run() -> None:
    trap = Trap()
    value = describe([("x", trap)])[0]
    assert value.type == "Trap"
    assert "Trap object" in value.text or "AssertionError" in value.text
    assert children(trap) == ()
    assert children([trap])[0][1] is trap
    assert text(Odd()) == "odd"
    assert children(Odd()) == ()
    assert children(Odd) == ()


def test_a_class_that_lies_about_itself() -> None:
    class Liar:
        @property  # type: ignore[misc]
        def __class__(self) -> type:
            return dict

        def __repr__(self) -> str:
            return "liar"

    assert describe([("x", Liar())]) == (Value(name="x", type="Liar", text="liar"),)


def test_what_cannot_be_encoded_or_seen() -> None:
    shown = describe(
        [("a\udc80", "\udc80"), ("b", made(__repr__=lambda self: "\x1b[31m\u202e\ud800\r\n\ty"))]
    )
    assert shown[0].name == "a\\udc80"
    assert shown[0].text == "'\\udc80'"
    assert shown[1].text == "\\x1b[31m\\u202e\\ud800\\r\n\ty"


@pytest.mark.usefixtures("hurry")
def test_a_repr_that_hangs_costs_only_itself(hanging: type) -> None:
    fine = made(__repr__=lambda self: "fine")
    shown = describe([("a", fine), ("b", hanging()), ("c", [hanging()]), ("d", 1), ("e", fine)])
    assert [value.text for value in shown] == [
        "fine", "<repr takes too long>", "<repr takes too long>", "1", "fine",
    ]  # fmt: skip
    assert [value.can_expand for value in shown] == [False, False, True, False, False]


@pytest.mark.usefixtures("hurry")
def test_page_after_page_of_hanging_reprs_takes_few_threads(hanging: type) -> None:
    """A page that fails on each poll, with a lock in its frame that a repr waits for."""
    before = set(threading.enumerate())
    fine = made(__repr__=lambda self: "fine")
    for _ in range(15):
        texts = [value.text for value in describe([("a", hanging()), ("b", fine), ("c", 1)])]
    assert texts == ["<repr was not asked: too many others hang>"] * 2 + ["1"]
    assert len(set(threading.enumerate()) - before) == 8


def test_when_all_hang_the_time_is_limited(hanging: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "BUDGET", 0.3)
    monkeypatch.setattr(values, "PATIENCE", 0.1)
    before = set(threading.enumerate())
    shown = describe([("x", hanging())] * 1000 + [("y", "text")])
    started = set(threading.enumerate()) - before
    assert {value.text for value in shown[:-1]} == {"<repr takes too long>"}
    assert shown[-1].text == "'text'"
    assert len(started) <= 4
    assert all(thread.daemon for thread in started)


def test_reprs_read_the_context_of_the_caller() -> None:
    variable = contextvars.ContextVar("variable", default="outside")
    variable.set("inside")
    assert text(made(__repr__=lambda self: variable.get())) == "inside"


def test_a_batch_takes_one_thread_and_plain_values_none() -> None:
    threads = set()

    def note(self: object) -> str:
        threads.add(threading.current_thread())
        return ""

    describe([("x", made(__repr__=note)) for _ in range(100)])
    assert len(threads) == 1
    assert threading.current_thread() not in threads


class Base:
    __slots__ = ("_slot", "unset")


class Derived(Base):
    shared = 1

    def __init__(self) -> None:
        self._slot = 1
        self.own = 2

    @property
    def computed(self) -> int:
        raise AssertionError


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        ({"a": 1, 2: 3, None: 4}, [("['a']", 1), ("[2]", 3), ("[None]", 4)]),
        ({(1, "a"): 1}, [("[(1, 'a')]", 1)]),
        ({Derived: 1}, [("[<type>]", 1)]),
        ([5, 6], [("[0]", 5), ("[1]", 6)]),
        ((5,), [("[0]", 5)]),
        (deque([5]), [("[0]", 5)]),
        ({5}, [("{0}", 5)]),
        ({1: 5}.values(), [("{0}", 5)]),
        (Derived(), [(".own", 2), ("._slot", 1)]),
        (Point(1, 2), [(".x", 1), (".token", 2)]),
        (Account("a", "b"), [(".user", "a"), (".password", "b"), (".quiet", 1)]),
        (Slotted(1, "b"), [(".left", 1), (".api_key", "b")]),
        (ValueError(1, 2), [(".args", (1, 2))]),
        (("Cookie", "a=b"), [("[0]", "Cookie"), ("['Cookie']", "a=b")]),
        (5, []), ("text", []), (None, []), ([], []), ({}, []), (object(), []), (len, []),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_parts(obj: object, expected: list[tuple[str, object]]) -> None:
    assert list(children(obj)) == expected
    assert can_expand(obj) == bool(expected)


def test_attributes_of_containers_come_after_their_items() -> None:
    class Rows(list[int]):
        pass

    rows = Rows([7])
    rows.total = 1  # type: ignore[attr-defined]
    assert children(rows) == (("[0]", 7), (".total", 1))


def test_a_property_called_dict_is_not_run() -> None:
    class Fake:
        @property
        def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
            raise AssertionError

    assert children(Fake()) == ()


def test_many_parts_end_with_how_many_are_left() -> None:
    parts = children(list(range(MILLION)))
    assert len(parts) == 51
    assert parts[-1][0] == "…"
    assert describe(parts)[-1] == Value(name="…", type="", text="<999,950 more>")
    crowd = SimpleNamespace(**{f"a{i}": i for i in range(60)})
    assert describe(children(crowd))[-1].text == "<10 more>"


def test_looking_up() -> None:
    variables = {"x": {"a": [1, Derived()]}, "token": [1], "form": {"password": [1]}, "5": [1]}
    assert look_up(variables, ["x"]) is variables["x"]
    assert look_up(variables, ["x", 0, 1, 0]) == 2


@pytest.mark.parametrize(
    "path",
    [[], [5], ["y"], ["x", 50], ["x", 5], ["x", -1], ["x", "0"], ["x", True], ["x", 0, 0],
     ["token"], ["token", 0], ["form", 0], ["form", 0, 0], ["header", 1], ["x", 0.0], ["x", None]],
    ids=repr,
)  # fmt: skip
def test_what_cannot_be_looked_up(path: list[Any]) -> None:
    variables: dict[str, object] = {
        "x": list(range(5)), "token": [1], "form": {"password": [1]}, "header": ("Cookie", [1]),
    }  # fmt: skip
    with pytest.raises(LookupError):
        look_up(variables, path)


def test_the_rest_cannot_be_looked_up() -> None:
    with pytest.raises(LookupError):
        look_up({"x": list(range(100))}, ["x", 50])


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.binary(),
    st.text(st.characters(codec=None)), st.dates(), st.decimals(), st.uuids(),
    st.integers(10**4000, 10**5000),
)  # fmt: skip
keys = st.one_of(st.text(st.characters(codec=None)), st.integers(), st.binary(), st.none())
nested = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(keys, inner),
        st.builds(deque, st.lists(inner)), st.builds(Slotted, inner, inner),
        st.builds(Point, inner, inner), st.builds(lambda x: SimpleNamespace(a=x), inner),
    ),
    max_leaves=60,
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.text(st.characters(codec=None)), nested)
def test_any_data_is_shown_bounded_and_can_be_encoded(name: str, data: object) -> None:
    value = describe([(name, data)])[0]
    assert len(value.text) < 700
    for shown in (value, *describe(children(data))):
        f"{shown.name}{shown.type}{shown.text}".encode()
    assert can_expand(data) == bool(children(data))


@settings(deadline=None, max_examples=50)
@given(st.recursive(leaves, lambda inner: st.dictionaries(keys, inner) | st.lists(inner)))
def test_a_secret_in_any_data_is_hidden(data: object) -> None:
    assert "s3cret" not in text({"password": "s3cret", "x": data, "y": [{"token": "s3cret"}]})
