"""Finds out what became of orders whose answer was lost: in the broker's book, by a proof of absence, or from a person.

One reading of an account's book serves all of its open questions. Nothing here sends an order.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from zlib import crc32

from django.db import transaction

from brokers import limits, sessions
from brokers.clock import IST, configured_clock, trading_day
from brokers.discovery import spec_of
from brokers.domain.enums import OrderStatus
from brokers.domain.errors import BrokerError, CredentialsNotFound, RateLimited, SDKMissing
from brokers.domain.order_states import Actor, AttemptOutcome, IntentKind, IntentState
from brokers.factory import BrokerFactory
from brokers.gateway import BrokerGateway
from brokers.ledger import book, queries
from brokers.ledger.settlement import TAG_TAKEN
from brokers.ledger.transitions import StaleIntent, move
from brokers.limits import Urgency
from brokers.models import BookRead, BrokerAccount, BrokerOrder, OrderAttempt, OrderIntent
from brokers.recovery import absence, agenda, fencing, gtts, matching, visibility
from brokers.recovery.agenda import Question
from brokers.recovery.answers import alert_twice, ask_person, declare_absent, stop_resending, unless_stale
from brokers.recovery.deadlines import (
    alert_overdue,
    ask_in_time,
    ask_without_calls,
    close_what_is_over,
    is_to_be_swept,
    last_ended_day,
)
from brokers.recovery.reading import Reading, alert_blind, read_book
from brokers.risk import strangers

_CHANGEABLE = ("quantity", "limit_price", "trigger_price")
#: States of an order that was called absent and is not under way again.
_CALLED_ABSENT = (IntentState.ABSENT, IntentState.READY, IntentState.NOT_PLACED)
_UNDER_WAY = (IntentState.ARMED, IntentState.UNKNOWN)

#: Exchange, symbol and side.
Place = tuple[str, str, str]

log = logging.getLogger("brokers.ledger")


def recover(broker: str, name: str | None = None) -> None:
    """Deal with dead senders, then bring an account's open questions, or those of all at a broker, nearer to an answer.

    What fails at one account does not keep the others from their turn.
    """
    now = configured_clock().now()
    fencing.fence(now)
    if name is not None:
        accounts = BrokerAccount.objects.filter(broker=broker, name=name)
    else:
        accounts = agenda.accounts_in_question(trading_day(now), ended=last_ended_day(now)).filter(broker=broker)
    with ExitStack() as turns:
        for account in accounts:
            turns.callback(_take_turn, gtts.reconcile, account)
            turns.callback(_take_turn, reconcile, account)


def accounts_to_recover(now: datetime) -> list[tuple[str, str]]:
    """Broker and name of the accounts for which :func:`recover` has something to do.

    In another order each second: where not all get their turn in time, it is not always the same that get none.
    """
    accounts = agenda.accounts_in_question(trading_day(now), ended=last_ended_day(now))
    overdue = queries.overdue(now).order_by().values_list("intent__account__broker", "intent__account__name")
    found = {*accounts.order_by().values_list("broker", "name"), *overdue}
    return sorted(found, key=lambda account: crc32(f"{int(now.timestamp())} {account}".encode()))


def _take_turn(answer: Callable[[BrokerAccount, datetime], None], account: BrokerAccount) -> None:
    try:
        answer(account, configured_clock().now())
    except (RateLimited, sessions.LoginInProgress) as error:
        log.warning("open questions of %s wait: %s", account, error)
    except (BrokerError, CredentialsNotFound, SDKMissing) as error:
        log.warning("open questions of %s wait: %s", account, error)
        alert_blind(account, str(error), configured_clock().now())


def reconcile(account: BrokerAccount, now: datetime) -> None:
    """Answer what can be answered of an account's open questions; read its book if one of them is due.

    :raises RateLimited: the account's calls are used up for now; the next turn tries again.
    """
    day = trading_day(now)
    found = agenda.of(account, day)
    if close_what_is_over(account, found, now):
        found = agenda.of(account, day)
    newest = list(BookRead.objects.filter(account=account).order_by("-started_at")[: visibility.ENOUGH])
    within, capabilities = visibility.bound(account, now), spec_of(account.broker).capabilities
    questions, watched = [each for each in found if each.is_open], agenda.watched(found, day)
    alert_overdue(account, questions, within, now)
    if not is_to_be_swept(account, newest[0] if newest else None, now) and not any(
        visibility.is_due(each, capabilities, within, newest, now) for each in questions + watched
    ):
        return
    proofs = {each.pk: visibility.proof_from(each, within) for each in questions + watched}
    with ExitStack() as whatever_happens:
        # The broker may not be there to be asked, and a person is asked in time all the same.
        whatever_happens.callback(ask_in_time, account, questions, proofs)
        gateway = BrokerFactory.get_broker(account.broker, account.name)
        late = [each for each in questions if now > proofs[each.pk]]
        try:
            if late:
                _freshen(account, gateway, late)
            reading = read_book(account, gateway, proving=any(each.kind == IntentKind.PLACE for each in late))
        except RateLimited as error:
            if error.retry_after == limits.DAY_SPENT_WAIT:
                whatever_happens.callback(ask_without_calls, account, questions, proofs)
            raise
        if reading is not None:
            _Round(
                account=account,
                gateway=gateway,
                reading=reading,
                proofs=proofs,
                now=gateway.clock.now(),
                questions=questions,
            ).judge(watched)


@dataclass(kw_only=True)
class _Round:
    """One reading, and the questions it is put to."""

    account: BrokerAccount
    gateway: BrokerGateway
    reading: Reading
    #: From when on a reading says something about an attempt, by its key.
    proofs: dict[int, datetime]
    now: datetime
    questions: list[Question]
    readings: list[BookRead] = field(default_factory=list)
    #: The orders whose history was read in this round.
    histories: list[BrokerOrder] = field(default_factory=list)
    #: Nobody's orders by their tag and by their place: of a thousand questions each looks at those it may be about.
    tagged: dict[str, list[BrokerOrder]] = field(default_factory=lambda: defaultdict(list))
    near: dict[Place, list[BrokerOrder]] = field(default_factory=lambda: defaultdict(list))
    orders: dict[int, BrokerOrder] = field(default_factory=dict)
    rivals: dict[Place, list[OrderAttempt]] = field(default_factory=dict)
    controls: dict[str, datetime | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for order in self.reading.mirror:
            self.orders[order.pk] = order
            if order.attempt_id is None:
                self.tagged[order.client_tag.partition("-")[0]].append(order)
                self.near[_place(order)].append(order)

    def judge(self, watched: list[Question]) -> None:
        waited = [self.proofs[each.pk] for each in self.questions if self._has_waited(each)]
        if waited:
            self.readings = absence.readings_since(self.account.pk, min(waited))
        shown = self._whole(each for each in watched if self._may_show(each))
        # Known by its tag to be nobody else's, and a reason not to send the others again.
        wrong = [each for each in shown if matching.echoes_tag(each) and each.intent.state in _CALLED_ABSENT]
        with ExitStack() as turns:  # The last is the first to be called.
            if self.reading.owes_trades:
                turns.callback(self._read_trades)
            for attempt in shown:
                if attempt not in wrong:
                    turns.callback(unless_stale, self._watch, attempt)
            for attempt in self._whole(each for each in self.questions if self._may_be_answered(each)):
                judge = self._judge_place if matching.is_place(attempt) else self._judge_mutation
                turns.callback(unless_stale, judge, attempt)
            for attempt in wrong:
                turns.callback(unless_stale, self._watch, attempt)

    # Which of a thousand questions the reading may say something of: only of these the rows are read

    def _whole(self, questions: Iterable[Question]) -> list[OrderAttempt]:
        chosen = list(questions)
        return agenda.attempts(self.account, chosen) if chosen else []

    def _may_be_answered(self, question: Question) -> bool:
        if question.kind != IntentKind.PLACE:
            return question.target_id in self.orders
        waited = self._has_waited(question)
        if self.gateway.spec.capabilities.echoes_client_tag:
            # One without a tag may have lost it in a change.
            shown = self._may_show(question) or any(not each.client_tag for each in self.near.get(_place(question), ()))
        else:
            shown = waited and self._may_show(question)
        return shown or (waited and bool(self._proving(question)))

    def _may_show(self, question: Question) -> bool:
        if self.gateway.spec.capabilities.echoes_client_tag:
            return bool(self.tagged.get(question.client_tag))
        return bool(self.near.get(_place(question)))

    def _has_waited(self, attempt: Question | OrderAttempt) -> bool:
        return self.reading.record.started_at > self.proofs[attempt.pk]

    def _proving(self, question: Question) -> list[BookRead]:
        control_at = self._control_of(question.exchange)
        if control_at is None:
            return []
        return absence.enough(question, max(self.proofs[question.pk], control_at), self.readings)

    def _control_of(self, exchange: str) -> datetime | None:
        if exchange not in self.controls:
            self.controls[exchange] = absence.controlled_from(self.account, exchange, self.reading.mirror)
        return self.controls[exchange]

    # An order

    def _judge_place(self, attempt: OrderAttempt) -> None:
        waited = self._has_waited(attempt)
        if matching.echoes_tag(attempt):
            if self._found_by_tag(attempt, self.tagged[attempt.intent.client_tag]):
                return
            near = self.near[_place(attempt.intent)]
            is_told = matching.find_renamed(attempt, near, self.gateway, self.histories)
            if self._found_by_tag(attempt, near) or not is_told:
                return
        elif not waited or self._found_by_looks(attempt):
            return
        if waited:
            self._prove_absent(attempt)

    def _found_by_tag(self, attempt: OrderAttempt, among: list[BrokerOrder]) -> bool:
        found = matching.by_tag(attempt, among)
        if not found:
            return False
        wrong = matching.differences(attempt, found[0])
        if len(found) > 1 or wrong:
            matching.suspect(found)
            numbers = ", ".join(order.broker_order_id for order in found)
            what = "several orders carry its tag" if len(found) > 1 else f"the order with its tag has {wrong[0]}"
            ask_person(attempt, f"{what}: {numbers}", self.now)
        else:
            cause = f"found in the book by its tag as {found[0].broker_order_id}"
            matching.adopt(attempt, found[0], actor=Actor.RECONCILER, cause=cause, now=self.now)
        return True

    def _found_by_looks(self, attempt: OrderAttempt) -> bool:
        found = matching.look_alikes(attempt, self.near[_place(attempt.intent)], self.proofs[attempt.pk])
        if not found:
            return False
        numbers = ", ".join(order.broker_order_id for order in found)
        if len(found) > 1:
            ask_person(attempt, f"several orders of the book look like it: {numbers}", self.now)
        elif self.account.manual_trading != BrokerAccount.ManualTrading.NONE:
            ask_person(attempt, f"order {numbers} looks like it, and a person may have placed that", self.now)
        elif strangers.may_be_of_a_gtt(found[0]):
            ask_person(attempt, f"order {numbers} looks like it, and a GTT may have sent that", self.now)
        else:
            cause = f"found in the book as {numbers}, the one order that looks like it"
            matching.adopt(attempt, found[0], actor=Actor.RECONCILER, cause=cause, now=self.now)
        return True

    def _prove_absent(self, attempt: OrderAttempt) -> None:
        control_at = self._control_of(attempt.intent.exchange)
        proof = absence.proof(attempt, max(self.proofs[attempt.pk], control_at), self.readings) if control_at else None
        if proof is None:
            return
        if attempt.reply_code == TAG_TAKEN:
            ask_person(attempt, "the broker said that it has an order with this tag, and its book shows none", self.now)
            return
        if found := self._doubtful(attempt):
            wrong = ", ".join(matching.differences(attempt, found[0])) or "an earlier time"
            ask_person(attempt, f"order {found[0]} was placed at the same time and has {wrong}", self.now)
            return
        count, read_at = len(proof["readings"]), f"{self.now.astimezone(IST):%H:%M:%S} IST"
        cause = f"not in {count} complete readings of the book, the last at {read_at}"
        declare_absent(attempt, cause, self.now, proof)

    def _doubtful(self, attempt: OrderAttempt) -> list[BrokerOrder]:
        place = _place(attempt.intent)
        if not self.near.get(place):
            return []
        if place not in self.rivals:
            self.rivals[place] = self._whole(each for each in self.questions if _place(each) == place)
        return matching.doubtful(attempt, self.near[place], self.proofs[attempt.pk], self.rivals[place])

    # A cancel or a change

    def _judge_mutation(self, attempt: OrderAttempt) -> None:
        intent = attempt.intent
        order = self.orders.get(intent.target_id or 0)
        if order is None:
            return
        status = OrderStatus(order.status)
        if intent.state == IntentState.ABSENT:
            self._judge_given_up(attempt, order)
        elif status.is_terminal or (intent.kind == IntentKind.MODIFY and book.shows(order, intent)):
            self._found_effect(attempt, order)
        elif order.broker_order_id not in self.reading.shown:
            return
        elif intent.kind == IntentKind.CANCEL and self.now <= intent.not_after:
            # It is sent again at once, whatever the book is worth: its goal stays the same however often it is sent.
            if self.reading.record.started_at > attempt.quiet_at:
                declare_absent(attempt, f"the book still shows {order} {status.lower()}", self.now)
        elif self._has_waited(attempt):
            self._judge_unchanged(attempt, order)

    def _judge_given_up(self, attempt: OrderAttempt, order: BrokerOrder) -> None:
        """A lost cancel that was to be sent again and was not. That its order has ended, the reading itself has written."""
        is_newest = attempt.intent.lost_cancel() == attempt
        is_shown_open = order.broker_order_id in self.reading.shown and not OrderStatus(order.status).is_terminal
        if is_newest and is_shown_open and self._has_waited(attempt):
            self._judge_unchanged(attempt, order)

    def _found_effect(self, attempt: OrderAttempt, order: BrokerOrder) -> None:
        with transaction.atomic():
            unknown = OrderAttempt.objects.filter(pk=attempt.pk, outcome=AttemptOutcome.UNKNOWN)
            if not unknown.update(outcome=AttemptOutcome.ADOPTED):
                raise StaleIntent(f"{attempt} was judged meanwhile.")
            cause = f"the book shows {order} {order.status.lower()}"
            move(attempt.intent, IntentState.WORKING, actor=Actor.RECONCILER, cause=cause, at=self.now)
        placed = order.attempt.intent if order.attempt else None
        if placed is not None:
            book.follow(placed, order, self.now)
        attempt.intent.refresh_from_db()

    def _judge_unchanged(self, attempt: OrderAttempt, order: BrokerOrder) -> None:
        """A cancel or a change that the book does not show after all that time."""
        before = attempt.intent.target_before or {}
        if self.reading.record.session_version <= attempt.session_version:
            # An old session has been seen to show an old book.
            if self.reading.record.started_at > self.proofs[attempt.pk] + visibility.scaled(visibility.PROVING):
                ask_person(attempt, f"only a session from before it was sent shows {order} as it was", self.now)
        elif attempt.intent.kind == IntentKind.CANCEL:
            declare_absent(attempt, f"the book still shows {order} {order.status.lower()}", self.now)
        elif not before or any(
            Decimal(getattr(order, name) or 0) != Decimal(before[name] or 0) for name in _CHANGEABLE
        ):
            ask_person(attempt, f"{order} has neither its old values nor the new ones", self.now)
        elif order.filled_quantity != int(before["filled_quantity"]):
            cause = f"{order} was filled to {order.filled_quantity} meanwhile and is not changed; decide again"
            declare_absent(attempt, cause, self.now)
        else:
            declare_absent(
                attempt, f"{order} still has its old values; give the change again if it is still wanted", self.now
            )

    # What was absent

    def _watch(self, attempt: OrderAttempt) -> None:
        """Look whether what was called absent shows up after all. While a later try is open, it may be that one's."""
        if attempt.intent.state in _UNDER_WAY:
            return
        if matching.echoes_tag(attempt):
            found = matching.by_tag(attempt, self.tagged[attempt.intent.client_tag])
        else:
            found = matching.look_alikes(attempt, self.near[_place(attempt.intent)], self.proofs[attempt.pk])
        intent = attempt.intent
        since = absence.judged_from(attempt) if found else self.now
        late = matching.still_nobodys([order for order in found if order.first_seen_at > since])
        if not late:
            return
        happened = f"order {late[0]} showed up although it was proved absent"
        stop_resending(self.account, happened, self.now)
        if intent.state in _CALLED_ABSENT:
            ask_person(attempt, happened, self.now)
        else:
            alert_twice(attempt, happened, self.now)

    def _read_trades(self) -> None:
        fills = self.gateway.read(lambda adapter: adapter.fetch_trades(), urgency=Urgency.QUESTION)
        book.apply_trades(self.account, fills, self.now)


def _place(row: OrderIntent | BrokerOrder | Question) -> Place:
    return row.exchange, row.symbol, row.side


def _freshen(account: BrokerAccount, gateway: BrokerGateway, late: list[Question]) -> None:
    """Log in anew once for what is to be proved absent or without effect; an old session has been seen to show an old book."""
    session = sessions.current(account, clock=gateway.clock)
    newest = max(each.session_version for each in late)
    if session is None or session.version > newest:
        return
    try:
        sessions.renew(account, beyond=newest, clock=gateway.clock)
    except RateLimited:
        raise
    except BrokerError as error:
        log.warning("no fresh login for %s, so that nothing is proved: %s", account, error)
