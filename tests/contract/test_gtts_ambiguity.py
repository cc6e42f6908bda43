"""An answer about a GTT that got lost is never guessed: the same cases as for orders."""

import pytest

from brokers.domain.errors import NotSent, OrderOutcomeUnknown, OrderRejected, SessionExpired
from brokers.domain.gtt import GttKind
from tests.contract.gtt_desk import EVENT_OF, Desk
from tests.contract.test_ambiguity import LOST, TimeLimit, raises_time_limit
from tests.contract.world import IMPATIENT_SECONDS, nobody_listens, one_call

#: A success without its id, in each broker's form.
WITHOUT_ID = {
    "breeze": '{"Success":{"gtt_order_id":"","message":"Your GTT Order Request Placed Successfully"},"Status":200,'
    '"Error":null}',
}

each_mutation = pytest.mark.parametrize("verb", EVENT_OF)


@each_mutation
@pytest.mark.parametrize("kind", LOST)
def test_an_answer_that_proves_nothing_is_unknown_although_it_took_effect(verb: str, kind: str, desk: Desk) -> None:
    send, before = desk.mutation(verb), desk.trader.happened()[EVENT_OF[verb]]
    desk.trader.fault(kind, verb, when="after")
    with pytest.raises(OrderOutcomeUnknown) as caught, one_call(desk.adapter) as trace:
        send(desk.adapter)
    assert desk.trader.happened()[EVENT_OF[verb]] == before + 1, "it took effect once, and was not sent again"
    assert len(trace.records) == 1
    assert caught.value.evidence is not None
    assert caught.value.evidence.left_this_machine
    assert caught.value.evidence.http_status == LOST[kind]
    assert bool(caught.value.evidence.exceptions) == (kind == "drop")


@pytest.mark.parametrize("kind", LOST)
def test_a_three_leg_gtt_whose_answer_got_lost_is_unknown_and_was_sent_once(kind: str, desk: Desk) -> None:
    send = desk.mutation("gtt_place", GttKind.THREE_LEG)
    desk.trader.fault(kind, "gtt_place", when="after")
    with pytest.raises(OrderOutcomeUnknown):
        send(desk.adapter)
    assert desk.trader.happened() == {"accepted": 1, "gtt_accepted": 1}
    assert desk.only().kind is GttKind.THREE_LEG


@each_mutation
@pytest.mark.parametrize("kind", ["bad_gateway", "drop", "empty"])
def test_the_same_answers_are_unknown_although_it_took_no_effect(verb: str, kind: str, desk: Desk) -> None:
    send, before = desk.mutation(verb), desk.trader.happened()
    desk.trader.fault(kind, verb, when="before")
    with pytest.raises(OrderOutcomeUnknown):
        send(desk.adapter)
    assert desk.trader.happened() == before


@each_mutation
@pytest.mark.parametrize("when", ["before", "after"])
def test_no_answer_in_time_is_unknown(verb: str, when: str, desk: Desk) -> None:
    send, before = desk.mutation(verb), desk.trader.happened()[EVENT_OF[verb]]
    desk.trader.fault("hang", verb, when=when)
    with (
        pytest.raises(OrderOutcomeUnknown) as caught,
        one_call(desk.adapter, total_seconds=IMPATIENT_SECONDS),
    ):
        send(desk.adapter)
    assert caught.value.evidence is not None
    assert "ReadTimeout" in caught.value.evidence.exceptions
    assert desk.trader.happened()[EVENT_OF[verb]] == before + (when == "after")


@each_mutation
def test_an_answer_that_drips_does_not_hold_the_caller(verb: str, desk: Desk) -> None:
    send = desk.mutation(verb)
    desk.trader.fault("drip", verb)
    started = desk.trader.clock.monotonic()
    with pytest.raises(OrderOutcomeUnknown), one_call(desk.adapter, total_seconds=IMPATIENT_SECONDS):
        send(desk.adapter)
    assert desk.trader.clock.monotonic() - started < 5 * IMPATIENT_SECONDS


@each_mutation
def test_a_success_without_an_id_is_unknown(verb: str, desk: Desk) -> None:
    send, before = desk.mutation(verb), desk.trader.happened()[EVENT_OF[verb]]
    desk.trader.fault("custom", verb, when="after", body=WITHOUT_ID[desk.trader.spec.name])
    with pytest.raises(OrderOutcomeUnknown):
        send(desk.adapter)
    assert desk.trader.happened()[EVENT_OF[verb]] == before + 1


