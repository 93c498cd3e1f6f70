"""What a client asks the supervisor's page for: a request's head, read for that and no more."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["Asked", "read"]

_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)


class Asked(NamedTuple):
    """A request.

    Args:
        method: E.g. `GET`; empty for a line that is none of HTTP.
        target: As it came.
        host: Whom it is for; None where that cannot be told: a client of today names one host.
        fields: By their names in lower case; the first of several.
    """

    method: str
    target: str
    host: str | None
    fields: dict[str, str]

    def field(self, name: str) -> str | None:
        """The value of a field; `host` is that of the target, where it names one."""
        return self.host if name == "host" else self.fields.get(name)


def read(head: bytes) -> Asked:
    """Read a head: everything up to the empty line."""
    line, *lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")
    words = line.split(b" ")
    method, target, version = words if len(words) == 3 else (b"", b"", b"")
    fields: dict[str, str] = {}
    hosts = []
    for each in lines:
        name, _, value = each.partition(b":")
        key, text = name.lower().decode("latin-1"), value.strip(b" \t").decode("latin-1")
        fields.setdefault(key, text)
        if key == "host":
            hosts.append(text)
    host = _host_of(target, hosts, is_old=version == b"HTTP/1.0")
    return Asked(method.decode("latin-1"), target.decode("latin-1"), host, fields)


def _host_of(target: bytes, hosts: list[str], *, is_old: bool) -> str | None:
    # RFC 9112 section 3.2: one field, and none is for HTTP/1.0 only.
    if len(hosts) != 1 and not (is_old and not hosts):
        return None
    # Section 3.2.2: what the target says goes before it.
    match = _ABSOLUTE.match(target)
    return match[1].decode("latin-1") if match else "".join(hosts)
