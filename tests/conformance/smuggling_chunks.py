"""How requests were smuggled in chunked bodies; see `smuggling.py`."""

from __future__ import annotations

from typing import Final

from .smuggling_case import CHUNKED, SMUGGLED, Case, is_read, is_refused, post

__all__ = ["CASES"]

_MANY: Final = 20_000


def _broken(name: str, body: bytes, reason: str, status: int = 400) -> Case:
    """Refused while the body is read: the application never sees it."""
    return is_refused(name, post(CHUNKED, body=body + SMUGGLED), reason, status)


def _decoded(name: str, body: bytes, reason: str, data: bytes) -> Case:
    """Read to its end, and no further: a request behind it is one."""
    after = b"" if b"/smuggled" in body else SMUGGLED
    sent = post(CHUNKED, body=body)
    return is_read(name, sent, reason, f"POST / {data.decode('latin-1')}", after=after)


_SIZES: Final = tuple(
    _broken(f"chunk size {size!r}", size + b"\r\nhello\r\n0\r\n\r\n", "7.1: " + reason)
    for size, reason in (
        (b"0x5", "int(…, 16) takes it; CVE-2022-24761 (waitress), CVE-2022-24801 (Twisted)"),
        (b"+5", "int(…, 16) takes it; CVE-2023-38697 (protocol-http1)"),
        (b"-5", "a length below zero reads to the end, or backwards"),
        (b"0_5", "int(…, 16) takes underscores between digits"),
        (b"\xd9\xa5", "int(…, 16) takes digits of every script"),
        (b"\x0b5", "int(…, 16) drops blanks that are none in HTTP"),
        (b"5\xa0", "strip() drops a blank of Latin-1"),
        (b"5\t", "BWS belongs in front of a semicolon, and here is none"),
        (b"5\0", "for a reader with C strings the number ends there"),
        (b"5h", "a reader that stops at the first other character takes 5"),
        (b"5.0", "no fraction"),
        (b"10000000000000005", "64 bits make 5 of it; sizes must not overflow"),
        (b"5,5", "no list"),
        (b'"5"', "no quotes"),
    )
)

_EXTENSIONS: Final = (
    *(
        _broken(f"extension {extension!r}", b"5" + extension + b"\r\nhello\r\n0\r\n\r\n", reason)
        for extension, reason in (
            (b";\0", "7.1.1: not validated; CVE-2022-24761 (waitress)"),
            (b";a\x0bb", "7.1.1: no token"),
            (b";a\x7f", "7.1.1: no token"),
            (b";", "7.1.1: an extension has a name"),
            (b"; ", "7.1.1: an extension has a name, and blanks are none"),
            (b";a=", "7.1.1: a value is not empty"),
            (b";a b", "7.1.1: no blanks within a name"),
            (b";a;;b", "7.1.1: an extension has a name"),
            (b';a="b', "7.1.1: a quote that is not closed; CVE-2026-33870 (Netty)"),
            (b';a="b\\', "7.1.1: a quote that is not closed"),
            (b';a=b"c"', "7.1.1: a token or a quoted string"),
            (b";a=\xff", "7.1.1: other bytes only in quotes"),
            (b" a", "7.1.1: an extension begins with a semicolon"),
        )
    ),
    _broken(
        "LF ends an extension",
        b"5;\nhello\r\n0\r\n\r\n",
        "7.1.1: a line for one reader, a part of the extension for another (TERM.EXT); "
        "CVE-2025-55315 (Kestrel), CVE-2022-24801 (Twisted)",
    ),
    _broken(
        "LF within an extension",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        "7.1.1: the same, the other way round (EXT.TERM); CVE-2023-38697 (protocol-http1)",
    ),
    _broken(
        "CR within an extension",
        b'5;a="\rb"\r\nhello\r\n0\r\n\r\n',
        "7.1.1: CR alone ends a line for some",
    ),
    _broken(
        "CR CR LF behind a size", b"5\r\r\nhello\r\n0\r\n\r\n", "7.1: the line ends with one CRLF"
    ),
    _broken(
        "CRLF in quotes",
        b'2;a="\r\nhi\r\n0\r\n\r\n',
        "9110 5.6.4: no line ends in a quoted string, so the line is faulty, wherever it ends; "
        "CVE-2026-33870 (Netty)",
    ),
    _broken(
        "LF behind a size",
        b"5\nworld\r\n0\r\n\r\n",
        "7.1: CRLF, and nothing else; CVE-2025-22871 (Go), CVE-2025-58056 (Netty)",
    ),
    _broken(
        "an extension without an end",
        b"1;" + b"a" * _MANY,
        "7.1.1: a server limits them; CVE-2024-22019 (Node.js), CVE-2024-21647 (Puma)",
        431,
    ),
    _broken(
        "an extension for every byte",
        b"1;aaaaaaa\r\nx\r\n" * 3_000,
        "7.1.1: the limit is on all of them together; CVE-2023-39326 (Go)",
        431,
    ),
    _decoded(
        "request in an extension",
        b'5;a="GET /smuggled HTTP/1.1"\r\nhello\r\n0\r\n\r\n',
        "7.1.1: what is not known is ignored",
        b"hello",
    ),
    _decoded(
        "extensions as the grammar has them",
        b'2;a\r\nhe\r\n3 ; b = "\\"\xff;" ;c=d\r\nllo\r\n0;e\r\n\r\n',
        "7.1.1: blanks, quotes and all",
        b"hello",
    ),
)

