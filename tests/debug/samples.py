"""Problems and settings for the tests of the page."""

from __future__ import annotations

from dataclasses import replace

from aserve.debug.model import Frame, Mark, Problem, Repetition, SourceLine, Value
from aserve.debug.page import PageSettings
from aserve.debug.request import view_request

SETTINGS = PageSettings(
    token="token",
    report="report-1",
    generation="run-1",
    command_url="/.aserve/debug/command",
    nonce="nonce",
    can_eval=True,
    is_unlocked=False,
    has_editor=True,
    versions="Python 3.13.0 · Flask 3.1.2 · aserve 0.3.0",
    command_line="aserve shop:app --reload",
    plain="Traceback (most recent call last):\n  ...\nKeyError: 'sku'",
    markdown="## KeyError: 'sku'\n",
)

_SOURCE = '''@app.get("/orders/<int:number>/total")
def total(number: int) -> str:
    """The total of an order, with discount."""
    order = store.find(number)
    # Items may be free: 0 is a price, None is none.
    rate = 0.19 if order.customer.is_private else 0.0
    amount = sum(
        price_of(item["sku"], item.get("currency", "EUR")) * item["count"]
        for item in order.items if item is not None and item["count"] > 0 and not item.get("gift")
    )
    return render_template("total.html", order=order, amount=amount * (1 + rate))'''


def source(text: str, first: int) -> tuple[SourceLine, ...]:
    return tuple(SourceLine(at, line) for at, line in enumerate(text.split("\n"), first))


VALUES = (
    Value(name="number", type="int", text="42"),
    Value(name="order", type="Order", text="<Order 42: 3 items, Ada Lovelace>", can_expand=True),
    Value(
        name="item",
        type="dict",
        text="{'name': 'Tea, green, 250 g', 'count': 2, 'currency': 'EUR', 'vat': 0.07, 'labels': "
        "['organic', 'fair', 'new'], 'supplier': <Supplier 17>, 'description': 'A fresh …'}",
        can_expand=True,
    ),
    Value(name="api_key", type="str", text="<hidden>", is_hidden=True),
    Value(name="rate", type="float", text="0.19"),
)


def user_frame(number: int, **changes: object) -> Frame:
    frame = Frame(
        id=number,
        file="/home/ada/shop/shop/views.py",
        shown_file="shop/views.py",
        line=38,
        name="total.<locals>.<genexpr>",
        is_user=True,
        source=source(_SOURCE, 31),
        mark=Mark(38, 38, 17, 28),
        values=VALUES,
        can_open=True,
    )
    return replace(frame, **changes)  # type: ignore[arg-type]


def library_frame(number: int, **changes: object) -> Frame:
    frame = Frame(
        id=number,
        file="/venv/lib/python3.13/site-packages/flask/app.py",
        shown_file="flask/app.py",
        line=917,
        name="Flask.full_dispatch_request",
        source=source(
            "        try:\n            request_started.send(self)\n"
            "            rv = self.dispatch_request()\n        except Exception as error:",
            915,
        ),
        mark=Mark(917, 917, 17, 40),
    )
    return replace(frame, **changes)  # type: ignore[arg-type]


def simple() -> Problem:
    return Problem(
        type="KeyError",
        message="'sku'",
        suggestion="Did you mean: 'sku_id'?",
        places=(
            library_frame(0, name="Flask.wsgi_app", line=1536),
            library_frame(1),
            library_frame(2, name="Flask.dispatch_request", line=902),
            user_frame(3, name="total", line=37, mark=Mark(37, 40, 13, 5)),
            user_frame(4),
        ),
    )


def chained() -> Problem:
    first = Problem(
        type="sqlite3.OperationalError",
        message="no such table: orders",
        places=(user_frame(9, shown_file="shop/store.py", name="Store.find"),
                library_frame(10, shown_file="sqlite3/dbapi2.py", name="Connection.execute")),
    )  # fmt: skip
    second = replace(simple(), suggestion="", places=(user_frame(7), library_frame(8)),
                     relation="cause", earlier=first)  # fmt: skip
    return Problem(
        type="jinja2.exceptions.UndefinedError",
        message="The order cannot be shown:\n  its customer is not known to the store,\n"
        "  and there is no guest with the address ada@example.org",
        notes=("While rendering order 42", "Hint: run `flask init-db`\nand try again."),
        places=(
            library_frame(0),
            user_frame(1),
            user_frame(
                5,
                shown_file="shop/templates/total.html",
                line=3,
                name="block body",
                kind="template",
                source=source(
                    "{% extends 'base.html' %}\n{% block body %}\n<h1>{{ order.customer.name }}"
                    "</h1>\n{% endblock %}",
                    1,
                ),
                mark=None,
            ),
            *(library_frame(at, shown_file=f"lib{at}/x.py") for at in range(20, 32)),
        ),
        relation="context",
        earlier=second,
    )


def grouped() -> Problem:
    inner = Problem(
        type="ExceptionGroup", message="suppliers (2 sub-exceptions)",
        group=(replace(simple(), places=(user_frame(5),)),
               Problem(type="TimeoutError", message="", places=(library_frame(6),))),
    )  # fmt: skip
    return Problem(
        type="ExceptionGroup",
        message="unhandled errors in a TaskGroup (2 sub-exceptions)",
        places=(library_frame(0), library_frame(1), user_frame(2)),
        group=(
            Problem(
                type="RecursionError",
                message="maximum recursion depth exceeded",
                places=(user_frame(3), user_frame(4, values=None), Repetition(1, 970)),
            ),
            inner,
        ),
    )


REQUEST = view_request(
    {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/orders/42/total",
        "QUERY_STRING": "currency=EUR&token=abc123&note=gr%C3%BCn",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost:8000",
        "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8",
        "HTTP_AUTHORIZATION": "Bearer abc",
        "HTTP_COOKIE": "theme=dark; session=abc",
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
    }
)
