"""A small authorization server: RFC 6749 with PKCE (RFC 7636), and a page that asks."""

from __future__ import annotations

import base64
import hashlib
import html
import secrets
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, redirect, request
from werkzeug.wrappers import Response as BaseResponse

__all__ = ["make_provider"]

# A person would press the button; as soon as the page is there, it presses itself.
_ASK = """<!doctype html><title>Provider</title>
<form method="{method}" action="{action}">{fields}</form>
<script>document.forms[0].submit()</script>"""


def make_provider() -> Flask:
    """An authorization server that knows everybody, and grants what is asked of it."""
    app = Flask(__name__)
    issued: dict[str, dict[str, str]] = {}

    @app.get("/authorize")
    def authorize() -> BaseResponse | str:
        asked = request.args.to_dict()
        assert asked["response_type"] == "code"
        answer = {"state": asked["state"]}
        if asked["client_id"] == "refused":
            answer |= {"error": "access_denied", "error_description": "The person said no."}
        else:
            code = secrets.token_urlsafe()
            issued[code] = asked
            answer["code"] = code
        if asked.get("response_mode") == "form_post":
            return _form("post", asked["redirect_uri"], answer)
        if asked.get("response_mode") == "ask":
            return _form("get", asked["redirect_uri"], answer)
        return redirect(f"{asked['redirect_uri']}?{urlencode(answer)}", 302)

    @app.post("/token")
    def token() -> dict[str, Any] | Response:
        given = request.form
        asked = issued.pop(given["code"])  # RFC 6749 section 4.1.2: once
        verifier = given.get("code_verifier", "")
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        # RFC 7636 section 4.6, and RFC 6749 section 4.1.3.
        assert asked.get("code_challenge", challenge) == challenge
        assert given["redirect_uri"] == asked["redirect_uri"]
        return {
            "access_token": f"token of {asked['client_id']}",
            "token_type": "Bearer",
            "expires_in": 3600,
        }

    return app


def _form(method: str, action: str, answer: dict[str, str]) -> str:
    fields = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}">'
        for name, value in answer.items()
    )
    return _ASK.format(method=method, action=html.escape(action), fields=fields)
