"""`aserve trust` and `aserve untrust`: the development authority in the stores of this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ..net.names import PERMITTED_NAMES

if TYPE_CHECKING:
    from ..net.authority import Authority
    from ..net.credentials import Credentials  # a Python may have been built without ssl
    from ..net.stores import Missing, Store

__all__ = ["trust", "trust_notes", "untrust"]

_PACKAGES: Final = (
    ("apt-get", "apt install libnss3-tools"),
    ("dnf", "dnf install nss-tools"),
    ("pacman", "pacman -S nss"),
    ("zypper", "zypper install mozilla-nss-tools"),
    ("brew", "brew install nss"),
)


def trust() -> bool:
    """Make the authority if there is none, and install it; whether all stores have it now."""
    from ..net.authority import Authority

    authority = Authority()
    authority.prepare()
    click.echo(f"The development authority is {_short(authority.certificate)}")
    click.echo(f"It can vouch for private addresses and for names in {_permitted()} alone,")
    click.echo("as a server: not for mail, clients or programs.\n")
    left = _forget_the_old_one(authority)
    done, failed = _change(authority.certificate, is_install=True)
    authority.trusted_by = done
    click.echo("\n" + _help_for_tools(authority.certificate))
    return not failed and not left


def _forget_the_old_one(authority: Authority) -> list[str]:
    """Take out an authority that was renewed because it could vouch for more; who still has it."""
    old = authority.old_certificate
    if not old.exists():
        return []
    click.echo("The authority was renewed: the one before it could vouch for mail, clients and")
    click.echo("programs, too. Its key is gone, and it is taken out of the stores:")
    _, left = _change(old, is_install=False)
    if not left:
        old.unlink(missing_ok=True)
    click.echo("")
    return left


def untrust() -> bool:
    """Take the authority out of the stores again; whether none has it now."""
    from ..net.authority import Authority

    authority = Authority()
    if not authority.exists():
        click.echo("There is no development authority, so nothing trusts it.")
        return True
    left = _forget_the_old_one(authority)
    _, failed = _change(authority.certificate, is_install=False)
    failed += left
    authority.trusted_by = failed
    if not failed:
        click.echo(f"Nothing trusts it any more. Its files are still in {_short(authority.folder)}")
    return not failed


def trust_notes(tls: Credentials | None) -> tuple[str, ...]:
    """What the banner says when a browser is going to warn."""
    if tls is None:
        return ()
    if tls.authority is not None and not tls.authority.trusted_by:
        return (
            "Browsers will warn until you have run, one time: aserve trust",
            f"For curl and others: --cacert {_short(tls.authority.certificate)}",
        )
    if tls.is_adhoc:
        return ("Nobody trusts an ad-hoc certificate; use --https and `aserve trust`.",)
    return ()


def _short(path: Path) -> str:
    """As a person would type it in a shell."""
    text = str(path)
    if shlex.quote(text) != text or not path.is_relative_to(Path.home()):
        return shlex.quote(text)
    return f"~/{path.relative_to(Path.home())}"


def _permitted() -> str:
    return ", ".join(f".{name}" for name in PERMITTED_NAMES)


def _change(certificate: Path, *, is_install: bool) -> tuple[list[str], list[str]]:
    """Change every store; the names of those that were changed, and of the others."""
    from ..net.stores import Missing, find_stores

    done: list[str] = []
    failed: list[str] = []
    for store in find_stores(certificate, Path.home(), os.environ):
        label = f"{store.name} ({_short(Path(store.place))})"
        if isinstance(store, Missing):
            problem = _advice(store)
        elif store.holds_it() is is_install:
            done.append(label)
            click.echo(f"  {label}: {'trusts it' if is_install else 'does not trust it'} already")
            continue
        else:
            problem = _run(store, is_install=is_install)
        if problem:
            failed.append(label)
            click.echo(f"  {label}: not changed. {problem}", err=True)
        else:
            done.append(label)
            click.echo(f"  {label}: {'trusts it now' if is_install else 'removed'}")
    return done, failed


def _run(store: Store, *, is_install: bool) -> str:
    """Change a store, or say how somebody else can; empty when it is done."""
    from ..net.stores import run

    commands = store.install if is_install else store.remove
    must_ask = store.needs_root and hasattr(os, "geteuid") and os.geteuid() != 0
    if not must_ask:
        return run(commands)
    if shutil.which("sudo") and sys.stdin is not None and sys.stdin.isatty():
        click.echo(f"  {store.name}: asking sudo to run {' and '.join(_shown(commands))}")
        return run(commands, prefix=("sudo",))
    return f"As the administrator, run: {' && '.join(_shown(commands))}"


def _shown(commands: tuple[tuple[str, ...], ...]) -> Iterator[str]:
    return (shlex.join(command) for command in commands)


def _advice(store: Missing) -> str:
    package = next((text for tool, text in _PACKAGES if shutil.which(tool)), "your package manager")
    return f"It needs the program {store.tool}: {package}; then run this again."


def _help_for_tools(certificate: Path) -> str:
    path = _short(certificate)
    rows = (
        ("curl", f"curl --cacert {path} https://localhost:8000/"),
        ("httpx, urllib", f"export SSL_CERT_FILE={path}"),
        ("requests", f"export REQUESTS_CA_BUNDLE={path}"),
        ("Node", f"export NODE_EXTRA_CA_CERTS={path}"),
    )
    lines = ["Programs with a list of their own:"]
    lines += [f"  {name:<15}{text}" for name, text in rows]
    lines.append("Restart browsers that are open. To undo all of this: aserve untrust")
    return "\n".join(lines)
