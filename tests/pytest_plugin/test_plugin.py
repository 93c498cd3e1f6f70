"""The fixtures, the reports and the options of `aserve.pytest_plugin`."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .conftest import LOCATION, PLUGIN, Run

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

BROKEN = """
from shop import app

def test_broken(aserve_server):
    assert get(aserve_server(app).url + "/broken")[0] == 500
"""


def test_server_of_one_test(project: Run) -> None:
    result = project("""
from shop import app

def test_it(aserve_server):
    server = aserve_server(app)
    assert server.url == f"http://{server.host}:{server.port}"
    assert get(f"{server.url}/gr%C3%BC%C3%9Fe?a=1") == (200, "/gr\\xc3\\xbc\\xc3\\x9fe")
    assert [str(seen) for seen in server.requests] == ["GET /grüße?a=1 200"]
    assert (server.errors, server.ca_pem) == ([], None)
    with pytest.raises(Exception, match="https=True"):
        server.ca_file

def test_it_is_gone(aserve_server):
    server = aserve_server("shop:app", "127.0.0.1")
    server.stop()
    with pytest.raises(OSError):
        get(server.url)
""")
    result.assert_outcomes(passed=2)


def test_what_the_server_saw_is_beside_the_failure(project: Run) -> None:
    """Several servers are told apart, and a test that passes is told nothing of."""
    result = project("""
from shop import app

def test_fails(aserve_server):
    one, other, unused = aserve_server(app), aserve_server(app), aserve_server(app)
    get(one.url + "/cart?n=1")
    get(other.url + "/broken")
    assert (len(one.errors), len(other.errors)) == (0, 1)
    assert (one.port, other.port, unused.port) == ()

def test_passes(aserve_server):
    get(aserve_server(app).url + "/fine")
""")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.re_match_lines(
        [
            r"-+ aserve: requests of http://127\.0\.0\.1:\d+ -+",
            r"GET /cart\?n=1 200",
            r"-+ aserve: requests of http://127\.0\.0\.1:\d+ -+",
            r"GET /broken 500",
            r"-+ aserve: exception of the app in GET /broken -+",
            r"Traceback .*",
            r'  File ".*shop\.py", line 4, in app',
            r"    raise ValueError.*",
            r"ValueError: no more shoes",
        ],
        consecutive=True,
    )
    result.stdout.no_fnmatch_line("*GET /fine*")
    assert result.stdout.str().count("aserve: requests") == 2


def test_a_request_that_could_not_be_parsed_is_shown(project: Run) -> None:
    result = project("""
import socket
from shop import app

def test_fails(aserve_server):
    server = aserve_server(app)
    with socket.create_connection((server.host, server.port)) as client:
        client.sendall(b"GET broken HTTP/1.1\\r\\n\\r\\n")
        assert not client.makefile("rb").read()
""")
    result.stdout.re_match_lines([r"GET broken HTTP/1\.1 400"])


def test_with_its_own_hooks(project: Run) -> None:
    result = project("""
import aserve
from shop import app

def test_it(aserve_server):
    seen = []
    server = aserve_server(app, hooks=aserve.Hooks(on_error=seen.append))
    get(server.url + "/broken")
    assert [(record.request.path, record.is_cut) for record in seen] == [(b"/broken", False)]
    assert seen[0].error is server.errors[0].exception
    assert str(server.errors[0]) == "ValueError: no more shoes (in GET /broken)"
""")
    result.assert_outcomes(passed=1)


def test_every_way_to_fail_is_an_error(project: Run) -> None:
    """In the app, in its iterable, in its `close`, and by a breach of WSGI."""
    result = project(
        """
class Body:
    def __init__(self, fails):
        self.fails = fails
    def __iter__(self):
        yield b"one"
        if self.fails == "/iterable":
            raise KeyError(self.fails)
    def close(self):
        if self.fails == "/close":
            raise LookupError(self.fails)

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "3")])
    path = environ["PATH_INFO"]
    return ["text"] if path == "/wsgi" else Body(path)

