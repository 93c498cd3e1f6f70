"""The app that brings the command `runserver`."""

# Django has no types, and need not be installed.
# mypy: disable-error-code="import-not-found, import-untyped, misc"

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.management import get_commands

from ...reload import role

__all__ = ["AserveConfig"]


class AserveConfig(AppConfig):
    """Django calls these methods while it sets itself up."""

    name = "aserve.contrib.django"
    # The last part of the name by default, and an app of somebody else may be called `django`.
    label = "aserve"
    verbose_name = "aserve"

    def import_models(self) -> None:
        """The first moment at which all apps are known; the models of the others come next."""
        super().import_models()
        if sys.argv[1:2] == ["runserver"] or role.serve_here is not None:
            # Remembered by Django. When the models of an app are broken, Django goes on without
            # any app, and without this it would find its own `runserver` then.
            get_commands()

    def ready(self) -> None:
        """All apps are loaded."""
        checks.register(_check_order)


def _check_order(app_configs: object, **_: object) -> list[Any]:
    owner = get_commands().get("runserver")
    if owner == AserveConfig.name or _is_ours(owner):
        return []
    return [
        checks.Warning(
            f"`runserver` is the one of {owner}, not aserve's.",
            hint=f'Put "{AserveConfig.name}" first into INSTALLED_APPS.',
            id="aserve.W001",
        )
    ]


def _is_ours(owner: Any) -> bool:
    """Whether that app's command is built on this one, as WhiteNoise's is on the next one."""
    from .management.commands.runserver import Command

    try:
        module = import_module(f"{owner}.management.commands.runserver")
    except ImportError:
        return False
    return issubclass(getattr(module, "Command", object), Command)
