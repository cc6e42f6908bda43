"""A person answers an open question: with what is known before them, on record, and never against the facts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from brokers import barrier
from brokers.alerts import acknowledge
from brokers.clock import configured_clock
from brokers.domain.enums import OrderStatus
from brokers.domain.errors import OrderDenied
from brokers.domain.order_states import Actor, AttemptOutcome, IntentState
from brokers.ledger.delivery import deliver
from brokers.models import Alert, BrokerAccount, BrokerOrder, HumanDecision, OrderIntent
from brokers.recovery import answers, decisions
from tests.integration.test_ledger import Desk
from tests.integration.test_reconciliation import broker as broker
from tests.integration.test_reconciliation import desk as desk
from tests.integration.test_reconciliation import echoes, look, lose, twin, wait_out
from tests.integration.test_reconciliation import tagged as tagged
from tests.support import scripted_broker
from tests.support.scripted_broker import CALL, foreign_row

pytestmark = pytest.mark.django_db

WORDS: Any = {"by": "asha", "reason": "seen in the broker's app"}


def asked(desk: Desk, *, taken: bool = True) -> OrderIntent:
    """An order that was lost and put before a person, within its lifetime."""
    intent = lose(desk, taken=taken, not_after=configured_clock().now() + timedelta(hours=1))
    attempt = intent.attempts.select_related("intent__account").get()
    answers.ask_person(attempt, "the book could not tell", configured_clock().now())
    desk.sync()
    intent.refresh_from_db()
    return intent


def test_the_page_shows_all_that_is_known(desk: Desk) -> None:
    BrokerAccount.objects.update(manual_trading=BrokerAccount.ManualTrading.POSSIBLE)
    intent = lose(desk)
    twin(desk, "000009", quantity=130)
    desk.sync()
    known = decisions.evidence(intent)
    (attempt,) = known["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["reply_text"] != "") == (1, "UNKNOWN", True)
    assert attempt["first_byte_at"] is not None
    assert [order["broker_order_id"] for order in known["candidates"]] == ["000002", "000009"]
    assert known["candidates"][0]["differences"] == []
    assert known["candidates"][1]["differences"] == ["quantity 130 where 65 was sent"]
    look(desk, 199)
    (reading,) = decisions.evidence(intent)["readings"]
    assert (reading["ok"], reading["rows"], reading["position"]) == (True, 3, 0)
    json.dumps(known)


def test_a_person_adopts_the_order_and_it_is_followed(desk: Desk) -> None:
    intent = asked(desk)
    desk.set_book("000002", status=OrderStatus.FILLED, filled_quantity=65, average_price=Decimal(100))
    desk.sync()
    decisions.adopt(intent, "000002", **WORDS)
    intent.refresh_from_db()
    decision = HumanDecision.objects.get()
    assert (intent.state, intent.attempts.get().outcome) == (IntentState.FILLED, AttemptOutcome.ADOPTED)
    assert (decision.kind, decision.decided_by, decision.reason) == (HumanDecision.Kind.ADOPT, *WORDS.values())
    assert decision.evidence["candidates"][0]["broker_order_id"] == "000002"
    assert intent.events.get(from_state=IntentState.NEEDS_HUMAN).actor == Actor.PERSON


def test_an_order_that_differs_is_adopted_only_when_that_is_said(desk: Desk) -> None:
    intent = asked(desk, taken=False)
    desk.adapter.book["000009"] = foreign_row("000009", symbol=CALL, exchange="NFO", quantity=130)
    desk.sync()
    with pytest.raises(OrderDenied, match="quantity 130 where 65 was sent"):
        decisions.adopt(intent, "000009", **WORDS)
    assert not HumanDecision.objects.exists()
    decisions.adopt(intent, "000009", **WORDS, although_different=True)
    assert BrokerOrder.objects.get(broker_order_id="000009").attempt == intent.attempts.get()


def test_a_person_says_that_it_is_not_there(desk: Desk) -> None:
    intent = asked(desk, taken=False)
    decisions.not_placed(intent, **WORDS)
    assert (intent.state, intent.attempts.get().outcome) == (IntentState.NOT_PLACED, AttemptOutcome.VOID)
    assert intent.closed_reason == "asha: seen in the broker's app"


def test_what_a_person_called_not_placed_and_shows_up_comes_back_to_them(desk: Desk) -> None:
    desk.adapter.hidden = {"000002"}
    intent = asked(desk)
    decisions.not_placed(intent, **WORDS)
    desk.adapter.hidden = set()
    look(desk, 300)
    intent.refresh_from_db()
    assert intent.state == IntentState.NEEDS_HUMAN


def test_what_a_person_saw_and_did_not_take_for_it_does_not_come_back(desk: Desk) -> None:
    intent = asked(desk, taken=False)
    twin(desk, "000009")
    desk.sync()
    decisions.not_placed(intent, **WORDS)
    look(desk, 300, 300)
    intent.refresh_from_db()
    assert intent.state == IntentState.NOT_PLACED


def test_an_order_that_a_person_was_asked_about_keeps_no_start_up_check_red(tagged: Desk) -> None:
    intent = lose(tagged)
    tagged.set_book("000002", quantity=130)
    look(tagged, 2)
    intent.refresh_from_db()
    assert intent.state == IntentState.NEEDS_HUMAN
    now = configured_clock().now()
    assert "000002" in barrier._own_orders(tagged.account, now).sentence, "it is not explained yet"
    decisions.not_placed(intent, **WORDS)
    assert barrier._own_orders(tagged.account, now).is_green
    assert not Alert.objects.filter(kind="suspect_order").exists(), "there is none to acknowledge"


def test_a_second_order_under_one_tag_is_explained_by_its_own_alert_alone(tagged: Desk) -> None:
    intent = lose(tagged)
    tagged.adapter.book["000003"] = replace(tagged.adapter.book["000002"], broker_order_id="000003")
    look(tagged, 2)
    intent.refresh_from_db()
    decisions.adopt(intent, "000002", **WORDS)
    now = configured_clock().now()
    assert "000003" in barrier._own_orders(tagged.account, now).sentence, "the broker has it twice"
    acknowledge(Alert.objects.filter(kind="suspect_order"), by="asha", at=now)
    assert barrier._own_orders(tagged.account, now).is_green


def test_an_order_of_another_tag_is_not_explained_by_an_answer(tagged: Desk) -> None:
    intent = asked(tagged, taken=False)
    tagged.adapter.book["000009"] = foreign_row(
        "000009", symbol=CALL, exchange="NFO", quantity=130, client_tag="MABCDEFGHIJKLMN2"
    )
    tagged.sync()
    decisions.not_placed(intent, **WORDS)
    assert "000009" in barrier._own_orders(tagged.account, configured_clock().now()).sentence
    Alert.objects.filter(kind="suspect_order").delete()
    assert "000009" in barrier._own_orders(tagged.account, configured_clock().now()).sentence


def confirmed(desk: Desk) -> bool:
    return not desk.adapter.capabilities.refuses_duplicate_tag


def test_a_person_has_it_sent_once_more(desk: Desk) -> None:
    intent = asked(desk, taken=False)
    decisions.resend(intent, **WORDS, confirmed_twice=confirmed(desk))
    assert deliver(intent.pk).state == IntentState.WORKING
    assert [each.outcome for each in intent.attempts.order_by("number")] == ["VOID", "ACKED"]


def test_where_a_second_order_would_be_taken_a_person_confirms_twice(desk: Desk) -> None:
    intent = asked(desk, taken=False)
    if not confirmed(desk):
        decisions.resend(intent, **WORDS)
        return
    with pytest.raises(OrderDenied, match="would take PLACE lost a second time"):
        decisions.resend(intent, **WORDS)
    assert intent.attempts.get().outcome == AttemptOutcome.UNKNOWN


def test_what_shows_up_after_a_person_had_it_sent_again_is_told(desk: Desk) -> None:
    desk.adapter.hidden = {"000002"}
    intent = asked(desk)
    decisions.resend(intent, **WORDS, confirmed_twice=confirmed(desk))
    assert deliver(intent.pk).state == IntentState.WORKING
    desk.adapter.hidden = set()
    look(desk, 300)
    assert Alert.objects.filter(kind__in=["sent_twice", "suspect_order"]).exists()


def late(intent: OrderIntent) -> None:
    OrderIntent.objects.filter(pk=intent.pk).update(not_after=configured_clock().now() - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("prepare", "decide", "sentence"),
    [
        (lambda desk, intent: None, lambda intent: decisions.adopt(intent, "999", **WORDS), "is in no book of 23 Nov 2026"),
        (lambda desk, intent: None, lambda intent: decisions.adopt(intent, "000001", **WORDS), "belongs to PLACE other"),
        (lambda desk, intent: late(intent), lambda intent: decisions.resend(intent, **WORDS), r"after 23 Nov 2026 \d\d:\d\d:\d\d IST; record a new"),
        (
            lambda desk, intent: None,
            lambda intent: decisions.not_placed(intent, by="asha", reason=" "),
            "who made it and why",
        ),
        (
            lambda desk, intent: decisions.not_placed(intent, **WORDS),
            lambda intent: decisions.resend(intent, **WORDS, confirmed_twice=True),
            "is NOT_PLACED; this is decided for NEEDS_HUMAN and ABSENT only",
        ),
    ],
)  # fmt: skip
def test_a_decision_against_the_facts_is_refused(
    desk: Desk,
    prepare: Callable[[Desk, OrderIntent], None],
    decide: Callable[[OrderIntent], None],
    sentence: str,
) -> None:
    intent = asked(desk, taken=False)
    prepare(desk, intent)
    before = HumanDecision.objects.count(), intent.events.count()
    with pytest.raises(OrderDenied, match=sentence):
        decide(intent)
    assert (HumanDecision.objects.count(), intent.events.count()) == before


def test_an_order_whose_book_is_still_read_is_not_decided(desk: Desk) -> None:
    intent = lose(desk)
    for decide in (decisions.not_placed, decisions.resend):
        with pytest.raises(OrderDenied, match="is UNKNOWN"):
            decide(intent, **WORDS)


def test_an_order_whose_tag_is_in_the_book_is_not_sent_again(desk: Desk) -> None:
    if not echoes(desk):
        pytest.skip("this broker echoes no tag")
    intent = asked(desk)
    with pytest.raises(OrderDenied, match="Order 000002 carries the tag"):
        decisions.resend(intent, **WORDS)


def test_of_two_people_one_decides(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = asked(desk)
    seen = decisions.evidence

    def meanwhile(each: OrderIntent) -> dict[str, object]:
        found = seen(each)
        monkeypatch.setattr(decisions, "evidence", seen)
        decisions.not_placed(OrderIntent.objects.get(pk=each.pk), by="binod", reason="not there")
        return found

    monkeypatch.setattr(decisions, "evidence", meanwhile)
    with pytest.raises(OrderDenied, match="answered by somebody else"):
        decisions.adopt(intent, "000002", **WORDS)
    assert [decision.decided_by for decision in HumanDecision.objects.all()] == ["binod"]
    assert BrokerOrder.objects.get(broker_order_id="000002").attempt is None


def test_the_database_refuses_to_change_a_decision(desk: Desk) -> None:
    decisions.not_placed(asked(desk, taken=False), **WORDS)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        HumanDecision.objects.update(decided_by="somebody else")


def test_a_person_may_overrule_a_proof_of_absence(desk: Desk) -> None:
    intent = lose(desk, taken=False, not_after=configured_clock().now() + timedelta(hours=1))
    wait_out(desk)
    intent.refresh_from_db()
    assert intent.state == IntentState.ABSENT
    decisions.resend(intent, **WORDS, confirmed_twice=confirmed(desk))
    desk.adapter.script = [scripted_broker.accepts]
    assert deliver(intent.pk).state == IntentState.WORKING
