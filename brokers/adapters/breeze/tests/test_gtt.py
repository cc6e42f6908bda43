"""What the rows of Breeze's GTT book mean, and its answers to what is placed, changed and cancelled."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from brokers.adapters.breeze import building_gtt, parsing_gtt
from brokers.adapters.breeze.tests.harness import FUTURE, KEYS, OPTION, Answer, breeze, fixture, refusal, success
from brokers.adapters.breeze.tests.test_building_gtt import (
    CANCEL,
    CHANGE,
    GTT_ID,
    SINGLE,
    STOP,
    TARGET,
    THREE_LEG,
    TODAY,
)
from brokers.adapters.breeze.tests.test_errors import REFUSED, UNKNOWN
from brokers.domain.enums import Product, Side
from brokers.domain.errors import (
    OrderDenied,
    OrderEnded,
    OrderOutcomeUnknown,
    OrderRejected,
    UnreadableReply,
)
from brokers.domain.gtt import (
    Gtt,
    GttKind,
    GttRole,
    GttStatus,
)

# The book


def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fixture("gtts_nfo")["Success"]
    return found


def gtts() -> dict[str, Gtt]:
    parsed = [parsing_gtt.gtt(row, KEYS.get) for row in rows()]
    return {gtt.gtt_order_id[-1]: gtt for gtt in parsed}


def test_a_single_is_read_with_its_instrument() -> None:
    gtt = gtts()["3"]
    assert (gtt.gtt_order_id, gtt.kind, gtt.symbol) == ("2026112400000003", GttKind.SINGLE, OPTION.symbol)
    assert (gtt.exchange, gtt.product, gtt.quantity) == ("NFO", Product.NRML, 75)
    assert gtt.placed_at == datetime(2026, 11, 24, 4, 45, 32, tzinfo=UTC)
    assert gtt.entry_order_id == ""
    [leg] = gtt.legs
    assert (leg.role, leg.side) == (GttRole.ORDER, Side.BUY)
    assert (leg.trigger_price, leg.limit_price) == (Decimal("90.05"), Decimal("90.1"))
    assert (leg.status, leg.broker_status, gtt.status) == (GttStatus.ACTIVE, "Ordered", GttStatus.ACTIVE)


def test_a_three_leg_is_read_with_the_order_it_entered_with() -> None:
    gtt = gtts()["4"]
    assert (gtt.kind, gtt.entry_order_id) == (GttKind.THREE_LEG, "202611243800000004")
    assert [(leg.role, leg.side, leg.status) for leg in gtt.legs] == [
        (GttRole.TARGET, Side.BUY, GttStatus.TRIGGERED),
        (GttRole.STOP, Side.BUY, GttStatus.CANCELLED),
    ]
    assert gtt.status is GttStatus.TRIGGERED


def test_what_is_cancelled_is_over() -> None:
    assert {gtts()[last].status for last in "12"} == {GttStatus.CANCELLED}


def test_a_word_that_is_not_known_is_kept_and_ends_nothing() -> None:
    gtt = gtts()["5"]
    assert (gtt.symbol, gtt.legs[0].broker_status) == (FUTURE.symbol, "Something New")
    assert gtt.status is GttStatus.UNKNOWN
    assert not gtt.status.is_over


def test_an_unknown_contract_keeps_breezes_words() -> None:
    gtt = gtts()["6"]
    assert (gtt.symbol, gtt.quantity, gtt.placed_at) == ("[NFO UNHEAR 2026-11-24 227.5 PE]", 400, None)
    assert (gtt.legs[0].trigger_price, gtt.status) == (Decimal("3.10"), GttStatus.REJECTED)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("Requested", GttStatus.ACTIVE),
        ("QUEUED", GttStatus.ACTIVE),
        (" ordered ", GttStatus.ACTIVE),
        ("Partially Executed", GttStatus.TRIGGERED),
        ("Executed", GttStatus.TRIGGERED),
        ("Rejected", GttStatus.REJECTED),
        ("Cancelled", GttStatus.CANCELLED),
        ("Expired", GttStatus.EXPIRED),
        ("Freezed", GttStatus.UNKNOWN),
        ("", GttStatus.UNKNOWN),
        (None, GttStatus.UNKNOWN),
    ],
)
def test_each_word_of_a_status(word: str | None, status: GttStatus) -> None:
    row = rows()[0]
    leg = row["order_details"][0] | {"status": word}
    [read] = parsing_gtt.gtt(row | {"order_details": [leg]}, KEYS.get).legs
    assert (read.status, read.broker_status) == (status, (word or "").strip())


@pytest.mark.parametrize("kind", ["single", "SINGLE", " Single "])
@pytest.mark.parametrize("leg_type", [None, "", "Target"])
def test_a_single_has_one_order_whatever_it_is_for(kind: str, leg_type: str | None) -> None:
    row = rows()[0]
    leg = row["order_details"][0] | {"gtt_leg_type": leg_type}
    gtt = parsing_gtt.gtt(row | {"gtt_type": kind, "order_details": [leg]}, KEYS.get)
    assert [each.role for each in gtt.legs] == [GttRole.ORDER]


@pytest.mark.parametrize(
    "broken",
    [
        {"order_details": None},
        {"order_details": []},
        {"order_details": "none"},
        {"order_details": [None]},
        {"gtt_type": "Bracket"},
        {"gtt_type": None},
        {"quantity": None},
        {"quantity": 37.5},
        {"expiry_date": None},
    ],
    ids=str,
)
def test_a_row_that_cannot_be_read_makes_the_read_fail(broken: dict[str, object]) -> None:
    with pytest.raises(UnreadableReply, match="ask again"):
        parsing_gtt.gtt(rows()[0] | broken, KEYS.get)


@pytest.mark.parametrize(
    "broken",
    [
        {"gtt_leg_type": "Trailing"},
        {"gtt_leg_type": None},
        {"gtt_leg_type": "Stoploss"},
        {"gtt_order_id": "2026112400009999"},
        {"gtt_order_id": None},
        {"action": None},
        {"trigger_price": None},
        {"limit_price": -1},
    ],
    ids=str,
)
def test_a_leg_that_cannot_be_read_makes_the_read_fail(broken: dict[str, object]) -> None:
    row = rows()[1]
    target, stop = row["order_details"]
    with pytest.raises(UnreadableReply, match="ask again"):
        parsing_gtt.gtt(row | {"order_details": [target | broken, stop]}, KEYS.get)


def test_both_derivative_exchanges_are_asked_and_no_other() -> None:
    nothing = {"Success": None, "Status": 200, "Error": "No Data Found"}
    with breeze(fixture("gtts_nfo"), nothing) as (adapter, stub):
        found = adapter.fetch_gtts(date(2026, 11, 20), TODAY)
    assert len(found) == 6
    assert [seen.json for seen in stub.seen] == [
        {"exchange_code": each, "from_date": "2026-11-20T06:00:00.00Z", "to_date": "2026-11-24T06:00:00.00Z"}
        for each in ("NFO", "BFO")
    ]
    assert {(seen.method, seen.path) for seen in stub.seen} == {("GET", "/breezeapi/api/v1/gttorder")}


# The answers to mutations


def test_each_mutation_goes_by_its_own_verb() -> None:
    answers = [fixture(f"gtt_{name}") for name in ("place", "modify", "cancel")]
    pair = replace(CHANGE, kind=GttKind.THREE_LEG, triggers=(TARGET, STOP))
    with breeze(*answers, *answers) as (adapter, stub):
        acks = [
            adapter.submit_gtt(SINGLE),
            adapter.alter_gtt(CHANGE),
            adapter.withdraw_gtt(CANCEL),
            adapter.submit_gtt(THREE_LEG),
            adapter.alter_gtt(pair),
            adapter.withdraw_gtt(replace(CANCEL, kind=GttKind.THREE_LEG)),
        ]
    assert [seen.method for seen in stub.seen] == ["POST", "PUT", "DELETE"] * 2
    assert {seen.path for seen in stub.seen} == {"/breezeapi/api/v1/gttorder"}
    assert {ack.gtt_order_id for ack in acks} == {GTT_ID}
    assert acks[0].message == "Your GTT Order Request Placed Successfully"
    assert stub.seen[0].json == building_gtt.place(SINGLE, TODAY)
    assert stub.seen[3].json == building_gtt.place(THREE_LEG, TODAY)


@pytest.mark.parametrize(
    "answer", [*UNKNOWN, pytest.param(Answer(success({"order_id": GTT_ID})), id="an order's id, and no GTT's")]
)
def test_what_is_not_proven_stays_unknown(answer: Answer) -> None:
    with breeze(answer) as (adapter, stub), pytest.raises(OrderOutcomeUnknown, match="look it up in the GTT book"):
        adapter.submit_gtt(SINGLE)
    assert len(stub.seen) == 1


@pytest.mark.parametrize("answer", REFUSED)
def test_what_is_proven_refused_is_rejected(answer: Answer) -> None:
    with breeze(answer) as (adapter, _), pytest.raises(OrderRejected) as raised:
        adapter.submit_gtt(SINGLE)
    assert raised.value.reason


def test_a_change_that_answers_with_another_id_is_unknown() -> None:
    with breeze(fixture("gtt_modify")) as (adapter, _), pytest.raises(OrderOutcomeUnknown):
        adapter.alter_gtt(replace(CHANGE, gtt_order_id="2026112400000001"))


def test_a_gtt_that_has_ended_is_told_from_other_refusals() -> None:
    words = "Order cannot be changed, it is already executed, cancelled or rejected."
    with breeze(refusal(words)) as (adapter, _), pytest.raises(OrderEnded):
        adapter.withdraw_gtt(CANCEL)


def test_what_the_sdk_refuses_by_itself_is_denied() -> None:
    with breeze() as (adapter, _), pytest.raises(OrderDenied, match="sent nothing"):
        adapter.withdraw_gtt(replace(CANCEL, gtt_order_id=""))
