"""`aserve.debug.redact`: which values are never shown."""

from __future__ import annotations

import pytest

from aserve.debug.redact import hide, hide_pairs, is_hidden, is_secret

# No part of it may be left of any shape below.
SECRET = "hunter2x"


@pytest.mark.parametrize(
    "name",
    ["password", "PASSWD", "db_password", "dbPassword", "API_KEY", "apikey", "HTTP_AUTHORIZATION",
     "X-Api-Key", "client_secret", "access_token", "accessToken", "csrftoken", "Set-Cookie",
     "sessionid", "connect.sid", "remember_me", "private_key", "auth", "pin", "jwt",
     "code_verifier", "debug_pin", "ASERVE_DEBUG_PIN", "pin_code", "STRIPE_KEY", "X-Auth-Key",
     "X-Jwt", "X-Otp", "DPoP", "user_pwd", "db_pass", "salt", "password_salt", "otp", "cvv", "sig",
     "SAMLResponse", "encryptionKey", "session"],
)  # fmt: skip
def test_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["author", "key", "primary_key", "foreign_key", "CACHE_KEY", "sort_key", "sortKey", "keys",
     "passenger", "pinned", "spin", "name", "state", "", "bypass", "compass", "design", "resign",
     "salted", "code", "tokenizer", "token_type", "cookiecutter", "secretary", "row_key",
     "s3_key_name", "SESSION_COOKIE_NAME", "CSRF_COOKIE_SECURE", "AUTH_USER_MODEL",
     "jwt_algorithm", "pass_count", "monkey", "turkey", "session_factory", "sessions"],
)  # fmt: skip
def test_others(name: str) -> None:
    assert not is_secret(name)