@pytest.mark.parametrize("path", ["/iterable", "/close", "/wsgi"])
def test_it(aserve_server, path):
    server = aserve_server(app)
    get(server.url + path)
    assert server.requests[0].status == (500 if path == "/wsgi" else 200)

def test_late(aserve_server):
    server = aserve_server(app)
    get(server.url + "/close")
    server.stop()
    assert [type(error.exception) for error in server.errors] == [LookupError]
    server.errors.clear()
""",
        "--aserve-fail-on-error",
    )
    # What `close` raises behind the answer may only be noticed when the server stops.
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] + outcomes.get("errors", 0) == 3
    for kind in ("KeyError: '/iterable'", "LookupError: /close", "WSGIError: "):
        result.stdout.fnmatch_lines([f"  {kind}*"])


@pytest.mark.parametrize(
    ("ini", "arguments", "mark", "failed"),
    [
        ("", (), "", 0),
        ("aserve_fail_on_error = true", (), "", 1),
        ("", ("--aserve-fail-on-error",), "", 1),
        ("aserve_fail_on_error = true", ("--no-aserve-fail-on-error",), "", 0),
        ("", (), "@pytest.mark.aserve_fail_on_error", 1),
        ("", ("--aserve-fail-on-error",), "@pytest.mark.aserve_fail_on_error(False)", 0),
    ],
)
def test_errors_fail_when_asked(
    project: Run,
    pytester: pytest.Pytester,
    ini: str,
    arguments: tuple[str, ...],
    mark: str,
    failed: int,
) -> None:
    pytester.makeini(f"[pytest]\naddopts = --strict-markers\n{ini}")
    source = BROKEN.replace("def test_broken", f"{mark}\ndef test_broken")
    result = project(source, *arguments)
    result.assert_outcomes(passed=1 - failed, failed=failed)
    if failed:
        result.stdout.fnmatch_lines(["  ValueError: no more shoes (in GET /broken)"])


FLASK = """
import flask
app = flask.Flask("shop")

@app.get("/")
def index():
    return {}["shoes"]
"""

DJANGO = """
from django.conf import settings
settings.configure(ROOT_URLCONF="test_it", ALLOWED_HOSTS=["*"], SECRET_KEY="s", LOGGING_CONFIG=None)
import django
django.setup()
from django.core.wsgi import get_wsgi_application
from django.urls import path
urlpatterns = [path("", lambda request: {}["shoes"])]
app = get_wsgi_application()
"""


@pytest.mark.parametrize("app", [FLASK, DJANGO], ids=["flask", "django"])
def test_errors_that_a_framework_answers(project: Run, app: str) -> None:
    """It sends its own page with 500, so that the server never sees them."""
    result = project(
        app
        + """
from shop import app as other

def test_it(aserve_server):
    server, bystander = aserve_server(app), aserve_server(other)
    assert get(server.url)[0] == 500
    assert [str(error) for error in server.errors] == ["KeyError: 'shoes' (in GET /)"]
    assert not bystander.errors

def test_again_when_there_was_none_in_between(aserve_server):
    assert get(aserve_server(app).url)[0] == 500
""",
        "--aserve-fail-on-error",
    )
    result.assert_outcomes(failed=2)
    assert result.stdout.str().count("  KeyError: 'shoes' (in GET /)") == 2


def test_scopes(project: Run) -> None:
    """One server for many tests; what is noted belongs to the running one."""
    result = project(
        """
from shop import app

@pytest.fixture(scope="session")
def for_all(aserve_server_session):
    return aserve_server_session(app)

@pytest.fixture(scope="module")
def for_module(aserve_server_module):
    return aserve_server_module(app)

urls = set()

