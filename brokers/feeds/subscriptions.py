"""Who wants which instruments of an account's feed: rows, so that a restart forgets nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from django.db import transaction

from brokers.domain.enums import Exchange
from brokers.domain.errors import OrderDenied
from brokers.domain.instruments import Instrument
from brokers.models import BrokerAccount, FeedSubscription

#: An instrument by exchange and symbol, since its tokens change from day to day.
Key = tuple[Exchange, str]


def add(account: BrokerAccount, instruments: Sequence[Instrument], *, subscriber: str, most: int) -> None:
    """Note what a subscriber wants; what it wants already stays.

    :raises OrderDenied: the feed would carry more than ``most``; nothing is noted.
    """
    with transaction.atomic():
        # The account's row, so that two who subscribe at once do not both fit.
        BrokerAccount.objects.select_for_update().get(pk=account.pk)
        count = len(wanted(account) | {(each.exchange, each.symbol) for each in instruments})
        if count > most:
            raise OrderDenied(
                f"The live feed of {account} carries {most} instruments at most and would have {count}; unsubscribe some."
            )
        FeedSubscription.objects.bulk_create(
            [
                FeedSubscription(
                    account=account,
                    exchange=each.exchange,
                    symbol=each.symbol,
                    expiry=each.expiry,
                    subscriber=subscriber,
                )
                for each in instruments
            ],
            ignore_conflicts=True,
        )


def remove(account: BrokerAccount, symbols: Sequence[str], exchange: Exchange | None, *, subscriber: str) -> int:
    """Take back what a subscriber wanted, of every exchange unless one is given; returns how many rows there were."""
    rows = FeedSubscription.objects.filter(account=account, symbol__in=symbols, subscriber=subscriber)
    if exchange is not None:
        rows = rows.filter(exchange=exchange)
    return rows.delete()[0]


def forget_expired(account: BrokerAccount, today: date) -> None:
    """Drop the wishes for contracts that expired before ``today`` (IST)."""
    FeedSubscription.objects.filter(account=account, expiry__lt=today).delete()


def wanted(account: BrokerAccount) -> set[Key]:
    """What anybody wants of the account's feed."""
    rows = FeedSubscription.objects.filter(account=account).values_list("exchange", "symbol").distinct()
    return {(Exchange(exchange), symbol) for exchange, symbol in rows}