@pytest.mark.parametrize("verb", ["gtt_modify", "gtt_cancel"])
def test_a_success_with_the_id_of_another_is_unknown(verb: str, desk: Desk) -> None:
    send = desk.mutation(verb)
    body = WITHOUT_ID[desk.trader.spec.name].replace('""', '"2026112399999999"', 1)
    desk.trader.fault("custom", verb, when="after", body=body)
    with pytest.raises(OrderOutcomeUnknown):
        send(desk.adapter)


@each_mutation
@pytest.mark.parametrize("body", ["{}", "[]", '"ok"', "0", '{"unheard": "of"}'])
def test_an_answer_of_another_shape_is_unknown(verb: str, body: str, desk: Desk) -> None:
    send, before = desk.mutation(verb), desk.trader.happened()[EVENT_OF[verb]]
    desk.trader.fault("custom", verb, when="after", body=body)
    with pytest.raises(OrderOutcomeUnknown):
        send(desk.adapter)
    assert desk.trader.happened()[EVENT_OF[verb]] == before + 1


@each_mutation
def test_a_server_error_that_looks_like_success_is_unknown(verb: str, desk: Desk) -> None:
    send = desk.mutation(verb)
    success = WITHOUT_ID[desk.trader.spec.name].replace('""', '"2026112300000042"', 1)
    desk.trader.fault("custom", verb, when="after", status=504, body=success)
    with pytest.raises(OrderOutcomeUnknown):
        send(desk.adapter)


@each_mutation
def test_a_refused_connection_proves_that_nothing_was_sent(verb: str, desk: Desk) -> None:
    send, before = desk.mutation(verb), desk.trader.happened()
    _, grant = desk.trader.log_in()
    with nobody_listens() as url:
        cut_off = desk.trader.new_adapter(at=url)
        cut_off.use_session(grant)
        with pytest.raises(NotSent), one_call(cut_off) as trace:
            send(cut_off)
    assert not trace.left_this_machine
    assert desk.trader.happened() == before


@each_mutation
def test_without_a_session_nothing_is_sent(verb: str, desk: Desk) -> None:
    send, before = desk.mutation(verb), desk.trader.happened()
    with pytest.raises(NotSent, match="log in"):
        send(desk.trader.new_adapter())
    assert desk.trader.happened() == before


@each_mutation
def test_a_session_that_dies_on_the_way_is_a_proven_refusal(verb: str, desk: Desk) -> None:
    send, before = desk.mutation(verb), desk.trader.happened()
    desk.trader.fault("session_dead", verb)
    with pytest.raises(SessionExpired):
        send(desk.adapter)
    assert desk.trader.happened() == before
    _, grant = desk.trader.log_in()
    desk.adapter.use_session(grant)
    assert send(desk.adapter).gtt_order_id
    assert desk.trader.happened()[EVENT_OF[verb]] == before[EVENT_OF[verb]] + 1


@each_mutation
def test_too_many_requests_book_nothing_and_are_no_success(verb: str, desk: Desk) -> None:
    send, before = desk.mutation(verb), desk.trader.happened()
    desk.trader.fault("rate_limit", verb)
    with pytest.raises((OrderOutcomeUnknown, OrderRejected)):
        send(desk.adapter)
    assert desk.trader.happened() == before


@each_mutation
def test_a_time_limit_before_the_first_byte_comes_out(verb: str, desk: Desk) -> None:
    send, before = desk.mutation(verb), desk.trader.happened()
    with pytest.raises(TimeLimit), one_call(desk.adapter, before_first_byte=raises_time_limit) as trace:
        send(desk.adapter)
    assert not trace.left_this_machine
    assert desk.trader.happened() == before


@each_mutation
def test_no_error_shows_a_secret(verb: str, desk: Desk) -> None:
    send = desk.mutation(verb)
    _, grant = desk.trader.log_in()
    credentials = desk.trader.account.credentials()
    secrets = [grant.session_token, grant.sid, credentials["api_key"], credentials["api_secret"]]
    desk.adapter.use_session(grant)
    for kind in ("bad_gateway", "drop", "session_dead"):
        desk.trader.fault(kind, verb)
        with pytest.raises((OrderOutcomeUnknown, SessionExpired)) as caught:
            send(desk.adapter)
        shown = f"{caught.value!r} {caught.value.reason} {caught.value.evidence!r}"
        assert not [secret for secret in secrets if secret in shown]


@pytest.mark.parametrize("verb", ["gtt_modify", "gtt_cancel"])
def test_a_change_that_is_confirmed_and_does_nothing_shows_in_the_book(verb: str, desk: Desk) -> None:
    send = desk.mutation(verb)
    before = desk.only()
    desk.trader.fault("no_effect", verb)
    send(desk.adapter)
    assert desk.only() == before
