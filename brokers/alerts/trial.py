"""Shows whether a channel works, before it has to."""

from __future__ import annotations

from brokers.alerts import courier
from brokers.alerts.courier import Errand
from brokers.alerts.wording import trial
from brokers.models import AlertChannel
from credentials.keyring import DecryptError


def try_channel(channel: AlertChannel) -> str:
    """Send a trial message now; what went wrong, without the address, or an empty text."""
    try:
        results = courier.carry(Errand(address=channel.address, messages=[trial()]))
    except DecryptError as error:
        return str(error)
    return results[0] or ""
