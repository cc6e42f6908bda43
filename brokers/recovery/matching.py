"""Finds the order of an attempt in the broker's book: by its tag, or by what makes it look like no other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from django.db import transaction

from brokers.discovery import spec_of
from brokers.domain.order_states import Actor, AttemptOutcome, IntentKind, IntentState
from brokers.gateway import BrokerGateway
from brokers.ledger import book
from brokers.ledger.transitions import StaleIntent, move
from brokers.limits import Urgency
from brokers.models import BrokerOrder, OrderAttempt, OrderIntent

#: How far the times in a book may be off: some state whole minutes.
SKEW = timedelta(seconds=65)
#: Orders whose history is asked for in one round.
MOST_HISTORIES = 20


def has_tag(order: BrokerOrder, tag: str) -> bool:
    """Whether a row carries the tag; a broker may lengthen it once the order is cancelled."""
    return order.client_tag == tag or order.client_tag.startswith(f"{tag}-")


def by_tag(attempt: OrderAttempt, mirror: list[BrokerOrder]) -> list[BrokerOrder]:
    return [order for order in mirror if order.attempt_id is None and has_tag(order, attempt.intent.client_tag)]


def look_alikes(attempt: OrderAttempt, mirror: list[BrokerOrder], until: datetime) -> list[BrokerOrder]:
    """Nobody's orders that equal the attempt and were placed while it could have been, up to ``until``."""
    return [
        order
        for order in _placed_meanwhile(attempt, mirror, until)
        if order.first_seen_at > attempt.armed_at and not differences(attempt, order)
    ]


def doubtful(
    attempt: OrderAttempt, mirror: list[BrokerOrder], until: datetime, others: Iterable[OrderAttempt]
) -> list[BrokerOrder]:
    """Nobody's orders of its symbol and side that may be it all the same: changed by a person, timed by a clock that
    was set back, or with a tag that the broker cut or wrote otherwise. One that equals another open question is that
    one's; one that differs and carries another tag is another.
    """
    rivals = [other for other in others if other.pk != attempt.pk]
    tag = attempt.intent.client_tag
    return [
        order
        for order in _placed_meanwhile(attempt, mirror, until)
        if order.first_seen_at > attempt.armed_at - SKEW
        and (not echoes_tag(attempt) or tag.startswith(order.client_tag) or not differences(attempt, order))
        and all(differences(other, order) for other in rivals)
    ]


def _placed_meanwhile(attempt: OrderAttempt, mirror: list[BrokerOrder], until: datetime) -> Iterator[BrokerOrder]:
    """Nobody's orders of the attempt's symbol and side that were placed while it could have been."""
    intent, begins, ends = attempt.intent, attempt.armed_at - SKEW, until + SKEW
    for order in mirror:
        same = (order.exchange, order.symbol, order.side) == (intent.exchange, intent.symbol, intent.side)
        if same and order.attempt_id is None and (order.placed_at is None or begins <= order.placed_at <= ends):
            yield order


def differences(attempt: OrderAttempt, order: BrokerOrder) -> list[str]:
    """In what an order of the book is not what was sent, in words; empty when it is."""
    intent = attempt.intent
    pairs: list[tuple[str, object, object]] = [
        ("exchange", intent.exchange, order.exchange),
        ("symbol", intent.symbol, order.symbol),
        ("side", intent.side, order.side),
        ("quantity", intent.quantity, order.quantity),
        ("product", intent.product, order.product),
        ("price", attempt.sent_price, order.limit_price),
        ("trigger price", intent.trigger_price or None, order.trigger_price or None),
    ]
    return [f"{name} {shown} where {sent} was sent" for name, sent, shown in pairs if sent != shown]


def find_renamed(
    attempt: OrderAttempt, mirror: list[BrokerOrder], gateway: BrokerGateway, asked: list[BrokerOrder]
) -> bool:
    """Give orders that lost their tag in a change the one they had, where their history tells it.

    A history begins with the tag that was sent, so it is read once for an order and kept; a round that runs out of
    calls loses none of it. ``asked`` holds the orders whose history this round has read; it is added to. Returns
    whether every history is known.

    :raises BrokerError: a history could not be read.
    """
    intent = attempt.intent
    for order in mirror:
        if order.attempt_id or order.client_tag or (order.symbol, order.side) != (intent.symbol, intent.side):
            continue
        if order.history_tags is None:
            if len(asked) == MOST_HISTORIES:
                return False
            asked.append(order)
            order.history_tags = sorted(_tags_of(order, gateway))
            BrokerOrder.objects.filter(pk=order.pk).update(history_tags=order.history_tags)
        if any(tag.partition("-")[0] == intent.client_tag for tag in order.history_tags):
            order.client_tag = intent.client_tag
            BrokerOrder.objects.filter(pk=order.pk).update(client_tag=intent.client_tag)
    return True


def _tags_of(order: BrokerOrder, gateway: BrokerGateway) -> frozenset[str]:
    instrument = gateway.resolve(order.symbol, order.exchange)
    return gateway.read(
        lambda adapter: adapter.fetch_order_tags(order.broker_order_id, instrument), urgency=Urgency.QUESTION
    )


def still_nobodys(orders: list[BrokerOrder]) -> list[BrokerOrder]:
    """Of nobody's orders as a reading left them, those that no answer has claimed since."""
    free = BrokerOrder.objects.filter(pk__in=[order.pk for order in orders], attempt__isnull=True)
    return list(free.order_by("first_seen_at")) if orders else []


def suspect(orders: list[BrokerOrder]) -> None:
    """Mark orders that carry our tag and are not what the ledger sent."""
    BrokerOrder.objects.filter(pk__in=[order.pk for order in orders], attempt__isnull=True).update(
        origin=BrokerOrder.Origin.SUSPECT
    )


def adopt(attempt: OrderAttempt, order: BrokerOrder, *, actor: Actor, cause: str, now: datetime) -> None:
    """Make ``order`` the attempt's, and follow it to where it stands.

    :raises StaleIntent: the order or the attempt was taken by somebody else.
    """
    intent = attempt.intent
    lost = (AttemptOutcome.UNKNOWN, AttemptOutcome.VOID)
    with transaction.atomic():
        claimed = BrokerOrder.objects.filter(pk=order.pk, attempt__isnull=True).update(
            attempt=attempt, origin=BrokerOrder.Origin.OURS
        )
        let_refusals_give_way(intent)
        judged = OrderAttempt.objects.filter(pk=attempt.pk, outcome__in=lost).update(outcome=AttemptOutcome.ADOPTED)
        if not claimed or not judged:
            raise StaleIntent(f"{order} or {attempt} was taken meanwhile.")
        evidence = {"broker_order_id": order.broker_order_id, "client_tag": order.client_tag, "attempt": attempt.number}
        move(intent, IntentState.WORKING, actor=actor, cause=cause, at=now, evidence=evidence, closed_reason="")
    attempt.outcome, order.attempt = AttemptOutcome.ADOPTED, attempt
    book.follow(intent, order, now)


def let_refusals_give_way(intent: OrderIntent) -> None:
    """I1: a later try that the broker refused is no live attempt beside the one that it has."""
    intent.attempts.filter(outcome=AttemptOutcome.REFUSED).update(outcome=AttemptOutcome.VOID)


def echoes_tag(attempt: OrderAttempt) -> bool:
    return spec_of(attempt.intent.account.broker).capabilities.echoes_client_tag


def is_place(attempt: OrderAttempt) -> bool:
    return attempt.intent.kind == IntentKind.PLACE
