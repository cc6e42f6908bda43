"""An answer that got lost is never guessed. None of these cases may be skipped for a broker."""

from collections.abc import Callable

import pytest

from brokers.domain.errors import NotSent, OrderOutcomeUnknown, OrderRejected, SessionExpired
from tests.contract.world import EVENT_OF, IMPATIENT_SECONDS, Trader, nobody_listens, one_call

each_mutation = pytest.mark.parametrize("verb", EVENT_OF)

#: A success without its order id, in each broker's form.
WITHOUT_ORDER_ID = {
    "breeze": '{"Success":{"order_id":"","message":"Successfully Placed the order"},"Status":200,"Error":null}',
    "kotakneo": '{"stat":"Ok","nOrdNo":"","stCode":200}',
}
#: Kind of fault -> the HTTP status that the evidence must hold.
LOST = {
    "bad_gateway": 502,
    "html": 200,
    "null": 200,
    "empty": 200,
    "garbage": 200,
    "redirect": 307,
    "drop": None,
}


@each_mutation
@pytest.mark.parametrize("kind", LOST)
def test_an_answer_that_proves_nothing_is_unknown_although_it_took_effect(verb: str, kind: str, trader: Trader) -> None:
    send, before = trader.mutation(verb), trader.happened()[EVENT_OF[verb]]
    trader.fault(kind, verb, when="after")
    with pytest.raises(OrderOutcomeUnknown) as caught, one_call(trader.adapter) as trace:
        send(trader.adapter)
    assert trader.happened()[EVENT_OF[verb]] == before + 1, "it took effect once, and was not sent again"
    assert len(trace.records) == 1
    assert caught.value.evidence is not None
    assert caught.value.evidence.left_this_machine
    assert caught.value.evidence.http_status == LOST[kind]
    assert bool(caught.value.evidence.exceptions) == (kind == "drop")


@each_mutation
@pytest.mark.parametrize("kind", ["bad_gateway", "drop", "empty"])
def test_the_same_answers_are_unknown_although_it_took_no_effect(verb: str, kind: str, trader: Trader) -> None:
    send, before = trader.mutation(verb), trader.happened()
    trader.fault(kind, verb, when="before")
    with pytest.raises(OrderOutcomeUnknown):
        send(trader.adapter)
    assert trader.happened() == before


@each_mutation
@pytest.mark.parametrize("when", ["before", "after"])
def test_no_answer_in_time_is_unknown(verb: str, when: str, trader: Trader) -> None:
    send, before = trader.mutation(verb), trader.happened()[EVENT_OF[verb]]
    trader.fault("hang", verb, when=when)
    with (
        pytest.raises(OrderOutcomeUnknown) as caught,
        one_call(trader.adapter, total_seconds=IMPATIENT_SECONDS),
    ):
        send(trader.adapter)
    assert caught.value.evidence is not None
    assert caught.value.evidence.http_status is None
    assert "ReadTimeout" in caught.value.evidence.exceptions
    assert trader.happened()[EVENT_OF[verb]] == before + (when == "after")


@each_mutation
def test_an_answer_that_drips_does_not_hold_the_caller(verb: str, trader: Trader) -> None:
    send = trader.mutation(verb)
    trader.fault("drip", verb)
    started = trader.clock.monotonic()
    with pytest.raises(OrderOutcomeUnknown), one_call(trader.adapter, total_seconds=IMPATIENT_SECONDS):
        send(trader.adapter)
    assert trader.clock.monotonic() - started < 5 * IMPATIENT_SECONDS


@each_mutation
def test_a_success_without_an_order_id_is_unknown(verb: str, trader: Trader) -> None:
    send, before = trader.mutation(verb), trader.happened()[EVENT_OF[verb]]
    trader.fault("custom", verb, when="after", body=WITHOUT_ORDER_ID[trader.spec.name])
    with pytest.raises(OrderOutcomeUnknown) as caught:
        send(trader.adapter)
    assert caught.value.evidence is not None
    assert caught.value.evidence.http_status == 200
    assert trader.happened()[EVENT_OF[verb]] == before + 1


@each_mutation
@pytest.mark.parametrize("body", ["{}", "[]", '"ok"', "0", '{"unheard": "of"}'])
def test_an_answer_of_another_shape_is_unknown(verb: str, body: str, trader: Trader) -> None:
    send, before = trader.mutation(verb), trader.happened()[EVENT_OF[verb]]
    trader.fault("custom", verb, when="after", body=body)
    with pytest.raises(OrderOutcomeUnknown):
        send(trader.adapter)
    assert trader.happened()[EVENT_OF[verb]] == before + 1


