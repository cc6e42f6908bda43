"""Who wants which instruments of an account's feed: rows, so that a restart forgets nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from django.db import transaction

from brokers.domain.capabilities import Capabilities
from brokers.domain.enums import Exchange
from brokers.domain.errors import OrderDenied
from brokers.domain.instruments import Instrument
from brokers.models import BrokerAccount, FeedSubscription

#: An instrument by exchange and symbol, since its tokens change from day to day.
Key = tuple[Exchange, str]


def add(
    account: BrokerAccount, instruments: Sequence[Instrument], *, subscriber: str, depth: bool, room: Capabilities
) -> None:
    """Note what a subscriber wants; what it wants already stays, depth included.

    :raises OrderDenied: the feed would carry more than the broker has ``room`` for; nothing is noted.
    """
    with transaction.atomic():
        # The account's row, so that two who subscribe at once do not both fit.
        BrokerAccount.objects.select_for_update().get(pk=account.pk)
        carried, new = wanted(account), {(each.exchange, each.symbol): each for each in instruments}
        _check_room(account, carried | {key: depth or carried.get(key, False) for key in new}, room)
        FeedSubscription.objects.bulk_create(
            [
                FeedSubscription(
                    account=account,
                    exchange=each.exchange,
                    symbol=each.symbol,
                    expiry=each.expiry,
                    subscriber=subscriber,
                    depth=depth,
                )
                for each in new.values()
            ],
            ignore_conflicts=not depth,
            update_conflicts=depth,
            update_fields=["depth"] if depth else None,
            unique_fields=["account", "exchange", "symbol", "subscriber"] if depth else None,
        )


def _check_room(account: BrokerAccount, carried: Mapping[Key, bool], room: Capabilities) -> None:
    count = len(carried) + sum(carried.values()) * room.fed_depth_takes
    if count > room.most_fed:
        counted = f", the depth of one counted as {room.fed_depth_takes} more" if room.fed_depth_takes else ""
        raise OrderDenied(
            f"The live feed of {account} carries {room.most_fed} instruments at most{counted}, and would have {count}; "
            "unsubscribe some."
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


def wanted(account: BrokerAccount) -> dict[Key, bool]:
    """What anybody wants of the account's feed, and whether anybody wants its depth."""
    rows = FeedSubscription.objects.filter(account=account).values_list("exchange", "symbol", "depth").distinct()
    # Those with depth come last, and hold.
    return {(Exchange(exchange), symbol): depth for exchange, symbol, depth in rows.order_by("depth")}
