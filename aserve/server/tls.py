"""TLS on a connected socket, used like the socket beneath it.

It is up to twice as fast as asyncio's, and can look at what a client says first. Loop thread.

`TLSSocket` keeps the ciphertext in memory (`ssl.MemoryBIO`): one system call reads or writes
many records. `TLSTransport` says close_notify where the end is an orderly one, and only there: a
client has to be able to tell that an answer was cut (RFC 8446 section 6.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any, Final

from ..types import Environ, StartResponse
from .read_side import READ_SIZE
from .transport import SocketTransport

__all__ = ["TLSSocket", "TLSTransport", "refer_to_https"]

# The most that one record carries (RFC 8446 section 5.1).
_RECORD_SIZE: Final = 16_384

# What is encrypted before it is sent: the size of a socket's buffer, so more would only wait.
_WRITE_SIZE: Final = 65_536


class TLSSocket:
    """The server's side of TLS on a non-blocking socket; owned and closed by it.

    Args:
        sock: A connected socket.
        context: With a certificate.

    Attributes:
        tls: The `ssl.SSLObject`, for what it knows of the client.
        ahead: Whether `recv` has something to tell without the socket being readable.
        mute: Whether nothing has come from the client yet.
    """

    __slots__ = (
        "_ended",
        "_error",
        "_incoming",
        "_outgoing",
        "_owed",
        "_shut",
        "_sock",
        "_unsent",
        "ahead",
        "mute",
        "tls",
    )

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unsent: bytes | memoryview = b""  # ciphertext
        self._owed = 0  # bytes of plaintext that `_unsent` stands for
        self._shut = False  # close_notify is sent
        self._ended = False  # nothing more can be read: the client's close_notify, or an error
        self._error: ssl.SSLError | None = None
        self.ahead = False
        self.mute = True

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def handshake(self) -> bool:
        """Go on with it, now that the socket is readable; True when it is done.

        Raises:
            OSError: It failed (`ssl.SSLError` is one), or the client left.
        """
        data = self._sock.recv(READ_SIZE)
        if not data:
            raise ConnectionResetError("the client left")
        self.mute = False
        self._incoming.write(data)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._send_own()  # its part of the handshake, or an alert
        self.ahead = self._incoming.pending > 0
        return True

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As `socket.recv`, but returns all that has come, which may be a little more than `size`.

        Raises:
            BlockingIOError: Nothing has come, or only a part of a record.
            OSError: The connection is broken, or TLS is (`ssl.SSLError`).
        """
        if flags:
            return self._sock.recv(size, flags)  # a look at whether something has come
        if self.ahead and not self._ended:
            self.ahead = False
        elif not self._ended:
            data = self._sock.recv(size)
            if self._shut or not data:
                # What comes after our close_notify is only thrown away. An end without the
                # client's is for the reader to judge, who knows how much was to come.
                return data
            self._incoming.write(data)
        if not self._ended and (data := self._decrypt()):
            return data
        if self._error is not None:
            raise self._error
        if self._ended:
            return b""
        raise BlockingIOError

    def _decrypt(self) -> bytes:
        pieces = []
        try:
            # An attempt in vain costs an exception, so it is made only when there is something.
            while self._incoming.pending:
                if not (piece := self.tls.read(_RECORD_SIZE)):  # close_notify
                    self.ahead = self._ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.ahead = self._ended = True
            self._error = error
        if self._outgoing.pending:
            self._send_own()  # a new key, or an alert
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def send(self, data: Any) -> int:
        """As `socket.send`.

        Raises:
            BlockingIOError: The kernel did not take all of it. The same data has to be given
                again, as OpenSSL wants it, too: it is encrypted already.
        """
        if not self._unsent:
            size = 0
            # Released in any case: the caller's buffer cannot be emptied while it is looked at.
            with memoryview(data) as view:
                while size < len(view) and size < _WRITE_SIZE:
                    size += self.tls.write(view[size : size + _RECORD_SIZE])
            self._owed = size
            self._unsent = self._outgoing.read()
        self._send_unsent()
        return self._owed

    def _send_unsent(self) -> None:
        sent = self._sock.send(self._unsent)
        if sent < len(self._unsent):
            self._unsent = memoryview(self._unsent)[sent:]
            raise BlockingIOError
        self._unsent = b""

    def _send_own(self) -> None:
        """Send what TLS itself has to say, behind what is under way."""
        if not self._unsent and self._outgoing.pending:
            self._owed = 0
            self._unsent = self._outgoing.read()
            with contextlib.suppress(OSError):
                self._send_unsent()

    def shutdown(self, how: int) -> None:
        """As `socket.shutdown`, after close_notify."""
        self.say_goodbye()
        self._sock.shutdown(how)

    def say_goodbye(self) -> None:
        """Send close_notify, as far as the kernel takes it: a farewell is not waited for."""
        if not self._shut:
            self._shut = True
            # It raises when it would like to wait for the client's, or when TLS has failed.
            with contextlib.suppress(ssl.SSLError):
                self.tls.unwrap()
            self._send_own()

    def close(self) -> None:
        """End in an orderly way."""
        self.say_goodbye()
        self._sock.close()


class TLSTransport(SocketTransport):
    """See `SocketTransport`.

    Args:
        loop: The loop.
        sock: The socket, for what is to be known of it.
        peername: Its other end.
        protocol: Told of everything but `connection_made`.
        channel: TLS on the socket, behind the handshake.
    """

    is_plain = False  # OpenSSL wants one thread at a time

    __slots__ = ("_channel",)

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        peername: Any,
        protocol: asyncio.Protocol,
        channel: TLSSocket,
    ) -> None:
        super().__init__(loop, sock, peername, protocol, channel)
        self._channel = channel

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`; also `ssl_object` and `sslcontext`."""
        if name == "ssl_object":
            return self._channel.tls
        if name == "sslcontext":
            return self._channel.tls.context
        return super().get_extra_info(name, default)

    def has_unread(self) -> bool:
        """See `SocketTransport`."""
        return self._channel.ahead or super().has_unread()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        super().resume_reading()
        if self._channel.ahead:
            self._loop.call_soon(self._read_ahead)

    def _on_readable(self) -> None:
        super()._on_readable()
        if self._channel.ahead:
            self._loop.call_soon(self._read_ahead)

    def _read_ahead(self) -> None:
        if self.is_reading() and self._channel.ahead:
            self._on_readable()

    def _say_goodbye(self) -> None:
        self._channel.say_goodbye()


def refer_to_https(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """The WSGI app for clients that speak plain HTTP where HTTPS is spoken.

    A temporary redirect, because the next server on this port may speak plain HTTP.
    """
    host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    # The target as it came: decoded and encoded again it might be another one.
    target: str = environ["RAW_URI"]
    fields = [("Content-Type", "text/plain; charset=utf-8"), ("Connection", "close")]
    if environ["REQUEST_METHOD"] in ("GET", "HEAD") and target.startswith("/"):
        url = f"https://{host}{target}"
        start_response("307 Temporary Redirect", [*fields, ("Location", url)])
        return [f"This server speaks HTTPS: {url}\n".encode("latin-1")]
    # What was sent has crossed the wire unprotected already, and a redirect would hide that.
    start_response("400 Bad Request", fields)
    return [f"This server speaks HTTPS: https://{host}/\n".encode("latin-1")]
