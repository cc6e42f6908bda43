"""Settings that must agree with each other before anything starts. Run by every ``manage.py`` command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from brokers.clock import CLOCK_FILE
from brokers.domain.enums import Mode


@register
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Ids are stable; people silence and search by them."""
    return [*_time(), *_mode(), *_web(), *_secrets()]


def _time() -> list[CheckMessage]:
    if settings.TIME_ZONE != "UTC" or not settings.USE_TZ:
        return [
            Error(
                f"Times must be kept in UTC; TIME_ZONE is {settings.TIME_ZONE!r} and USE_TZ is {settings.USE_TZ}.",
                hint="Leave both as mcube/settings.py has them; pages show IST all the same.",
                id="mcube.E001",
            )
        ]
    return []


def _mode() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.DEBUG and settings.MODE is Mode.LIVE:
        found.append(
            Error(
                "Debug pages show variables and must not run beside real orders.",
                hint="Set MCUBE_DEBUG=0, or MCUBE_MODE=simulated.",
                id="mcube.E002",
            )
        )
    if settings.LIVE_TRADING and settings.MODE is not Mode.LIVE:
        found.append(
            Warning(
                f"MCUBE_LIVE_TRADING is 1 while the mode is {settings.MODE}; no real order is sent.",
                hint="Set MCUBE_MODE=live if real orders are meant, and MCUBE_LIVE_TRADING=0 otherwise.",
                id="mcube.W001",
            )
        )
    if settings.MODE is Mode.LIVE and (settings.HOME / CLOCK_FILE).exists():
        found.append(
            Error(
                f"MCUBE_HOME {settings.HOME} holds a simulated installation, whose accounts are nobody's.",
                hint="Set MCUBE_HOME to a folder of its own for live use, and DATABASE_URL to a database of its own.",
                id="mcube.E004",
            )
        )
    if settings.MODE is Mode.LIVE and settings.SAFETY_SCALE != 1:
        found.append(
            Error(
                f"MCUBE_SAFETY_SCALE is {settings.SAFETY_SCALE:g}; in live mode an order would be called absent too soon.",
                hint="Unset MCUBE_SAFETY_SCALE; it is for tests.",
                id="mcube.E005",
            )
        )
    if settings.MODE is Mode.LIVE:
        simulated = [name for name, url in settings.BROKER_URLS.items() if url]
        if simulated:
            found.append(
                Warning(
                    f"In live mode {', '.join(simulated)} is not reached at the broker's own hosts.",
                    hint=f"Unset {', '.join(f'MCUBE_{name.upper()}_URL' for name in simulated)} for real orders.",
                    id="mcube.W002",
                )
            )
    return found


def _web() -> list[CheckMessage]:
    if settings.MODE is Mode.LIVE and "*" in settings.ALLOWED_HOSTS:
        return [
            Error(
                "MCUBE_ALLOWED_HOSTS is *; in live mode the admin answers to its own names only.",
                hint="Set MCUBE_ALLOWED_HOSTS to the names people use, e.g. mcube.example.com.",
                id="mcube.E006",
            )
        ]
    return []


def _secrets() -> list[CheckMessage]:
    if not settings.ENCRYPTION_KEYS:
        return [
            Error(
                "There is no key to encrypt credentials with.",
                hint="Set MCUBE_ENCRYPTION_KEYS, or unset it to have one made in MCUBE_HOME.",
                id="mcube.E003",
            )
        ]
    return []