@each_mutation
def test_a_server_error_that_looks_like_success_is_unknown(verb: str, trader: Trader) -> None:
    send = trader.mutation(verb)
    success = WITHOUT_ORDER_ID[trader.spec.name].replace('""', '"261123000000042"', 1)
    trader.fault("custom", verb, when="after", status=504, body=success)
    with pytest.raises(OrderOutcomeUnknown):
        send(trader.adapter)


@each_mutation
def test_a_refused_connection_proves_that_nothing_was_sent(verb: str, trader: Trader) -> None:
    send, before = trader.mutation(verb), trader.happened()
    _, grant = trader.log_in()
    with nobody_listens() as url:
        cut_off = trader.new_adapter(at=url)
        cut_off.use_session(grant)
        with pytest.raises(NotSent) as caught, one_call(cut_off) as trace:
            send(cut_off)
    assert not trace.left_this_machine
    assert caught.value.evidence is not None
    assert not caught.value.evidence.left_this_machine
    assert "ConnectError" in caught.value.evidence.exceptions
    assert trader.happened() == before


@each_mutation
def test_a_session_that_dies_on_the_way_is_a_proven_refusal(verb: str, trader: Trader) -> None:
    send, before = trader.mutation(verb), trader.happened()
    trader.fault("session_dead", verb)
    with pytest.raises(SessionExpired):
        send(trader.adapter)
    assert trader.happened() == before
    _, grant = trader.log_in()
    trader.adapter.use_session(grant)
    assert send(trader.adapter).broker_order_id
    assert trader.happened()[EVENT_OF[verb]] == before[EVENT_OF[verb]] + 1


@pytest.mark.proves("refuses_duplicate_tag")
def test_a_tag_that_was_used_before_is_unknown_and_books_nothing_where_the_broker_refuses_it(trader: Trader) -> None:
    request = trader.order()
    trader.adapter.place(request)
    if trader.spec.capabilities.refuses_duplicate_tag:
        with pytest.raises(OrderOutcomeUnknown) as caught:
            trader.adapter.place(request)
        assert caught.value.reason
        assert trader.happened()["accepted"] == 1
    else:
        trader.adapter.place(request)
        assert trader.happened()["accepted"] == 2


@each_mutation
def test_too_many_requests_book_nothing_and_are_no_success(verb: str, trader: Trader) -> None:
    send, before = trader.mutation(verb), trader.happened()
    trader.fault("rate_limit", verb)
    with pytest.raises((OrderOutcomeUnknown, OrderRejected)):
        send(trader.adapter)
    assert trader.happened() == before


class TimeLimit(Exception):
    """What a task queue throws into whatever is running."""


def raises_time_limit() -> None:
    raise TimeLimit


@each_mutation
def test_a_time_limit_before_the_first_byte_comes_out(verb: str, trader: Trader) -> None:
    send, before = trader.mutation(verb), trader.happened()
    with pytest.raises(TimeLimit), one_call(trader.adapter, before_first_byte=raises_time_limit) as trace:
        send(trader.adapter)
    assert not trace.left_this_machine
    assert trader.happened() == before


def closes() -> None:
    raise NotSent("Everything is HALTED, set by anna.")


@each_mutation
def test_a_gate_that_closes_before_the_first_byte_is_not_sent_and_says_why(verb: str, trader: Trader) -> None:
    send, before = trader.mutation(verb), trader.happened()
    with (
        pytest.raises(NotSent, match="HALTED, set by anna"),
        one_call(trader.adapter, before_first_byte=closes) as trace,
    ):
        send(trader.adapter)
    assert not trace.left_this_machine
    assert trader.happened() == before


@each_mutation
def test_a_time_limit_while_the_answer_is_read_comes_out(
    verb: str, trader: Trader, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, before = trader.mutation(verb), trader.happened()[EVENT_OF[verb]]
    wire = trader.adapter.context.wire
    read: Callable[..., bytes] = wire._read

    def interrupted(*args: object) -> bytes:
        read(*args)
        raise TimeLimit

    monkeypatch.setattr(wire, "_read", interrupted)
    with pytest.raises(TimeLimit), one_call(trader.adapter) as trace:
        send(trader.adapter)
    assert trace.left_this_machine
    assert trader.happened()[EVENT_OF[verb]] == before + 1


@each_mutation
def test_no_error_shows_a_secret(verb: str, trader: Trader) -> None:
    send = trader.mutation(verb)
    _, grant = trader.log_in()
    secrets = [grant.session_token, grant.sid, *(trader.account.credentials()[c] for c in ("api_key", "api_secret"))]
    trader.adapter.use_session(grant)
    for kind in ("bad_gateway", "drop", "session_dead"):
        trader.fault(kind, verb)
        with pytest.raises((OrderOutcomeUnknown, SessionExpired)) as caught:
            send(trader.adapter)
        shown = f"{caught.value!r} {caught.value.reason} {caught.value.evidence!r}"
        assert not [secret for secret in secrets if secret in shown]
