"""`aserve.reload.channel`: messages and descriptors between two processes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from aserve.reload.channel import CHANNEL_VARIABLE, Channel, Message

Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    channels = Channel(ours), Channel(theirs)
    yield channels
    for channel in channels:
        channel.close()


def test_messages_and_descriptors_arrive_together(pair: Pair) -> None:
    read, write = os.pipe()
    assert pair[0].send({"type": "go", "text": "Grüße"}, [write])
    assert pair[0].send({"type": "serve"})
    os.close(write)
    found: Iterator[tuple[Message, list[int]]] = pair[1].receive()
    message, (number,) = next(found)
    assert message == {"type": "go", "text": "Grüße"}
    os.write(number, b"through")
    os.close(number)
    assert os.read(read, 100) == b"through"
    os.close(read)
    assert next(found) == ({"type": "serve"}, [])


def test_a_message_larger_than_any_buffer(pair: Pair) -> None:
    text = "x" * 3_000_000
    sender = threading.Thread(target=pair[0].send, args=({"type": "files", "text": text},))
    sender.start()
    message, _ = next(pair[1].receive())
    sender.join()
    assert message["text"] == text


def test_the_end_of_the_other_process(pair: Pair) -> None:
    pair[0].send({"type": "last"})
    pair[0].close()
    assert [message["type"] for message, _ in pair[1].receive()] == ["last"]
    assert not pair[1].send({"type": "nobody hears"})


def test_the_childs_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHANNEL_VARIABLE, raising=False)
    assert Channel.of_this_process() is None
    ours, theirs = socket.socketpair()
    monkeypatch.setenv(CHANNEL_VARIABLE, str(theirs.detach()))
    channel = Channel.of_this_process()
    assert channel is not None
    assert CHANNEL_VARIABLE not in os.environ  # the app's own children are none of ours
    assert not os.get_inheritable(channel.fileno())
    channel.close()
    ours.close()


def test_descriptors_that_nobody_took_are_closed(pair: Pair) -> None:
    read, write = os.pipe()
    pair[0].send({"type": "go"}, [write])
    os.close(write)
    pair[1].read()
    pair[1].close()
    assert os.read(read, 1) == b""
    os.close(read)