@pytest.mark.parametrize("path", ["/a", "/broken"])
def test_it(for_all, for_module, path):
    for server in (for_all, for_module):
        get(server.url + path)
        assert [seen.path for seen in server.requests] == [path]
        urls.add(server.url)
    assert len(urls) == 2

def test_nothing_is_asked(for_all, for_module):
    assert (for_all.requests, for_all.errors, for_module.requests) == ([], [], [])
""",
        "--aserve-fail-on-error",
    )
    result.assert_outcomes(passed=2, failed=1)


def test_url_of_the_configured_app(project: Run, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\naserve_app = shop:app")
    result = project("""
def test_it(aserve_url, aserve_url_module):
    assert get(aserve_url + "/cart") == get(aserve_url_module + "/cart") == (200, "/cart")
    assert aserve_url != aserve_url_module
""")
    result.assert_outcomes(passed=1)


def test_url_of_an_app_that_a_fixture_makes(project: Run) -> None:
    result = project("""
@pytest.fixture(scope="module")
def aserve_app():
    from shop import app
    return app

def test_it(aserve_url_module):
    assert get(aserve_url_module + "/cart") == (200, "/cart")
""")
    result.assert_outcomes(passed=1)


def test_url_without_an_app_is_explained(project: Run) -> None:
    result = project("def test_it(aserve_url): pass")
    result.stdout.fnmatch_lines(["aserve_app: nobody said which app to serve; *"])


def test_a_wrong_option_is_the_tests_error(project: Run) -> None:
    result = project("""
from shop import app

async def asgi(scope, receive, send): pass

def test_option(aserve_server):
    aserve_server(app, treads=4)

def test_app(aserve_server):
    aserve_server(asgi)
""")
    result.stdout.fnmatch_lines(["*did you mean 'threads'*", "*is an ASGI application*"])


def test_https_touches_nothing_of_the_user(project: Run, pytester: pytest.Pytester) -> None:
    result = project("""
import http.client, ssl
from shop import app

def test_it(aserve_server):
    server = aserve_server(app, https=True)
    assert server.url.startswith("https://")
    for context in (server.ssl_context(), ssl.create_default_context(cafile=server.ca_file)):
        for host in (server.host, "localhost"):
            client = http.client.HTTPSConnection(host, server.port, context=context, timeout=30)
            client.request("GET", "/safe")
            assert client.getresponse().read() == b"/safe"
            client.close()
""")
    result.assert_outcomes(passed=1)
    # HOME is this directory, too.
    made = {path.name for path in pytester.path.iterdir()}
    assert not {name for name in made if "aserve" in name or name.startswith(".")}, made


ASYNC = """
import httpx
import aserve
from shop import app

{mark}
async def test_it(aserve_server):
    server = aserve_server(app)
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(server.url + "/cart")).text == "/cart"
        assert (await client.get(server.url + "/broken")).status_code == 500
    assert len(server.requests) == 2
"""


def test_async_tests_of_anyio(project: Run) -> None:
    """On asyncio and trio: the server has a loop of its own."""
    result = project(ASYNC.format(mark="@pytest.mark.anyio"), "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*[[]asyncio[]] PASSED*", "*[[]trio[]] PASSED*"])


def test_async_tests_fail_for_errors_too(project: Run) -> None:
    result = project(ASYNC.format(mark="@pytest.mark.anyio"), "--aserve-fail-on-error")
    result.assert_outcomes(failed=2)


def test_async_tests_of_pytest_asyncio(project: Run, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    result = project(ASYNC.format(mark="@pytest.mark.asyncio"), "-p", "pytest_asyncio.plugin")
    result.assert_outcomes(passed=1)


def test_in_parallel(project: Run) -> None:
    """The system picks the ports, so processes of xdist never meet."""
    result = project(
        """
from shop import app

@pytest.mark.parametrize("number", range(12))
def test_it(aserve_server, aserve_server_session, number):
    for server in (aserve_server(app), aserve_server_session(app)):
        assert get(f"{server.url}/{number}") == (200, f"/{number}")
    assert number != 7
