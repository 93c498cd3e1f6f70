"""What to do about an exception whose cause is known: a table of small functions.

Each takes the exception, and returns a sentence or two with commands and code in backticks, or
nothing where it knows nothing. Only modules that are loaded are asked: what is not loaded has
raised nothing. Names that are nearly others are the debugger's (`aserve.debug.suggest`).
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

__all__ = ["advise"]

# What is installed under another name than it is imported by; see each project's page on PyPI.
_DISTRIBUTIONS: Final = {
    "attr": "attrs", "bs4": "beautifulsoup4", "corsheaders": "django-cors-headers",
    "Crypto": "pycryptodome", "cv2": "opencv-python", "dateutil": "python-dateutil",
    "debug_toolbar": "django-debug-toolbar", "django_filters": "django-filter",
    "dotenv": "python-dotenv", "environ": "django-environ", "fitz": "PyMuPDF", "git": "GitPython",
    "jose": "python-jose", "jwt": "PyJWT", "magic": "python-magic", "MySQLdb": "mysqlclient",
    "OpenSSL": "pyOpenSSL", "PIL": "Pillow", "psycopg2": "psycopg2-binary",
    "rest_framework": "djangorestframework", "serial": "pyserial", "skimage": "scikit-image",
    "sklearn": "scikit-learn", "slugify": "python-slugify", "social_django":
    "social-auth-app-django", "storages": "django-storages", "telegram": "python-telegram-bot",
    "usb": "pyusb", "yaml": "PyYAML", "zmq": "pyzmq",
}  # fmt: skip
_MOST_PLACES: Final = 6


def advise(error: BaseException) -> str:
    """What to do, or nothing. Never raises.

    Args:
        error: With its traceback; what it was raised from is looked at, too.

    Thread: any.
    """
    for each in _chain(error):
        for function in ADVICE:
            try:
                if found := function(each):
                    return found
            except KeyboardInterrupt:
                raise
            except BaseException:  # an attribute of the exception, and its text, may be anything
                continue
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, and what it was raised from by name; at most a few."""
    one: BaseException | None = error
    for _ in range(5):
        if one is None:
            return
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _is_a(error: BaseException, module: str, *names: str) -> bool:
    """Whether it is of a class of a module, which need not be installed."""
    return any(
        base.__module__.partition(".")[0] == module and base.__name__ in names
        for base in type(error).__mro__
    )


