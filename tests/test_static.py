"""`StaticFiles`: which files, which headers, and that every file is closed."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from aserve import static
from aserve.errors import ConfigError
from aserve.static import StaticFiles, content_type

# A minute that has no neighbour in the tests.
MODIFIED = 1_700_000_000
DATE = formatdate(MODIFIED, usegmt=True)
DATA = b"0123456789"


class Answer:
    """What came: `status` is the number, `headers` have lower-case names."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.iterable: Any = None

    @property
    def is_of_app(self) -> bool:
        return self.status == 404 and self.body == b"the app"


def the_app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [("X-Path", environ["PATH_INFO"])])
    return [b"the app"]


def ask(
    app: Any, path: str, method: str = "GET", *, wrapper: Any = FileWrapper, **variables: str
) -> Answer:
    """One request; `path` is text, `variables` are for the environ."""
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": "",
        **variables,
    }
    if wrapper is not None:
        environ["wsgi.file_wrapper"] = wrapper
    answer = Answer()

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        answer.status = int(status[:3])
        answer.headers = {name.lower(): value for name, value in headers}
        assert len(answer.headers) == len(headers)

    answer.iterable = app(environ, start_response)
    try:
        answer.body = b"".join(answer.iterable)
    finally:
        if hasattr(answer.iterable, "close"):
            answer.iterable.close()
    return answer


