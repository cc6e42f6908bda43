"""The person of a simulated account, who logs in where a broker's login needs one."""

from __future__ import annotations

from importlib import import_module
from urllib.parse import urlsplit

import httpx
from django.conf import settings

from brokers.discovery import spec_of
from brokers.domain.enums import Mode
from brokers.domain.errors import BrokerUnavailable
from brokers.models import BrokerAccount


def play_person(account: BrokerAccount, login_url: str) -> str:
    """In simulated mode, do what a person does on the simulated login page; "" where only a person can."""
    if settings.MODE is not Mode.SIMULATED or urlsplit(login_url).hostname not in ("127.0.0.1", "localhost", "::1"):
        return ""
    face = import_module(spec_of(account.broker).simulator.partition(":")[0])
    try:
        token: str = face.play_person(login_url)
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise BrokerUnavailable(
            f"The login page of account {account} at the simulator gave no token ({type(error).__name__}); is the simulator running?"
        ) from error
    return token
