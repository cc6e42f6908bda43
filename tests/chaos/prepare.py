"""Makes a run's installation ready, in a process of its own: accounts, sessions, instruments and one known order each.

python -m tests.chaos.prepare
"""

from __future__ import annotations

import os
from pathlib import Path

import django

from tests.chaos.plan import BROKERS, Account, Plan
from tests.chaos.sabotage import FOLDER, install, of_this_run

#: Below every price that the strategies use, so that nothing looks like it.
QUIET_PRICE = "1275.50"


def main() -> None:
    folder = Path(os.environ[FOLDER])
    plan = Plan.read(folder)
    django.setup()
    saboteur = of_this_run()
    assert saboteur is not None
    install(saboteur)
    set_cadence("open questions", plan.question_seconds)
    for broker in BROKERS:
        for account in plan.of(broker):
            open_account(account)
    for account in plan.accounts:
        place_known_order(account)


def set_cadence(name: str, seconds: int) -> None:
    """Have beat's schedule of this name tick so often, as a person may do it in the admin."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    interval, _ = IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)
    entry = PeriodicTask.objects.get(name=name)
    entry.interval = interval
    entry.save()


def open_account(account: Account) -> None:
    """The row, its credentials and a session; today's instruments with the first of each broker."""
    from brokers import instruments, sessions
    from brokers.clock import configured_clock
    from brokers.models import BrokerAccount
    from brokers.simulator.accounts import numbered
    from credentials.models import CredentialStore

    row, _ = BrokerAccount.objects.update_or_create(
        broker=account.broker,
        name=account.name,
        defaults={
            "manual_trading": "POSSIBLE" if account.manual else "NONE",
            "resend_after_absence": account.resends,
        },
    )
    CredentialStore.objects.get_or_create(
        service=account.broker, name=account.name, defaults=numbered(account.broker, account.number).credentials()
    )
    sessions.ensure(row, clock=configured_clock())
    if account.number == 1:
        instruments.refresh(row)


def place_known_order(account: Account) -> None:
    """An order that rests all day, and is in the book as the ledger knows it: the positive control of every reading."""
    from brokers.factory import BrokerFactory
    from brokers.ledger import book

    gateway = BrokerFactory.get_broker(account.broker, account.name)
    gateway.place_order(
        "RELIANCE",
        "B",
        1,
        "LIMIT",
        QUIET_PRICE,
        exchange="NSE",
        client_order_id=f"quiet-{account.broker}-{account.name}",
    )
    book.sync_orders(gateway.account.pk)


if __name__ == "__main__":
    main()