@pytest.fixture(autouse=True)
def all_closed() -> Iterator[None]:
    """No test leaves a file open."""
    before = len(list(Path("/dev/fd").iterdir()))
    yield
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time that the middleware sees; a minute ahead, so that no file is new."""
    clock = SimpleNamespace(now=time.time() + 60)
    monkeypatch.setattr(static, "time", SimpleNamespace(time=lambda: clock.now))
    return clock


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with files, and a secret beside it."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / ".git").mkdir()
    for name in ("a.txt", "sub/b.css", ".env", ".git/config", "größe.txt", "two words.txt"):
        (root / name).write_bytes(DATA)
        os.utime(root / name, (MODIFIED, MODIFIED))
    (root / "empty.js").write_bytes(b"")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "secret.txt").write_bytes(b"secret")
    return root


@pytest.fixture
def app(root: Path, clock: SimpleNamespace) -> StaticFiles:
    return StaticFiles(the_app, {"/static": str(root)})


# Which file


@pytest.mark.parametrize(
    "path",
    ["/static/a.txt", "/static/sub/b.css", "/static/größe.txt", "/static/two words.txt"],
)
def test_file_of_a_folder(app: StaticFiles, path: str) -> None:
    answer = ask(app, path)
    assert (answer.status, answer.body) == (200, DATA)


ATTACKS = [
    "/static", "/static/", "/static/sub", "/static/sub/", "/static/a.txt/", "/static/a.txt/x",
    "/staticfoo", "/statica.txt", "/static.txt", "/STATIC/a.txt", "static/a.txt", "", "/", "//",
    "//static/a.txt", "/static//a.txt", "/static/./a.txt", "/static/sub/../a.txt",
    "/static/../secret.txt", "/static/sub/../../secret.txt", "/static/..", "/static/.",
    "/static/../root2/secret.txt", "/static/../root/a.txt", "/static/..\\secret.txt",
    "/static/..%2fsecret.txt", "/static/%2e%2e/secret.txt", "/static/.. /secret.txt",
    "/static/.../a.txt", "/static/..;/secret.txt", "/static/\udcc0\udcae\udcc0\udcae/secret.txt",
    "/static/\uff0e\uff0e/secret.txt", "/static/sub\\b.css", "/static/\\secret.txt",
    "/static//etc/passwd", "/static///etc/passwd", "/static/C:/a.txt", "/static/C:a.txt",
    "/static/\\\\?\\C:\\a.txt",
    "/static/\0", "/static/a.txt\0", "/static/a.txt\0.css", "/static/a.txt\n", "/static/a.txt.",
    "/static/a.txt ", "/static/a.txt..", "/static/sub./b.css", "/static/sub /b.css",
    "/static/a.txt:stream", "/static/a.txt::$DATA", "/static/sub:x/b.css", "/static/.env",
    "/static/.git/config", "/static/sub/.hidden", "/static/missing.txt", "/static/" + "x" * 5000,
    "/static/" + "x/" * 3000, "/static/\udcff.txt", "/static/\x7f",
]  # fmt: skip


@pytest.mark.parametrize("path", ATTACKS, ids=ascii)
def test_refused_path_goes_on_to_the_app(app: StaticFiles, path: str) -> None:
    assert ask(app, path).is_of_app


# Files of these names can exist here, and are refused as on Windows.
@pytest.mark.parametrize(
    "name",
    ["CON", "nul", "aux.txt", "Prn.tar.gz", "com1.css", "LPT9", "COM¹.txt", "CONIN$", "con .txt",
     "a.txt:stream", "a.txt.", "a.txt ", "a\\b", "x\ny", "con/a.txt", "sub./a.txt"],
)  # fmt: skip
def test_name_that_windows_takes_otherwise(app: StaticFiles, root: Path, name: str) -> None:
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(DATA)
    assert ask(app, f"/static/{name}").is_of_app
    path.rename(root / "console.txt")
    assert ask(app, "/static/console.txt").body == DATA


@pytest.mark.parametrize(
    "name", ["console.log", "auxiliary.txt", "com.txt", "com10", "nul_", "a..b"]
)
def test_name_that_only_looks_like_a_device(app: StaticFiles, root: Path, name: str) -> None:
    (root / name).write_bytes(DATA)
    assert ask(app, f"/static/{name}").body == DATA


@pytest.mark.parametrize("path", ["/static/.env", "/static/.git/config"])
def test_dot_files_when_asked_for(root: Path, path: str) -> None:
    app = StaticFiles(the_app, {"/static": root}, dot_files=True)
    assert ask(app, path).body == DATA
    assert ask(app, "/static/../secret.txt").is_of_app
    assert ask(app, "/static/./a.txt").is_of_app


def test_path_that_is_not_bytes(app: StaticFiles) -> None:
    """A server that does not encode as PEP 3333 says."""
    assert ask(app, "", PATH_INFO="/static/\u20ac.txt").is_of_app
    assert ask(app, "/x", SCRIPT_NAME="/static").is_of_app


def test_name_that_is_not_utf_8(app: StaticFiles, root: Path) -> None:
    """Linux has such names, other systems refuse to make them."""
    path = Path(os.fsdecode(os.fsencode(root) + b"/gr\xf6\xdfe.txt"))
    with contextlib.suppress(OSError):
        path.write_bytes(DATA)
    assert ask(app, "/static/gr\udcf6\udcdfe.txt").is_of_app is not path.exists()


# Links, devices and races


@pytest.mark.parametrize("has_proc", [True, False])
@pytest.mark.parametrize(
    ("link", "target", "is_fine"),
    [
        ("in.txt", "a.txt", True),
        ("sub/up.txt", "../a.txt", True),
        ("folder/a.txt", ".", True),
        ("out.txt", "../secret.txt", False),
        ("out/secret.txt", "..", False),
        ("near/secret.txt", "../root2", False),
        ("env.txt", ".env", False),
        ("git/config", ".git", False),
        ("loop.txt", "loop.txt", False),
        ("nothing.txt", "nowhere", False),
    ],
)
def test_links(
    app: StaticFiles, root: Path, monkeypatch: pytest.MonkeyPatch, link: str, target: str,
    is_fine: bool, has_proc: bool,
) -> None:  # fmt: skip
    if not has_proc:
        monkeypatch.setattr(static, "_DESCRIPTORS", root / "nowhere")
    first, _, inner = link.partition("/")
    place = root / (link if first == "sub" or not inner else first)
    place.symlink_to(target)
    answer = ask(app, f"/static/{link}")
    assert answer.body == DATA if is_fine else answer.is_of_app


def test_links_are_followed_when_asked_for(root: Path) -> None:
    (root / "out.txt").symlink_to("../secret.txt")
    app = StaticFiles(the_app, {"/static": root}, follow_links=True)
    assert ask(app, "/static/out.txt").body == b"secret"
    assert ask(app, "/static/../secret.txt").is_of_app


def test_exported_folder_and_file_may_be_links(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("root")
    (tmp_path / "file").symlink_to("secret.txt")
    app = StaticFiles(the_app, {"/static": tmp_path / "link", "/file": tmp_path / "file"})
    assert ask(app, "/static/a.txt").body == DATA
    assert ask(app, "/file").body == b"secret"


def _swapped(monkeypatch: pytest.MonkeyPatch, swap: Any) -> None:
    """Have `swap(path)` happen between the look at a file and its opening."""
    real = os.open

    def opening(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        swap(Path(path))
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", opening)


@pytest.mark.parametrize("has_proc", [True, False])
def test_link_out_that_comes_after_the_check(
    app: StaticFiles, root: Path, monkeypatch: pytest.MonkeyPatch, has_proc: bool
) -> None:
    if not has_proc:
        monkeypatch.setattr(static, "_DESCRIPTORS", root / "nowhere")

    def swap(path: Path) -> None:
        path.unlink()
        path.symlink_to("../secret.txt")

    _swapped(monkeypatch, swap)
    assert ask(app, "/static/a.txt").is_of_app


def test_link_out_that_is_gone_after_the_opening(
    app: StaticFiles, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system does not tell what was opened, another file must not vouch for it."""
    monkeypatch.setattr(static, "_DESCRIPTORS", root / "nowhere")
    (root / "x.txt").symlink_to("../secret.txt")
    real = os.open

    def opening(path: Any, *rest: Any) -> int:
        descriptor = real(path, *rest)
        Path(path).unlink()
        Path(path).write_bytes(b"harmless")
        return descriptor

    monkeypatch.setattr(os, "open", opening)
    assert ask(app, "/static/x.txt").is_of_app


