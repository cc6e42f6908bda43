"""``manage.py barrier``: make the start-up checks of accounts now, and show them."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from brokers import barrier
from brokers.clock import configured_clock
from brokers.domain.enums import Mode
from brokers.domain.errors import CredentialsNotFound, SDKMissing
from brokers.factory import BrokerFactory
from brokers.ledger import book
from brokers.models import BrokerAccount


class Command(BaseCommand):
    help = (
        "Make the start-up checks that live orders need, of every active account or of one; status 1 when one is red. "
        "In simulated mode it is a report."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--account", default="", metavar="BROKER/NAME", help="Only this account.")

    def handle(self, *args: Any, **options: Any) -> None:
        red = sum(self._examine(account) for account in _accounts(options["account"]))
        if red:
            raise CommandError(f"Not green: {red} of the checks. {_meaning()}")
        self.stdout.write(f"All green. {_meaning()}")

    def _examine(self, account: BrokerAccount) -> int:
        """Make and print an account's checks; returns how many are red."""
        self.stdout.write(str(account))
        try:
            gateway = BrokerFactory.get_broker(account.broker, account.name)
        except (CredentialsNotFound, SDKMissing) as error:
            self.stdout.write(f"  RED    {error}")
            return 1
        now = configured_clock().now()
        checks = barrier.run(account, gateway, now, sync_book=lambda account: book.sync_orders(account.pk))
        for each in checks:
            self.stdout.write(f"  {'green' if each.is_green else 'RED':5}  {each.name}: {each.sentence}")
        return sum(not each.is_green for each in checks)


def _accounts(wanted: str) -> list[BrokerAccount]:
    accounts = list(BrokerAccount.objects.order_by("broker", "name"))
    if not wanted:
        return [account for account in accounts if account.is_active]
    found = [account for account in accounts if str(account) == wanted]
    if not found:
        known = ", ".join(map(str, accounts)) or "none yet"
        raise CommandError(f"There is no account {wanted!r}; write broker/name, one of: {known}.")
    return found


def _meaning() -> str:
    if settings.MODE is not Mode.LIVE:
        return f"Orders in {settings.MODE} mode do not need it."
    return "Live orders of an account go out when all of its checks are green and no kill switch halts it."
