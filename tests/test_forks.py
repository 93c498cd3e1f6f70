"""What a fork of the server's process inherits, and what not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

# The hook runs before those of `forget_signals`: the signal comes as early as one can.
EARLY = """
import os, signal, socket, sys, threading
from aserve.forks import forget_signals

waker, woken = socket.socketpair()
waker.setblocking(False)
woken.setblocking(False)
signal.signal(signal.SIGTERM, lambda *args: None)
signal.set_wakeup_fd(waker.fileno())
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
forget_signals([signal.SIGINT, signal.SIGTERM])

def fork():
    number = os.fork()
    if not number:
        os._exit(0)
    _, status = os.waitpid(number, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM, status

if sys.argv[1] == "main":
    fork()
else:
    failures = []
    threading.excepthook = failures.append
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    assert not failures, failures[0].exc_value
try:
    raise SystemExit(f"the parent was woken: {woken.recv(1)}")
except BlockingIOError:
    pass
assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
os.kill(os.getpid(), signal.SIGTERM)
assert woken.recv(1) == bytes([signal.SIGTERM])
"""


@pytest.mark.parametrize("thread", ["main", "other"])
def test_a_signal_right_behind_the_fork_ends_the_fork_and_is_not_told_the_parent(
    thread: str,
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EARLY, thread], stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_fork_has_the_mask_of_its_parent() -> None:
    """Whatever it was."""
    code = (
        "import os, signal\n"
        "from aserve.forks import forget_signals\n"
        "forget_signals([signal.SIGTERM])\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])\n"
        "number = os.fork()\n"
        "mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())\n"
        "right = mask == {signal.SIGTERM, signal.SIGUSR1}\n"
        "if not number:\n"
        "    os._exit(not right)\n"
        "assert right and os.waitpid(number, 0)[1] == 0\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