def test_file_that_disappears_after_the_check(
    app: StaticFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    _swapped(monkeypatch, Path.unlink)
    assert ask(app, "/static/a.txt").is_of_app


@pytest.mark.parametrize("late", [False, True])
def test_fifo_is_not_waited_for(
    app: StaticFiles, root: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    def swap(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    if late:
        _swapped(monkeypatch, swap)
    else:
        swap(root / "a.txt")
    answers: list[Answer] = []
    # An opening that hangs cannot be interrupted; a thread can be left behind.
    thread = threading.Thread(target=lambda: answers.append(ask(app, "/static/a.txt")), daemon=True)
    thread.start()
    thread.join(20)
    assert [answer.is_of_app for answer in answers] == [True]


def test_device_is_not_even_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as an export either; opening some rewinds a tape."""
    _swapped(monkeypatch, lambda path: pytest.fail(f"{path} was opened"))
    assert ask(StaticFiles(the_app, {"/zero": "/dev/zero"}), "/zero").is_of_app


def test_name_that_the_system_cannot_write(
    app: StaticFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where file names are not UTF-8."""
    _swapped(monkeypatch, lambda path: str(path).encode("ascii"))
    assert ask(app, "/static/a.txt").body == DATA
    assert ask(app, "/static/größe.txt").is_of_app


def test_trouble_of_the_process_is_not_a_missing_file(
    app: StaticFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opening(*_: Any) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", opening)
    with pytest.raises(OSError, match="Too many"):
        ask(app, "/static/a.txt")


# Exports


def test_longest_prefix_first_then_the_next(root: Path, tmp_path: Path) -> None:
    (root / "x").write_bytes(b"outer")
    (root / "in").mkdir()
    (root / "in" / "x").write_bytes(b"shadowed")
    (root / "in" / "y").write_bytes(b"only here")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "x").write_bytes(b"inner")
    app = StaticFiles(the_app, {"/": root, "/in": tmp_path / "inner"})
    assert ask(app, "/x").body == b"outer"
    assert ask(app, "/in/x").body == b"inner"
    assert ask(app, "/in/y").body == b"only here"
    assert ask(app, "/in/z").is_of_app


def test_equal_prefixes_in_their_order(root: Path, tmp_path: Path) -> None:
    (tmp_path / "root2" / "a.txt").write_bytes(b"second")
    app = StaticFiles(the_app, [("/s", root), ("/s/", tmp_path / "root2")])
    assert ask(app, "/s/a.txt").body == DATA
    assert ask(app, "/s/secret.txt").body == b"secret"


@pytest.mark.parametrize("prefix", ["/", "/favicon.ico", "/größe", "/x/"])
def test_single_file(root: Path, prefix: str) -> None:
    app = StaticFiles(the_app, {prefix: str(root / "sub" / "b.css")})
    answer = ask(app, prefix)
    assert (answer.body, answer.headers["content-type"]) == (DATA, "text/css; charset=utf-8")
    assert ask(app, prefix.rstrip("/") + "/b.css").is_of_app


def test_script_name_is_not_part_of_the_path(app: StaticFiles) -> None:
    assert ask(app, "/static/a.txt", SCRIPT_NAME="/mounted").body == DATA


def test_relative_folder_is_that_of_the_start(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = StaticFiles(the_app, {"/s": "root", "/t": "later"})
    monkeypatch.chdir("/")
    assert ask(app, "/s/a.txt").body == DATA
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "x").write_bytes(b"built")
    assert ask(app, "/t/x").body == b"built"


@pytest.mark.parametrize("kind", ["folder", "namespace", "zip"])
def test_package_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    name = f"static_package_{kind}"
    files = {f"{name}/data/a.js": DATA, f"{name}/data/.env": b"x", f"{name}/secret": b"x"}
    if kind != "namespace":
        files[f"{name}/__init__.py"] = b""
    place = tmp_path / "place"
    if kind == "zip":
        with zipfile.ZipFile(place, "w") as archive:
            for path, data in files.items():
                archive.writestr(path, data)
    else:
        for path, data in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(data)
        (place / name / "data" / "out").symlink_to("../secret")
        (tmp_path / "outer").write_bytes(b"secret")
        (place / name / "outer").symlink_to(tmp_path / "outer")
    monkeypatch.syspath_prepend(place)
    app = StaticFiles(
        the_app, [("/s", (name, "data")), ("/all", (name, "")), ("/1", (name, "secret"))]
    )
    for path in ("/s/a.js", "/all/data/a.js"):
        answer = ask(app, path)
        assert (answer.status, answer.body) == (200, DATA)
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert ask(app, path, HTTP_IF_NONE_MATCH=answer.headers["etag"]).status == 304
        assert ask(app, path, HTTP_RANGE="bytes=2-3").body == b"23"
    assert ask(app, "/1").body == b"x"
    for path in ("/s/.env", "/s/../secret", "/s/out", "/all/outer", "/s", "/all", "/s/no"):
        assert ask(app, path).is_of_app


@pytest.mark.parametrize(
    ("exports", "text"),
    [
        ({"static": "/tmp"}, "starts with '/'"),
        ({"/s": 1}, "neither a path"),
        ({"/s": ("a", "b", "c")}, "neither a path"),
        ({"/s": ("no_such_package_here", "x")}, "cannot be|can be imported"),
        ({"/s": ("aserve", "../x")}, "leads out"),
        ({"/s": ("aserve", "/x")}, "leads out"),
    ],
)
def test_export_that_cannot_be_used(exports: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        StaticFiles(the_app, exports)


# Headers


def test_headers(app: StaticFiles) -> None:
    answer = ask(app, "/static/a.txt")
    etag = answer.headers.pop("etag")
    assert etag.startswith('"')
    assert etag.endswith('"')
    assert answer.headers == {
        "accept-ranges": "bytes",
        "cache-control": "no-cache",
        "content-length": "10",
        "content-type": "text/plain; charset=utf-8",
        "last-modified": DATE,
        "x-content-type-options": "nosniff",
    }


def test_head_has_the_headers_alone(app: StaticFiles) -> None:
    get = ask(app, "/static/a.txt")
    head = ask(app, "/static/a.txt", "HEAD", HTTP_RANGE="bytes=1-2")
    assert (head.status, head.headers, head.body) == (200, get.headers, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", "PROPFIND"])
def test_other_methods_go_on_to_the_app(app: StaticFiles, method: str) -> None:
    assert ask(app, "/static/a.txt", method).is_of_app


def test_app_gets_the_request_as_it_was(app: StaticFiles) -> None:
    assert ask(app, "/x/../ö").headers == {"x-path": "/x/../\xc3\xb6"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.js", "text/javascript; charset=utf-8"),
        ("A.MJS", "text/javascript; charset=utf-8"),
        ("a.html", "text/html; charset=utf-8"),
        ("a.svg", "image/svg+xml"),
        ("a.wasm", "application/wasm"),
        ("a.json", "application/json"),
        ("a.js.gz", "application/gzip"),
        ("a.css.bz2", "application/octet-stream"),
        ("a.txz", "application/octet-stream"),
        ("a.py", "text/x-python; charset=utf-8"),
        ("a.unknown-suffix", "application/octet-stream"),
        ("Makefile", "application/octet-stream"),
        ("js", "application/octet-stream"),
    ],
)
def test_content_type(name: str, kind: str) -> None:
    assert content_type(name) == kind


def test_content_type_with_a_broken_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static.mimetypes, "guess_type", lambda _: ("text/plain", None))
    assert content_type("a.js") == "text/javascript; charset=utf-8"
    assert content_type("a.css") == "text/css; charset=utf-8"
    assert content_type("a.foo") == "text/plain; charset=utf-8"


def test_cache_seconds(root: Path) -> None:
    app = StaticFiles(the_app, {"/s": root}, cache_seconds=60)
    assert ask(app, "/s/a.txt").headers["cache-control"] == "public, max-age=60"
    unmet = ask(app, "/s/a.txt", HTTP_RANGE="bytes=10-")
    assert (unmet.status, "cache-control" in unmet.headers) == (416, False)
    with pytest.raises(ConfigError, match="negative"):
        StaticFiles(the_app, {}, cache_seconds=-1)


# Conditions


def test_etag_is_weak_while_the_file_is_new(
    app: StaticFiles, root: Path, clock: SimpleNamespace
) -> None:
    status = (root / "a.txt").stat()
    clock.now = status.st_ctime + 1
    weak = ask(app, "/static/a.txt").headers["etag"]
    assert weak.startswith('W/"')
    for known in (weak, weak.removeprefix("W/"), DATE):
        part = {"HTTP_RANGE": "bytes=1-2", "HTTP_IF_RANGE": known}
        assert ask(app, "/static/a.txt", **part).status == 200
    clock.now = status.st_ctime + 3
    assert ask(app, "/static/a.txt").headers["etag"] == weak.removeprefix("W/")
    assert ask(app, "/static/a.txt", HTTP_IF_NONE_MATCH=weak).status == 304


def test_etag_changes_although_size_and_time_do_not(app: StaticFiles, root: Path) -> None:
    """As by `cp -p`, or by an archive that is unpacked."""
    before = ask(app, "/static/a.txt").headers["etag"]
    copy = root / "copy"
    copy.write_bytes(b"abcdefghij")
    os.utime(copy, (MODIFIED, MODIFIED))
    copy.replace(root / "a.txt")
    answer = ask(app, "/static/a.txt", HTTP_IF_NONE_MATCH=before)
    assert (answer.status, answer.body) == (200, b"abcdefghij")
    assert answer.headers["last-modified"] == DATE


def test_last_modified_is_never_in_the_future(
    app: StaticFiles, root: Path, clock: SimpleNamespace
) -> None:
    os.utime(root / "a.txt", (clock.now + 5000, clock.now + 5000))
    answer = ask(app, "/static/a.txt")
    assert answer.headers["last-modified"] == formatdate(int(clock.now), usegmt=True)


LATER = formatdate(MODIFIED + 1, usegmt=True)
EARLIER = formatdate(MODIFIED - 1, usegmt=True)


@pytest.mark.parametrize(
    ("status", "conditions"),
    [
        (304, {"IF_NONE_MATCH": "ETAG"}),
        (304, {"IF_NONE_MATCH": "W/ETAG"}),
        (304, {"IF_NONE_MATCH": '"x,y", W/"z" , ETAG'}),
        (304, {"IF_NONE_MATCH": "*"}),
        (200, {"IF_NONE_MATCH": '"x"'}),
        (200, {"IF_NONE_MATCH": "garbage"}),
        (200, {"IF_NONE_MATCH": ""}),
        (304, {"IF_MODIFIED_SINCE": DATE}),
        (304, {"IF_MODIFIED_SINCE": LATER}),
        (200, {"IF_MODIFIED_SINCE": EARLIER}),
        (304, {"IF_MODIFIED_SINCE": "Tuesday, 14-Nov-23 22:13:20 GMT"}),
        (304, {"IF_MODIFIED_SINCE": "Tue Nov 14 22:13:20 2023"}),
        (200, {"IF_MODIFIED_SINCE": "Tue Nov 14 22:13:19 2023"}),
        (200, {"IF_MODIFIED_SINCE": "garbage"}),
        (200, {"IF_MODIFIED_SINCE": "Tue, 99 Nov 9999999999 99:99:99 GMT"}),
        # The tag decides alone, whatever the date says.
        (200, {"IF_NONE_MATCH": '"x"', "IF_MODIFIED_SINCE": LATER}),
        (304, {"IF_NONE_MATCH": "ETAG", "IF_MODIFIED_SINCE": EARLIER}),
        (412, {"IF_MATCH": '"x"'}),
        (412, {"IF_MATCH": "W/ETAG"}),
        (200, {"IF_MATCH": "ETAG"}),
        (200, {"IF_MATCH": "*", "IF_UNMODIFIED_SINCE": EARLIER}),
        (304, {"IF_MATCH": "ETAG", "IF_NONE_MATCH": "ETAG"}),
        (412, {"IF_UNMODIFIED_SINCE": EARLIER}),
        (200, {"IF_UNMODIFIED_SINCE": DATE}),
        (304, {"IF_NONE_MATCH": "ETAG", "RANGE": "bytes=0-1"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions(
    app: StaticFiles, monkeypatch: pytest.MonkeyPatch, status: int, conditions: dict[str, str],
    method: str,
) -> None:  # fmt: skip
    # A date without a zone is GMT, not that of the machine.
    monkeypatch.setenv("TZ", "XXX+7")
    time.tzset()
    etag = ask(app, "/static/a.txt").headers["etag"]
    variables = {f"HTTP_{name}": text.replace("ETAG", etag) for name, text in conditions.items()}
    answer = ask(app, "/static/a.txt", method, **variables)
    monkeypatch.undo()
    time.tzset()
    assert answer.status == status
    assert answer.body == (DATA if (status, method) == (200, "GET") else b"")
    if status == 304:
        assert answer.headers == {"etag": etag, "cache-control": "no-cache"}


# Ranges

RANGES = [
    ("bytes=0-0", b"0", "0-0"),
    ("bytes=2-5", b"2345", "2-5"),
    ("bytes=7-", b"789", "7-9"),
    ("bytes=9-9", b"9", "9-9"),
    ("bytes=8-99", b"89", "8-9"),
    ("bytes=8-" + "9" * 500, b"89", "8-9"),
    ("bytes=-3", b"789", "7-9"),
    ("bytes=-99", DATA, "0-9"),
    ("BYTES= 1-1 ", b"1", "1-1"),
]


@pytest.mark.parametrize("wrapper", [None, FileWrapper])
@pytest.mark.parametrize(("text", "body", "told"), RANGES)
def test_range(app: StaticFiles, wrapper: Any, text: str, body: bytes, told: str) -> None:
    answer = ask(app, "/static/a.txt", wrapper=wrapper, HTTP_RANGE=text)
    assert (answer.status, answer.body) == (206, body)
    assert answer.headers["content-range"] == f"bytes {told}/10"
    assert answer.headers["content-length"] == str(len(body))


@pytest.mark.parametrize(
    "text", ["bytes=10-", "bytes=10-11", "bytes=-0", "bytes=" + "9" * 500 + "-"]
)
def test_range_that_the_file_does_not_have(app: StaticFiles, text: str) -> None:
    answer = ask(app, "/static/a.txt", HTTP_RANGE=text)
    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers == {"content-range": "bytes */10", "content-length": "0"}


@pytest.mark.parametrize(
    "text",
    ["bytes=0-1,4-5", "bytes=5-2", "bytes=-", "bytes=a-b", "bytes=1", "bytes", "", "lines=0-1",
     "bytes=+1-2", "bytes=1--2", "bytes=1-2-3", "bytes=²-3", "bytes=" + "9" * 5000 + "-"],
)  # fmt: skip
def test_whole_file_instead_of_a_range(app: StaticFiles, text: str) -> None:
    answer = ask(app, "/static/a.txt", HTTP_RANGE=text)
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, DATA, "10")
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("text", ["bytes=0-", "bytes=-1", "bytes=5-6"])
def test_range_of_an_empty_file(app: StaticFiles, text: str) -> None:
    answer = ask(app, "/static/empty.js", HTTP_RANGE=text)
    assert (answer.status, answer.headers["content-length"]) == (200, "0")


@pytest.mark.parametrize(
    ("validator", "status"),
    [("ETAG", 206), ("W/ETAG", 200), ('"x"', 200), ("*", 200), (DATE, 206), (LATER, 200),
     (EARLIER, 200), ("garbage", 200), ("", 200)],
)  # fmt: skip
def test_if_range(app: StaticFiles, validator: str, status: int) -> None:
    text = validator.replace("ETAG", ask(app, "/static/a.txt").headers["etag"])
    answer = ask(app, "/static/a.txt", HTTP_RANGE="bytes=0-3", HTTP_IF_RANGE=text)
    assert (answer.status, answer.body) == (status, DATA[:4] if status == 206 else DATA)
    # It is about the range, so without one it is ignored.
    assert ask(app, "/static/a.txt", HTTP_IF_RANGE=text).status == 200


# Bodies


@pytest.mark.parametrize(
    ("text", "position"), [("", 0), ("bytes=4-", 4), ("bytes=-2", 8), ("bytes=0-3", None)]
)
def test_server_is_given_the_file_itself_up_to_its_end(
    app: StaticFiles, text: str, position: int | None
) -> None:
    """aserve sends an `io.FileIO` without a copy; only a part in the middle has to be read."""
    tells: list[int | None] = []

    def wrapper(file: Any, block_size: int) -> FileWrapper:
        tells.append(file.tell() if type(file) is io.FileIO else None)
        return FileWrapper(file, block_size)

    ask(app, "/static/a.txt", wrapper=wrapper, HTTP_RANGE=text)
    assert tells == [position]


def test_body_is_no_longer_than_announced(app: StaticFiles, root: Path) -> None:
    """A log file grows while it is sent."""

    def growing(environ: Any, start_response: Any) -> Any:
        body = app(environ, start_response)
        with (root / "a.txt").open("ab") as file:
            file.write(b"more")
        return body

    answer = ask(growing, "/static/a.txt", wrapper=None)
    assert (answer.headers["content-length"], answer.body) == ("10", DATA)


def test_large_body_comes_in_blocks(app: StaticFiles, root: Path) -> None:
    data = os.urandom(200_000)
    (root / "large").write_bytes(data)
    answer = ask(app, "/static/large", wrapper=None, HTTP_RANGE="bytes=5-199998")
    assert answer.body == data[5:199_999]
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/static/large"}
    body: Any = app(environ, lambda *_: None)
    assert len(next(iter(body))) == 65_536
    body.close()


@pytest.mark.parametrize(
    "variables", [{}, {"HTTP_RANGE": "bytes=0-1"}, {"HTTP_RANGE": "bytes=99-"}]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_file_is_closed_when_the_server_fails(
    app: StaticFiles, variables: dict[str, str], method: str
) -> None:
    """`all_closed` looks."""

    def failing(*_: Any) -> Any:
        raise ZeroDivisionError

    environ = {"REQUEST_METHOD": method, "PATH_INFO": "/static/a.txt", **variables}
    with pytest.raises(ZeroDivisionError):
        app(environ, failing)
    if method == "GET" and "99-" not in variables.get("HTTP_RANGE", ""):
        with pytest.raises(ZeroDivisionError):
            ask(app, "/static/a.txt", wrapper=failing, **variables)


@pytest.mark.parametrize(
    "variables", [{}, {"HTTP_RANGE": "bytes=2-5"}, {"HTTP_RANGE": "bytes=99-"}]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/static/a.txt", "/static/empty.js", "/static/no"])
def test_answers_keep_to_pep_3333(
    app: StaticFiles, path: str, method: str, variables: dict[str, str]
) -> None:
    """The standard library's validator sees nothing to complain about."""
    full = {
        "SERVER_NAME": "test", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(), "wsgi.multithread": True, "wsgi.multiprocess": False,
        "wsgi.run_once": False, "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path,
        "QUERY_STRING": "", **variables,
    }  # fmt: skip
    statuses: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        statuses.append(status)
        return lambda data: None

    def app_with_a_type(environ: Any, start_response: Any) -> list[bytes]:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b""]

    app.app = app_with_a_type
    # It wants a type beside every body that could be one, also where none is.
    body: Any = validator(_typed(app))(full, start_response)
    list(body)
    body.close()
    assert len(statuses) == 1


def _typed(app: Any) -> Any:
    """Add a Content-Type to an empty 416, which the validator wants."""

    def typed(environ: Any, start_response: Any) -> Any:
        def starting(status: str, headers: Any, *rest: Any) -> Any:
            extra = [("Content-Type", "text/plain")] if status.startswith("416") else []
            return start_response(status, headers + extra, *rest)

        return app(environ, starting)

    return typed
