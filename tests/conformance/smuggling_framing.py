"""How requests were smuggled by what says where a body ends; see `smuggling.py`."""

from __future__ import annotations

from typing import Final

from .smuggling_case import (
    CHUNKED,
    SMUGGLED,
    STREAM,
    Case,
    head,
    is_read,
    is_refused,
    post,
    with_length,
)

__all__ = ["CASES"]

SIZE: Final = b"%d" % len(SMUGGLED)
BODY: Final = SMUGGLED.decode()
# For a reader of chunks it ends at once, for a reader of Content-Length behind `/smuggled`.
LAST: Final = b"0\r\n\r\n" + SMUGGLED
LAST_SIZE: Final = b"%d" % len(LAST)
LENGTH: Final = b"Content-Length: " + LAST_SIZE

_LENGTHS: Final = (
    is_refused(
        "length with a sign",
        with_length(b"+" + SIZE),
        "9110 8.6: int() takes it, a proxy may not; CVE-2022-24761 (waitress), "
        "CVE-2021-32715 (hyper), CVE-2022-24801 (Twisted)",
    ),
    is_refused(
        "length in hexadecimal",
        with_length(b"0x%x" % len(SMUGGLED)),
        "9110 8.6: digits are decimal; CVE-2023-38697 (protocol-http1)",
    ),
    is_refused("length is minus zero", with_length(b"-0"), "9110 8.6: no sign, not even this one"),
    is_refused(
        "length in digits of another script",
        with_length(b"\xd9\xa3\xd9\xa8"),
        "9110 8.6: int() and isdigit() take every digit of Unicode once the bytes are decoded",
    ),
    is_refused(
        "length in superscript",
        with_length(b"\xb3"),
        "9110 8.6: in Latin-1 this is a digit for isdigit(), and none for int()",
    ),
    is_refused(
        "length in exponents",
        with_length(b"38e0"),
        "9110 8.6: digits only; a reader that stops at the first other character takes 38",
    ),
    is_refused(
        "length that wraps around",
        with_length(b"%d" % (2**64 + len(SMUGGLED))),
        "9110 8.6: large numerals must not overflow; 64 bits make the right length of it",
    ),
    is_refused(
        "two lengths, the last one zero",
        with_length(SIZE, b"Content-Length: 0"),
        "6.3: the second one counted; CVE-2020-10108 (Twisted)",
    ),
    is_refused(
        "two lengths that agree",
        with_length(SIZE, b"Content-Length: " + SIZE),
        "6.3: joined by a comma they were no number, and so zero; CVE-2019-16792 (waitress)",
    ),
    is_refused(
        "a list of lengths",
        with_length(SIZE + b", " + SIZE),
        "6.3: may be accepted, but only when all agree; refused here",
    ),
    is_refused(
        "an empty length before another",
        with_length(b"", b"Content-Length: " + SIZE),
        "9110 8.6: the empty one was passed on as nothing; CVE-2023-40225 (HAProxy)",
    ),
    is_refused(
        "a blank length",
        with_length(b" \t "),
        "9110 8.6: read as no body at all; CVE-2023-40175 (Puma)",
    ),
    *(
        is_refused(
            f"length beside the blank {blank!r}",
            with_length(blank + SIZE + blank),
            "9110 5.6.3: only space and tab are blank; strip() and int() know more",
        )
        for blank in (b"\x0b", b"\x0c", b"\x1c", b"\x1f", b"\x85", b"\xa0", b"\xe2\x80\x83")
    ),
    is_refused(
        "NUL behind the length",
        with_length(SIZE + b"\0"),
        "9110 5.5: for a reader with C strings the value ends there",
    ),
    *(
        is_refused(
            f"length with {mark!r} in its name",
            post(b"Content-Length" + mark + b": " + SIZE, body=SMUGGLED),
            "5.1: such a name is refused, and not stripped, or it hides the body",
        )
        for mark in (b"\t", b"\0", b"\x0b", b"\x85", b"\xa0", b"\r")
    ),
    is_refused(
        "length without a colon",
        post(b"Content-Length " + SIZE, body=SMUGGLED),
        "5: a field line has a colon; CVE-2019-20444 (Netty)",
    ),
    is_refused(
        "length behind an empty name",
        post(b": x", b"Content-Length: " + SIZE, body=SMUGGLED),
        "9110 5.1: fields behind it were dropped, length included; CVE-2023-25725 (HAProxy)",
    ),
    is_refused(
        "length in a folded line",
        post(b"X: 1", b" Content-Length: " + SIZE, body=SMUGGLED),
        "5.2: a field for one reader is a part of the value before it for another",
    ),
    is_read(
        "length with leading zeros",
        with_length(b"000" + SIZE),
        "9110 8.6: 1*DIGIT, and decimal",
        f"POST / {BODY}",
    ),
    is_read(
        "length with an underscore in its name",
        with_length(b"0", b"Content_Length: " + SIZE),
        "9110 5.1: another field; CGI gives both the same name, and it must not count",
        "POST / ",
        "GET /smuggled ",
    ),
)

