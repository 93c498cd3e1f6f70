"""The headers of everything that aserve itself says to a browser."""

from __future__ import annotations

from typing import Final

__all__ = ["NO_CONTENT", "guarded_headers", "policy"]


def policy(
    *,
    scripts: str = "'none'",
    styles: str = "'none'",
    connect: str = "'none'",
    images: str = "data:",
) -> str:
    """A Content-Security-Policy that allows these sources, and nothing else."""
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; connect-src {connect}; "
        f"img-src {images}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


# Of a text.
NO_CONTENT: Final = policy(images="'none'")


def guarded_headers(
    kind: str, size: int, rules: str = NO_CONTENT, *, referrer: str = "same-origin"
) -> list[tuple[str, str]]:
    """Headers with which no other origin frames, loads, opens, guesses or keeps an answer.

    Args:
        kind: The media type of the body, in UTF-8.
        size: Of the body, in bytes.
        rules: See `policy`.
        referrer: With `no-referrer`, a browser sends `Origin: null` along with the page's own
            commands; an address that holds a secret needs it.
    """
    return [
        ("Content-Type", f"{kind}; charset=utf-8"),
        ("Content-Length", str(size)),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", rules),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        # Who has opened the window cannot lead it elsewhere, e.g. to a page that asks for the PIN.
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Referrer-Policy", referrer),
    ]
