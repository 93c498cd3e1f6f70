"""`aserve.debug.redact`: which values are never shown."""

from __future__ import annotations

import pytest

from aserve.debug.redact import hide_pairs, hide_quoted, is_secret


@pytest.mark.parametrize(
    "name",
    ["password", "PASSWD", "db_password", "API_KEY", "apikey", "HTTP_AUTHORIZATION", "X-Api-Key",
     "client_secret", "access_token", "csrftoken", "Set-Cookie", "sessionid", "connect.sid",
     "remember_me", "private_key", "auth", "pin", "jwt", "code_verifier"],
)  # fmt: skip
def test_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["author", "key", "primary_key", "keys", "passenger", "pinned", "name", "state", ""]
)
def test_others(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a=1&token=x&b=2", "a=1&token=<hidden>&b=2"),
        ("https://ada:pw@host/?api_key=x#y", "https://<hidden>@host/?api_key=<hidden>#y"),
        ("mail@example.org", "mail@example.org"),
    ],
)
def test_pairs(text: str, shown: str) -> None:
    assert hide_pairs(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Login(user='ada', password='x')", "Login(user='ada', password=<hidden>)"),
        ("{'password': 'x', 'a': 'b'}", "{'password': <hidden>, 'a': 'b'}"),
        ("Headers([('Authorization', 'Bearer x'), ('Host', 'h')])",
         "Headers([('Authorization', <hidden>), ('Host', 'h')])"),
        ("T(token=b'x', secret=\"it's\")", "T(token=<hidden>, secret=<hidden>)"),
        ("T(token='cut off", "T(token=<hidden>"),
        ("'access_token=x&page=2'", "'access_token=<hidden>&page=2'"),
        ("['one', 'two']", "['one', 'two']"),
    ],
)  # fmt: skip
def test_what_classes_write(text: str, shown: str) -> None:
    assert hide_quoted(text) == shown
