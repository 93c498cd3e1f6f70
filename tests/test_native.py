"""The copies of the standard library that nobody has patched, in a process where it is patched."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from aserve import native

PROGRAM = """
{before}
from aserve import native
{after}
native.restore()
import _thread, socket, threading
assert native.is_patched()
assert native.threading is not threading and native.socket.socket is not socket.socket
assert native.is_main_thread()

latch, done = native.Latch(), native.threading.Event()
def work():
    assert not native.is_main_thread()
    latch.wait()
    done.set()

thread = native.threading.Thread(target=work)
thread.start()
latch.set()
latch.set()
assert done.wait(10)
thread.join()
ours, theirs = native.own(socket.socketpair())
assert type(ours) is native.socket.socket
ours.sendall(b"hello")
assert theirs.recv(5) == b"hello"
assert native.subprocess.run(["true"]).returncode == 0
native.loop_factory()().close()
print(len(threading.enumerate()))
"""


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("patch", [
    "from gevent import monkey; monkey.patch_all()",
    "import eventlet; eventlet.monkey_patch()",
])  # fmt: skip
def test_real_primitives(patch: str, order: str) -> None:
    program = PROGRAM.format(**{"before": "", "after": "", order: patch})
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


def test_a_debugger_that_follows_threads_is_no_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_thread.start_new_thread", lambda *_: None)
    assert not native.is_patched()


def test_where_nothing_is_patched_these_are_the_modules() -> None:
    assert not native.is_patched()
    assert native.threading is threading
    assert native.loop_factory() is None


def test_a_latch_of_several_waiters() -> None:
    latch = native.Latch()
    threads = [threading.Thread(target=latch.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not latch.is_set
    latch.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
