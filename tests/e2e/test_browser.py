"""A real browser in front: pages, forms by script, streams and many connections at once."""

from __future__ import annotations

import itertools
import subprocess
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conformance.wsgi_server import LiveServer
from .conftest import DEADLINE, EXAMPLES, Start

# The load event waits for the image, and the image for the script's report: so the dumped page
# has the script's results in it, and nobody waits for a clock.
PAGE = b"""<!doctype html><meta charset="utf-8"><title>Probe</title>
<p id="out">nothing</p><img src="/gate" alt="">
<script type="module">
const results = [];
const post = await fetch("/echo", {method: "POST", body: "Gr\xc3\xbc\xc3\x9fe"});
results.push("post " + await post.text());
const big = await fetch("/echo", {method: "POST", body: new Uint8Array(300000)});
results.push("big " + (await big.arrayBuffer()).byteLength);
const many = await Promise.all([...Array(30).keys()].map(
    async n => (await fetch("/item?" + n)).text()));
results.push("many " + many.join(","));
const reader = (await fetch("/lines")).body.getReader();
let text = "", pieces = 0;
for (;;) {
  const {done, value} = await reader.read();
  if (done) break;
  pieces += 1;
  text += new TextDecoder().decode(value);
  await fetch("/next");
}
results.push("lines " + pieces + " " + text);
const source = new EventSource("/events");
const events = [];
await new Promise(resolve => source.onmessage = event => {
  if (events.push(event.data) == 3) { source.close(); resolve(); }
});
results.push("events " + events.join(","));
let cut = "complete";
try { await (await fetch("/cut")).text(); } catch (error) { cut = "cut"; }
results.push(cut);
document.getElementById("out").textContent = results.join("; ");
await fetch("/report");
</script>"""


class Probe:
    """The pages of the probe."""

    def __init__(self) -> None:
        self._reported = threading.Event()
        self._next = threading.Semaphore(0)
        self.events_closed = threading.Event()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        name = environ["PATH_INFO"].strip("/") or "page"
        kind = {"page": "text/html", "events": "text/event-stream"}.get(name, "text/plain")
        page = getattr(self, name.replace(".", "_"), None)
        if page is None:
            start_response("404 Not Found", [])
            return []
        start_response("200 OK", [("Content-Type", kind), ("Cache-Control", "no-store")])
        answer: Iterable[bytes] = page(environ)
        return answer

    def page(self, environ: Any) -> Iterable[bytes]:
        return [PAGE]

    def echo(self, environ: Any) -> Iterable[bytes]:
        return [environ["wsgi.input"].read()]

    def item(self, environ: Any) -> Iterable[bytes]:
        return [environ["QUERY_STRING"].encode()]

    def lines(self, environ: Any) -> Iterator[bytes]:
        for number in range(3):
            yield b"%d." % number
            # B49: the browser has read this piece before the next one is made.
            assert self._next.acquire(timeout=DEADLINE)

    def next(self, environ: Any) -> Iterable[bytes]:
        self._next.release()
        return []

    def events(self, environ: Any) -> Iterator[bytes]:
        try:
            tick = threading.Event()
            for number in itertools.count():
                yield b"data: %d\n\n" % number
                tick.wait(0.001)
        finally:
            self.events_closed.set()

    def cut(self, environ: Any) -> Iterator[bytes]:
        yield b"the beginning"
        raise ConnectionError("on purpose")

    def report(self, environ: Any) -> Iterable[bytes]:
        self._reported.set()
        return []

    def gate(self, environ: Any) -> Iterable[bytes]:
        assert self._reported.wait(DEADLINE)
        return []


def dump(chromium: str, url: str, profile: Path) -> str:
    """The page as the browser has it once it is loaded."""
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={profile}",
        "--dump-dom", url,
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=2 * DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_page_that_uses_the_server_hard(chromium: str, tmp_path: Path) -> None:
    """B27, B49, B53, B56, B59: as a browser sees them, over both loopback addresses."""
    probe = Probe()
    with LiveServer(probe, host="localhost") as live:
        dom = dump(chromium, f"http://localhost:{live.port}/", tmp_path)
        many = ",".join(str(number) for number in range(30))
        assert f"post Grüße; big 300000; many {many}; " in dom
        assert "; lines 3 0.1.2.; events 0,1,2; cut</p>" in dom
        assert probe.events_closed.wait(DEADLINE)


@pytest.mark.parametrize("name", ["flask", "django", "bottle"])
def test_examples(chromium: str, name: str, start: Start, tmp_path: Path) -> None:
    """The first command of the README, then the browser."""
    server = start(str(EXAMPLES / f"{name}_app.py"), "--port", "0")
    dom = dump(chromium, server.url, tmp_path / "profile")
    assert f"<h1>Hello from {name.capitalize()}</h1>" in dom
    assert server.end() == 0