""",
        *("-p", "xdist", "-n", "2"),
    )
    result.assert_outcomes(passed=11, failed=1)
    result.stdout.fnmatch_lines(["*aserve: requests of *", "GET /7 200"])


def test_coverage_inside_worker_threads(
    project: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(BROKEN)  # writes the files
    # Two cannot measure one process, and the other may be measuring this run.
    for name in [name for name in os.environ if name.startswith("COV")]:
        monkeypatch.delenv(name)
    options = ["-q", "-p", "no:flask", "-p", "no:asyncio", *PLUGIN]
    for words in (
        ["run", "--include=shop.py", "-m", "pytest", *options],
        ["report", "--show-missing"],
    ):
        done = pytester.run(sys.executable, "-m", "coverage", *words)
        assert done.ret == 0
    # All but the two lines of an answer that is not asked for.
    done.stdout.re_match_lines([r"shop\.py\s+6\s+2\s+67%\s+5-6"])


def test_nothing_is_left_when_the_tests_are_over(project: Run, pytester: pytest.Pytester) -> None:
    """Two hundred servers; clients that stay connected, and requests without an end."""
    pytester.makeconftest("""
import pathlib, threading

def count():
    sockets = [link for link in pathlib.Path("/proc/self/fd").iterdir() if link.is_socket()]
    return threading.active_count(), len(sockets)

def pytest_sessionstart(session):
    session.config.before = count()

def pytest_unconfigure(config):
    assert count() == config.before, (count(), config.before)
""")
    result = project("""
import itertools, socket

def endless(environ, start_response):
    start_response("200 OK", [])
    return (b"again" for _ in itertools.count())

@pytest.mark.parametrize("scope", ["", "_module", "_session"])
def test_it(request, scope):
    server = request.getfixturevalue(f"aserve_server{scope}")(endless, grace=0.0)
    client = socket.create_connection((server.host, server.port))
    request.addfinalizer(client.close)
    client.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    assert client.recv(1)

@pytest.mark.parametrize("number", range(200))
def test_one_of_many(aserve_server, number):
    assert get(aserve_server("shop:app").url) == (200, "/")
""")
    result.assert_outcomes(passed=203)
    assert result.ret == 0


# -- how it is loaded ----------------------------------------------------------------------

_LOADED = """
import sys
import pytest
before = set(sys.modules)
import aserve.pytest_plugin
print(*sorted(set(sys.modules) - before))
"""


def test_the_plugin_loads_nothing_heavy(tmp_path: Path) -> None:
    """Beyond pytest itself: everybody who has aserve installed pays for it in each run."""
    environment = {**os.environ, "PYTHONPATH": str(LOCATION)}
    done = subprocess.run(
        [sys.executable, "-P", "-X", "importtime", "-c", _LOADED],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("aserve")} == {
        "aserve",
        "aserve._version",
        "aserve.pytest_plugin",
        "aserve.pytest_plugin.seen",
        "aserve.pytest_plugin.serving",
    }
    assert not loaded & {"asyncio", "ssl", "anyio", "socket", "http.client", "httptools"}
    # The same from the clock's side: of its own modules none but these was executed.
    lines = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    assert {name for name in lines if name.startswith("aserve")} <= loaded


def test_the_entry_point_is_what_pytest_loads(
    project: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed, the plugin is there without being asked for."""
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    assert entries["pytest11"] == {"aserve": "aserve.pytest_plugin"}
    info = pytester.mkdir("aserve_wsgi-0.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aserve-wsgi\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[pytest11]\naserve = aserve.pytest_plugin\n")
    project("from shop import app\n\ndef test_it(aserve_server): aserve_server(app)")
    result = pytester.runpytest_subprocess("-p", "no:flask", "-p", "no:asyncio", "-W", "error")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["plugins: *aserve*"])
