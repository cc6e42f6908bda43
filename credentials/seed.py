"""The accounts of the simulated brokers."""

from __future__ import annotations

from django.conf import settings

from brokers.discovery import specs
from brokers.domain.enums import Mode
from credentials.accounts import keep, open_account
from credentials.models import CredentialStore


def seed_simulated() -> list[str]:
    """Give every broker its simulated account, where it has none; returns those that were made.

    :raises RuntimeError: the installation is not in simulated mode.
    """
    if settings.MODE is not Mode.SIMULATED:
        raise RuntimeError(f"Simulated accounts are not made in {settings.MODE} mode; set MCUBE_MODE=simulated.")
    from brokers.simulator import accounts

    made = []
    for broker in specs():
        if not CredentialStore.objects.filter(service=broker, name="default").exists():
            keep(broker, "default", accounts.default(broker).credentials())
            made.append(f"{broker}/default")
        open_account(broker, "default")
    return made