def test_a_session_of_a_database_is_none() -> None:
    assert not is_hidden("session", object())
    assert is_hidden("session", {"user": 1})
    assert is_hidden("session", "text")
    assert is_hidden("password", object())
    assert is_hidden("pin", 1234)
    assert not is_hidden("max_tokens", 100)
    assert not is_hidden("password", None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a=1&token=x&b=2", "a=1&token=<hidden>&b=2"),
        ("https://ada:pw@host/?api_key=x#y", "https://<hidden>@host/?api_key=<hidden>#y"),
        ("mail@example.org", "mail@example.org"),
        ("http://localhost:8000/users/@me", "http://localhost:8000/users/@me"),
        ("/cb?code=x&state=y", "/cb?code=<hidden>&state=y"),
        ("/countries?code=de", "/countries?code=de"),
        ("next=%2Fcb%3Ftoken%3Dx%26a%3Db&c=d", "next=/cb?token=<hidden>%26a=b&c=d"),
        ("url=https://h/?next=%2F%3Fsig%3Dx", "url=https://h/?next=/?sig=<hidden>"),
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
    assert hide(text) == shown


# One table of shapes: what stands around a secret in texts that people meet.
SHAPES = [
    # URLs
    f"postgresql://ada:{SECRET}@db/shop",
    f"postgresql://ada:p@{SECRET}@db/shop",
    f"postgresql://ada:p/{SECRET}#x@db:5432/shop",
    f"redis://:{SECRET}@cache:6379/0",
    f"https://{SECRET}@api.example/",
    f"could not connect to 'amqp://a:{SECRET}@mq//': refused",
    f"https://h/?sig={SECRET}",
    f"https://h/cb?state=a&code={SECRET}",
    f"POST /acs?SAMLResponse={SECRET}",
    f"/login?next=%2Fa%3Faccess_token%3D{SECRET}",
    f"/login?next=%252Fa%253Ftoken%253D{SECRET}",
    # libpq
    f"host=db user=ada password={SECRET} dbname=shop",
    f"host=db password='it\\'s {SECRET}' dbname=shop",
    f"host=db password = {SECRET}",
    # files of variables
    f"DEBUG=1\nSECRET_KEY={SECRET}\nA=b",
    f"export DB_PASS={SECRET}",
    f"DB_PASSWORD=two words {SECRET}\nA=b",
    f"'DEBUG=1\\nSTRIPE_KEY={SECRET}\\nA=b'",
    f'API_KEY="{SECRET}"',
    # raw headers
    f"Authorization: Bearer {SECRET}",
    f"GET / HTTP/1.1\r\nCookie: a=b; sid={SECRET}\r\n\r\n",
    f"b'GET / HTTP/1.1\\r\\nAuthorization: Basic {SECRET}\\r\\nHost: x'",
    f"Set-Cookie: session={SECRET}; Path=/",
    f"x-api-key: {SECRET}",
    f"X-Auth-Key: {SECRET}",
    f"DPoP: {SECRET}",
    # JSON, and JSON in a repr, and that once more
    f'{{"password": "{SECRET}"}}',
    f'\'{{"password": "{SECRET}"}}\'',
    f'"{{\\"password\\": \\"{SECRET}\\"}}"',
    f'"{{\\\\\\"password\\\\\\": \\\\\\"{SECRET}\\\\\\"}}"',
    f'{{"pin": {SECRET}}}',
    f'{{"tokens": ["a", "{SECRET}"]}}',
    f'{{"clientSecret" : "{SECRET}"}}',
    # reprs of others
    f'Creds(password="it\'s \\"{SECRET}\\"")',
    f"Creds(user='ada', db_pass='{SECRET}', port=1)",
    f"Card(cvv={SECRET})",
    f"Keys(tokens=['a', '{SECRET}'])",
    f"Keys(secrets={{'a': '{SECRET}'}})",
    f"Keys(secrets=('a', '{SECRET}'))",
    f"<Login password={SECRET}>",
    f"[('X-Jwt', '{SECRET}')]",
    f"{{b'Authorization': b'Basic {SECRET}'}}",
    f"environ({{'DB_PASSWORD': '{SECRET}'}})",
    f"{{'otp' => '{SECRET}'}}",
    f"Login(password=SecretStr('{SECRET}'))",
    f"Login(password=bytearray(b'{SECRET}'), a=1)",
    f"Login(pw=u'{SECRET}')",
    f"Pw(secret=Box('a', '{SECRET}'))",
    f"Authorization=Bearer {SECRET}",
    f"headers={{'Authorization': 'Bearer {SECRET}'}}",
    f"{{'headers': {{'authorization': ['Bearer {SECRET}']}}}}",
    f"tokens=[['a'], ['{SECRET}']]",
    f"{{'secrets': {{'a': {{'b': 1}}, 'c': '{SECRET}'}}}}",
    f"Key (token)=({SECRET}) already exists.",
    f"curl --password {SECRET} x",
    f"password  =  {SECRET}",
    f"GET /?user[password]={SECRET}",
    # YAML
    f"- password: {SECRET}",
    f"password: |\n  {SECRET}",
    f"user: ada\npassword: {SECRET}\n",
    f"'a: b\\n  api_key: {SECRET}\\n'",
    # by their look
    f"-----BEGIN PRIVATE KEY-----\nMIG{SECRET}\n-----END PRIVATE KEY-----",
    f"'-----BEGIN RSA PRIVATE KEY-----\\nMIG{SECRET}",
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{SECRET}",
    f"invalid key sk_live_{SECRET}{SECRET}",
    f"Bearer {SECRET}{SECRET}",
    f"sk-proj-{SECRET}{SECRET}{SECRET}",
    f"glpat-{SECRET}{SECRET}{SECRET}",
    f"bad credentials ghp_{SECRET}{SECRET}{SECRET}",
]


@pytest.mark.parametrize("text", SHAPES)
def test_shapes(text: str) -> None:
    shown = hide(text)
    assert SECRET not in shown
    assert "<hidden>" in shown
    assert hide(shown) == shown  # shown once more, it stays


@pytest.mark.parametrize(
    "text",
    [
        "unexpected keyword argument 'token'",
        "unexpected token: expected ')'",
        "KeyError: 'author'",
        "Point(x=1, y=2, key='a')",
        "{'name': 'Ada', 'primary_key': 5}",
        "SELECT * FROM users WHERE id = 1",
        "no such column: users.name",
        "if password == other",
        "a = b, c = d",
        "http://localhost:8000/a/b?page=2#top",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "File \"/a/b.py\", line 3, in f",
        "2026-01-01 12:00:00: state=open",
        "Usage(prompt_tokens=12, completion_tokens=7)",
        "['pin', 'led']",
        "class A:\n    password: str\n    pin: int = 0",
        "git+ssh://git@github.com/a/b",
        "SESSION_COOKIE_NAME='sid'",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert hide(text) == text


@pytest.mark.parametrize("piece", ["'", '\\"', "a=", "(", "password='", "://a:", "@", "[", "eyJ"])
def test_long_texts_take_no_time(piece: str) -> None:
    """Whatever is repeated: time grows with the length, and not with its square."""
    assert isinstance(hide(piece * 3000), str)