def _tracebacks(error: BaseException) -> Iterator[TracebackType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace
        trace = trace.tb_next


def missing_module(error: BaseException) -> str:
    """The line that installs it for the interpreter in use (Python docs, "Installing modules")."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if not name:
        return ""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names and top not in sys.modules:
        return f"`{name}` belongs to Python, and this one was built without it: `{sys.executable}`."
    if top != name and top in sys.modules:
        return f"The package `{top}` is there, but it has no module `{name}`."
    if _is_beside(top):
        return ""
    distribution = _DISTRIBUTIONS.get(top, top.replace("_", "-"))
    if Path("uv.lock").exists():
        command = f"uv add {distribution}"
    elif Path("poetry.lock").exists():
        command = f"poetry add {distribution}"
    else:
        command = f"{shlex.quote(sys.executable)} -m pip install {distribution}"
    return f"Install it: `{command}`. The interpreter in use is `{sys.executable}`."


def _is_beside(name: str) -> bool:
    """Whether the project has it, in a folder that is not on the path."""
    folder = Path()
    return any((place / name).is_dir() or (place / f"{name}.py").exists() for place in
               (folder, folder / "src"))  # fmt: skip


def missing_template(error: BaseException) -> str:
    """Where it was looked for (`TemplateDoesNotExist.tried` of Django, the loaders of Jinja)."""
    places: list[str] = []
    if _is_a(error, "django", "TemplateDoesNotExist"):
        # Of each engine that was asked.
        tried = [pair for each in (error, *error.chain) for pair in each.tried]  # type: ignore[attr-defined]
        places = [str(getattr(origin, "name", origin)) for origin, _ in tried]
    elif _is_a(error, "jinja2", "TemplateNotFound"):
        name = str(getattr(error, "name", "") or "")
        folders = dict.fromkeys(_folders_of_jinja(error))
        places = [str(Path(folder, name)) for folder in folders]
    if not places:
        return ""
    shown = [f"`{_short(place)}`" for place in dict.fromkeys(places)]
    more = f" and {len(shown) - _MOST_PLACES} more" if len(shown) > _MOST_PLACES else ""
    return f"It was looked for at {', '.join(shown[:_MOST_PLACES])}{more}."


def _folders_of_jinja(error: BaseException) -> Iterator[str]:
    for trace in _tracebacks(error):
        loader = trace.tb_frame.f_locals.get("self")
        kind = type(loader)
        if kind.__module__.partition(".")[0] not in ("jinja2", "flask"):
            continue
        yield from _searched(loader)
        app = getattr(loader, "app", None)  # Flask's looks into the app's and its blueprints'
        if kind.__name__ == "DispatchingJinjaLoader" and app is not None:
            for owner in (app, *app.iter_blueprints()):
                yield from _searched(owner.jinja_loader)


def _searched(loader: Any) -> Iterator[str]:
    held = vars(loader) if hasattr(loader, "__dict__") else {}
    found = held.get("searchpath", ())
    yield from map(str, found if isinstance(found, list | tuple) else ())
    if type(root := held.get("_template_root")) is str:  # of a package
        yield root
    inner = [*held.get("loaders", ()), *dict(held.get("mapping", {})).values()]
    for each in inner:  # loaders of loaders; of a DictLoader, texts
        yield from _searched(each)


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


# SQLite, PostgreSQL, MySQL and Oracle, as their drivers word it.
_NO_TABLE: Final = re.compile(
    r"no such table|relation .* does not exist|Table '.*' doesn't exist|ORA-00942"
)
_NO_COLUMN: Final = re.compile(r"no such column|column .* does not exist|Unknown column|ORA-00904")
_DATABASE_ERRORS: Final = ("OperationalError", "ProgrammingError", "DatabaseError")


def missing_table(error: BaseException) -> str:
    """The command that makes it (Django "Migrations", Flask-Migrate, Alembic, SQLAlchemy docs)."""
    if type(error).__name__ not in _DATABASE_ERRORS:
        return ""
    text = str(error)
    is_column = _NO_COLUMN.search(text) is not None
    if not is_column and _NO_TABLE.search(text) is None:
        return ""
    what = "column" if is_column else "table"
    if "django.apps" in sys.modules and _is_a(error, "django", *_DATABASE_ERRORS):
        first = "`python manage.py makemigrations` and " if is_column else ""
        return f"The database has no such {what} yet: {first}`python manage.py migrate`."
    if "flask_migrate" in sys.modules:
        first = "`flask db migrate` and " if is_column else ""
        return f"The database has no such {what} yet: {first}`flask db upgrade`."
    if "alembic" in sys.modules:
        return f"The database has no such {what} yet: `alembic upgrade head`."
    if "flask_sqlalchemy" in sys.modules and not is_column:
        return (
            "The database has no such table yet: `with app.app_context(): db.create_all()`, "
            "where the models are imported already."
        )
    if "sqlalchemy" in sys.modules and not is_column:
        return "The database has no such table yet: `Base.metadata.create_all(engine)`."
    return ""


def port_in_use(error: BaseException) -> str:
    """Who has it: ss(8), lsof(8)."""
    if not isinstance(error, OSError) or error.errno != errno.EADDRINUSE:
        return ""
    tool = "ss -ltnp" if sys.platform == "linux" else "lsof -nP -iTCP -sTCP:LISTEN"
    return f"Another program listens there: `{tool}` tells which. End it, or take another port."


def nobody_listens(error: BaseException) -> str:
    """connect(2), ECONNREFUSED: the other side is up, and nothing has that port."""
    refused = isinstance(error, ConnectionRefusedError) or (
        type(error).__name__ in _DATABASE_ERRORS and "onnection refused" in str(error)
    )
    if not refused:
        return ""
    return "Nothing listens at that address: is the service started, and is this its port?"


def wrong_return(error: BaseException) -> str:
    """What a view may return (Flask "About responses", Django "Writing views", PEP 3333)."""
    text = str(error)
    if isinstance(error, TypeError) and "did not return a valid response" in text:
        return (
            "Return a text, a dict, a list, a response, or a tuple of body, status and headers; "
            "a branch without `return` returns None."
        )
    if isinstance(error, ValueError) and "didn't return an HttpResponse object" in text:
        return "Return an `HttpResponse`, e.g. of `render`; a branch without `return` returns None."
    if "the application returned None, not an iterable" in text:
        return 'A WSGI app has to return what `start_response` has announced, e.g. `[b"text"]`.'
    return ""


def no_context(error: BaseException) -> str:
    """Flask "The application context"."""
    if isinstance(error, RuntimeError) and "outside of application context" in str(error):
        return "Run it in `with app.app_context():`, or in a view."
    if isinstance(error, RuntimeError) and "outside of request context" in str(error):
        return "Only a view has a request; a test has one in `with app.test_request_context():`."
    return ""


def missing_variable(error: BaseException) -> str:
    """`os.environ[...]`: the only mapping of the process whose keys come from outside."""
    if not isinstance(error, KeyError) or len(error.args) != 1 or type(error.args[0]) is not str:
        return ""
    last = None
    for last in _tracebacks(error):  # noqa: B007
        pass
    if last is None or last.tb_frame.f_code is not type(os.environ).__getitem__.__code__:
        return ""
    name = error.args[0]
    return f"The variable is not set: start with `{name}=... aserve`, or write it into `.env`."


def host_not_allowed(error: BaseException) -> str:
    """Django "ALLOWED_HOSTS"."""
    if not _is_a(error, "django", "DisallowedHost"):
        return ""
    found = re.search(r"You may need to add '?([^\s']+)'?", str(error))
    name = found[1] if found else "the host"
    return f'Add it to the settings: `ALLOWED_HOSTS = ["{name}"]`.'


def database_locked(error: BaseException) -> str:
    """SQLite "File locking": one writer at a time."""
    if type(error).__name__ != "OperationalError" or "database is locked" not in str(error):
        return ""
    return (
        "Another connection writes: end its transaction, or give `timeout` to `connect` "
        "and wait for longer."
    )


ADVICE: Final[tuple[Callable[[BaseException], str], ...]] = (
    missing_module, missing_template, missing_table, port_in_use, nobody_listens, wrong_return,
    no_context, missing_variable, host_not_allowed, database_locked,
)  # fmt: skip