_CODINGS: Final = (
    is_refused(
        "chunked and a length, by the length",
        post(LENGTH, CHUNKED, body=LAST),
        "6.1, 11.2: the classic; CVE-2020-10109 (Twisted), CVE-2019-20445 (Netty)",
    ),
    is_refused(
        "chunked and a length, by the chunks",
        post(b"Content-Length: 4", CHUNKED, body=b"%x\r\n%b\r\n0\r\n\r\n" % (38, SMUGGLED)),
        "6.1, 11.2: the same, the other way round",
    ),
    is_refused(
        "chunked, then identity",
        post(CHUNKED, b"Transfer-Encoding: identity", body=LAST),
        "6.3: chunked must be the last; CVE-2024-1135 (gunicorn)",
    ),
    is_refused(
        "chunked, then a coding that nobody knows",
        post(CHUNKED, b"Transfer-Encoding: chunked-false", body=LAST),
        "6.3: the first of two fields counted alone; CVE-2020-8287 (Node.js)",
    ),
    is_refused(
        "identity, then chunked",
        post(b"Transfer-Encoding: identity, chunked", body=LAST),
        "6.1: a coding that is not understood is answered 501",
        501,
    ),
    is_refused(
        "gzip, chunked and a length",
        post(LENGTH, b"Transfer-Encoding: gzip, chunked", body=LAST),
        "6.1: a list was not taken for chunked, so the length counted; CVE-2019-16786 (waitress)",
    ),
    is_refused(
        "an invalid coding and a length",
        post(LENGTH, b"Transfer-Encoding: xchunked", body=LAST),
        "6.3: never fall back to the length; CVE-2024-6827 (gunicorn), CVE-2022-32213 (Node.js)",
    ),
    *(
        is_refused(
            f"chunked beside the blank {blank!r}",
            post(b"Transfer-Encoding: " + blank + b"chunked" + blank, LENGTH, body=LAST),
            "9110 5.6.3: only space and tab are blank; CVE-2019-16789 (waitress)",
        )
        for blank in (b"\x0b", b"\x0c", b"\x1d", b"\x85", b"\xa0")
    ),
    *(
        is_refused(
            f"Transfer-Encoding: {value.decode('latin-1')!r}",
            post(b"Transfer-Encoding: " + value, body=LAST),
            reason,
        )
        for value, reason in (
            (b"chunked\0", "9110 5.5: for a reader with C strings this is chunked"),
            (b'"chunked"', "9110 10.1.4: a coding is a token; some readers drop the quotes"),
            (b"chunked,", "9110 5.6.1: the empty element is the last one here, and not chunked"),
            (b"chunked chunked", "6.1: a search for the word would find it"),
            (b"chun\tked", "6.1: no token, unless blanks are dropped"),
            (b"chun\xe2\x84\xaaed", "6.1: lower() folds more than ASCII"),
        )
    ),
    is_refused(
        "chunked in a folded line",
        post(b"Transfer-Encoding:", b" chunked", LENGTH, body=LAST),
        "5.2: the value on the next line was not read; CVE-2022-32215 (Node.js)",
    ),
    *(
        is_refused(
            f"{what} before the colon of Transfer-Encoding",
            post(b"Transfer-Encoding" + mark + b": chunked", LENGTH, body=LAST),
            "5.1: " + reason,
        )
        for what, mark, reason in (
            ("space", b" ", "CVE-2019-16869 (Netty), CVE-2021-22959 (llhttp)"),
            ("tab", b"\t", "the same blank in another dress"),
            ("vertical tab", b"\x0b", "no token"),
        )
    ),
    is_refused(
        "space before the first field",
        STREAM + b"POST / HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: test\r\n\r\n" + LAST,
        "2.2: such a line is neither skipped nor taken for a field",
        seen=("GET /first ",),
    ),
    is_refused(
        "field behind a bare CR",
        post(b"X-Abc: \rxTransfer-Encoding: chunked", body=LAST),
        "2.2: CR alone ended the line; CVE-2023-30589 (llhttp)",
    ),
    is_refused(
        "field behind a bare LF",
        with_length(SIZE, b"X-Header: x\nContent-Length: 0"),
        "2.2: LF alone ended the line; CVE-2019-16785 (waitress), CVE-2022-32214 (Node.js), "
        "CVE-2021-41136 (Puma)",
    ),
    is_refused(
        "chunked from HTTP/1.0",
        head(b"POST / HTTP/1.0", CHUNKED, b"Connection: keep-alive") + LAST,
        "6.1: the framing is faulty; a proxy of that time does not know the coding",
    ),
    is_read(
        "chunked with an underscore in its name",
        post(b"Transfer_Encoding: chunked", LENGTH, body=LAST),
        "9110 5.1: another field, and the length counts",
        f"POST / {LAST.decode()}",
    ),
    is_read(
        "TE is not Transfer-Encoding",
        post(b"TE: chunked", LENGTH, body=LAST),
        "9110 10.1.4: it speaks of the response",
        f"POST / {LAST.decode()}",
    ),
    is_read(
        "chunked as a content coding",
        post(b"Content-Encoding: chunked"),
        "9110 8.4: not about framing, so there is no body, and the next request is one",
        "POST / ",
        after=SMUGGLED,
    ),
    is_read(
        "Connection names the framing",
        post(LENGTH, b"Connection: Content-Length", body=LAST),
        "9110 7.6.1: a proxy that obeys drops the length; a server reads it all the same",
        f"POST / {LAST.decode()}",
    ),
)

CASES: Final[tuple[Case, ...]] = (*_LENGTHS, *_CODINGS)