_DATA: Final = (
    *(
        _broken(
            f"chunk data ends with {end!r}",
            b"5\r\nworld" + end + b"0\r\n\r\n",
            "7.1: " + reason,
        )
        for end, reason in (
            (b"XX", "two bytes were skipped unseen; CVE-2025-43859 (h11)"),
            (b"X\n", "only the last of the two was looked at"),
            (b"\rX", "only the first of the two was looked at"),
            (b"\n", "LF was enough, and one more byte was skipped"),
            (b"\r", "CR was enough"),
            (b"", "nothing was enough"),
            (b"\n\r", "the two in the wrong order"),
            (b"\r\n\r\n", "an empty line is no chunk size"),
        )
    ),
    _decoded(
        "request in the data",
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
        "7.1: the size counts, not what the data looks like",
        SMUGGLED,
    ),
    _decoded(
        "last chunk in the data",
        b"2b\r\n0\r\n\r\n%b\r\n0\r\n\r\n" % SMUGGLED,
        "7.1: the same for a reader that looks for the end",
        b"0\r\n\r\n" + SMUGGLED,
    ),
)

_ENDS: Final = (
    _broken(
        "no empty line at the end",
        b"5\r\nhello\r\n0\r\n",
        "7.1.2: what follows is the trailer section, and a request line is no field",
    ),
    _broken(
        "LF instead of the empty line", b"0\r\n\n", "7.1.2: the end of the body for one reader only"
    ),
    _broken("last chunk ends with LF", b"0\n\r\n", "7.1: the end of the body for one reader only"),
    _broken("space behind the last chunk", b"0 \r\n\r\n", "7.1: no size any more"),
    _broken(
        "trailer without a colon",
        b"0\r\nX: 1\r\nbad\r\nY: 2\r\n\r\n",
        "7.1.2: the trailers ended there, and the rest was a request; CVE-2025-59822 (http4s)",
    ),
    _broken("trailer ends with LF", b"0\r\nX: 1\n\r\n", "7.1.2: CRLF, and nothing else (2.2)"),
    _broken("trailer with a bare CR", b"0\r\nX: 1\r\r\n\r\n", "2.2: CR only in front of LF"),
    _broken("trailer with NUL", b"0\r\nX: \0\r\n\r\n", "9110 5.5: never in a value"),
    _broken("trailer with a space before the colon", b"0\r\nX : 1\r\n\r\n", "5.1: as in a head"),
    _broken("trailer in a folded line", b"0\r\nX: 1\r\n\t2\r\n\r\n", "5.2: as in a head"),
    _broken(
        "trailers without an end",
        b"0\r\n" + b"X: 1\r\n" * _MANY,
        "7.1.2: they are limited like a head; CVE-2026-22815 (aiohttp)",
        431,
    ),
    _decoded(
        "trailers that would frame",
        b"5\r\nhello\r\n0\r\nContent-Length: 38\r\nTransfer-Encoding: chunked\r\n\r\n",
        "9110 6.5.1: never merged into the head; CVE-2025-53643 (aiohttp), "
        "CVE-2023-40175 (Puma): the next request begins behind all of them",
        b"hello",
    ),
    _decoded(
        "last chunk of many zeros",
        b"5\r\nhello\r\n0000000000000000\r\n\r\n",
        '7.1: 1*("0")',
        b"hello",
    ),
)

CASES: Final[tuple[Case, ...]] = (*_SIZES, *_EXTENSIONS, *_DATA, *_ENDS)
