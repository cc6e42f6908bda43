"""What each envelope and each fault of the network means, through the real SDK over loopback."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime

import pytest

from brokers.adapters.breeze.adapter import BreezeAPI
from brokers.adapters.breeze.tests.harness import GRANT, OPTION, Answer, breeze, fixture, make_adapter, refusal, success
from brokers.adapters.breeze.tests.test_building import REQUEST
from brokers.domain.enums import OrderType
from brokers.domain.errors import (
    BrokerError,
    BrokerUnavailable,
    NotSent,
    OrderEnded,
    OrderOutcomeUnknown,
    OrderRejected,
    RateLimited,
    SessionExpired,
    UnreadableReply,
)
from brokers.domain.orders import CancelRequest, OrderChange

HTML = Answer(b"<html>502 Bad Gateway</html>", status=502, headers={"Content-Type": "text/html"})
CRASH = {"Message": "An error has occurred.", "ExceptionMessage": "Object reference not set", "StackTrace": "at x"}
CANCEL = CancelRequest(broker_order_id="202611243800017846", instrument=OPTION)
CHANGE = OrderChange(
    broker_order_id="202611243800017846",
    instrument=OPTION,
    quantity=75,
    order_type=OrderType.LIMIT,
    limit_price=Decimal("90"),
)

UNKNOWN = [
    pytest.param(Answer(close=True), id="dropped after it was read"),
    pytest.param(HTML, id="HTML 502"),
    pytest.param(Answer(b"", status=200), id="empty"),
    pytest.param(Answer(b"null"), id="null"),
    pytest.param(Answer([1, 2]), id="a list"),
    pytest.param(Answer(CRASH, status=500), id="server crash"),
    pytest.param(Answer(success({"message": "taken"})), id="no id"),
    pytest.param(Answer(refusal("Object reference not set to an instance")), id="Status 500 of unknown meaning"),
    pytest.param(Answer(refusal("Insufficient limit"), status=503), id="refusal under HTTP 503"),
    pytest.param(Answer(success({"order_id": "202611243800017846"}), status=504), id="success under HTTP 504"),
    pytest.param(Answer(b"", status=307, headers={"Location": "/again"}), id="redirect"),
    pytest.param(Answer({"Success": None, "Status": 200, "Error": "No Positions available."}), id="empty result"),
    pytest.param(Answer(refusal("The request timed out", status=408)), id="Status 408 of a time-out"),
    pytest.param(Answer(refusal("Order exists", status=409)), id="Status 409 of a conflict"),
    pytest.param(Answer(refusal("Order not found after placing", status=404)), id="Status 404"),
    pytest.param(Answer(refusal("No Data Found")), id="nothing found, of a new order"),
    pytest.param(Answer(refusal("Resource not available.")), id="no resource, of a new order"),
    pytest.param(Answer(refusal("Order is already executed")), id="executed, of a new order"),
]
REFUSED = [
    pytest.param(Answer(refusal("Invalid Market/Limit indicator:")), id="observed text"),
    pytest.param(Answer(refusal("Insufficient limit available in your account.")), id="funds"),
    pytest.param(Answer(refusal("Quantity is wrong", status=400)), id="Status 4xx"),
    pytest.param(
        Answer({"Status": 5, "Error": "Limit exceed: API call per minute:Try after some time"}, status=401),
        id="gateway limit",
    ),
    pytest.param(Answer({"Status": 5, "Error": "Invalid Checksum"}, status=401), id="checksum"),
]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("Invalid Checksum", "do not belong together"),
        ("Public Key does not exist.", "do not belong together"),
        ("Request is not from the registered static IP.", "register it"),
        ("Your IP address is not whitelisted", "register it"),
    ],
)
def test_a_read_that_fails_for_the_set_up_says_what_to_mend(words: str, sentence: str) -> None:
    with breeze(Answer(refusal(words), status=401)) as (adapter, _), pytest.raises(BrokerUnavailable, match=sentence):
        adapter.fetch_margin()


def test_a_clock_that_is_off_is_named_and_ends_no_session() -> None:
    ahead = {"Date": format_datetime(datetime.now(UTC) + timedelta(seconds=95), usegmt=True)}
    refused = Answer(refusal("Authentication Failed: timestamp"), status=401, headers=ahead)
    with breeze(refused) as (adapter, _), pytest.raises(BrokerUnavailable, match=r"clock is -9[456] s away"):
        adapter.fetch_margin()


def test_a_placed_order_gives_its_id_and_evidence() -> None:
    with breeze(fixture("place")) as (adapter, stub):
        ack = adapter.place(REQUEST)
    assert ack.broker_order_id == "202611243800017846"
    assert ack.message == "Successfully Placed the order"
    assert ack.evidence is not None
    assert (ack.evidence.http_status, ack.evidence.method) == (200, "POST")
    assert ack.evidence.left_this_machine
    assert [seen.json["price"] for seen in stub.seen] == ["118.2"]


def test_an_order_id_inside_a_sentence_is_found() -> None:
    words = "Equity CASH Order placed successfully through RI reference no 20261124N300001234"
    with breeze(success({"order_id": words})) as (adapter, _):
        assert adapter.place(REQUEST).broker_order_id == "20261124N300001234"


@pytest.mark.parametrize("answer", UNKNOWN)
def test_what_is_not_proven_stays_unknown(answer: Answer) -> None:
    with breeze(answer) as (adapter, stub), pytest.raises(OrderOutcomeUnknown, match="do not send it again") as raised:
        adapter.place(REQUEST)
    assert len(stub.seen) == 1
    assert raised.value.evidence is not None
    assert raised.value.evidence.left_this_machine


@pytest.mark.parametrize("answer", REFUSED)
def test_what_is_proven_refused_is_rejected(answer: Answer) -> None:
    with breeze(answer) as (adapter, _), pytest.raises(OrderRejected) as raised:
        adapter.place(REQUEST)
    assert raised.value.reason
    assert raised.value.evidence is not None


def test_a_change_of_an_order_that_has_ended_is_told_from_other_refusals() -> None:
    words = "Order cannot be changed, it is already executed, cancelled or rejected."
    with breeze(Answer({"Status": 500, "Success": None, "Error": words})) as (adapter, _), pytest.raises(OrderEnded):
        adapter.cancel(CANCEL)


def test_an_order_refused_for_the_session_is_proven_refused() -> None:
    with (
        breeze(Answer({"Status": 5, "Error": "Invalid session."}, status=401)) as (adapter, _),
        pytest.raises(SessionExpired, match="log in again") as raised,
    ):
        adapter.place(REQUEST)
    assert raised.value.code == "5"


@pytest.mark.parametrize("date", ["Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 -0000"])
def test_a_clock_that_is_off_is_no_end_of_the_session(date: str) -> None:
    answer = Answer({"Status": 5, "Error": "Authentication Failed"}, status=401, headers={"Date": date})
    with breeze(answer) as (adapter, _), pytest.raises(BrokerUnavailable, match=r"clock is .* s away from Breeze's"):
        adapter.fetch_margin()
    with breeze(answer) as (adapter, _), pytest.raises(OrderRejected, match=r"clock is .* s away from Breeze's"):
        adapter.place(REQUEST)


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_without_the_brokers_time_it_is_the_session(date: str) -> None:
    answer = Answer({"Status": 5, "Error": "Authentication Failed"}, status=401, headers={"Date": date} if date else {})
    with breeze(answer) as (adapter, _), pytest.raises(SessionExpired):
        adapter.fetch_margin()


def test_a_refused_connection_proves_that_nothing_was_sent() -> None:
    with breeze() as (adapter, stub):
        closed = stub.url
    adapter = make_adapter(closed)
    adapter.use_session(GRANT)
    with pytest.raises(NotSent, match="trying again is safe") as raised:
        adapter.place(REQUEST)
    assert raised.value.evidence is not None
    assert not raised.value.evidence.left_this_machine


def test_a_gate_that_closes_before_the_first_byte_is_heard() -> None:
    def gate() -> None:
        raise NotSent("The send deadline had passed.")

    with (
        breeze(fixture("place")) as (adapter, stub),
        adapter.context.wire.call(before_first_byte=gate),
        pytest.raises(NotSent, match="send deadline"),
    ):
        adapter.place(REQUEST)
    assert stub.seen == []


class TimeLimit(Exception):
    """Stands for a task's soft time limit, which is an Exception, too."""


def test_a_time_limit_is_not_swallowed_by_the_sdk() -> None:
    def gate() -> None:
        raise TimeLimit

    with (
        breeze(fixture("place")) as (adapter, _),
        adapter.context.wire.call(before_first_byte=gate),
        pytest.raises(TimeLimit),
    ):
        adapter.place(REQUEST)


def test_a_deadline_that_passes_while_waiting_is_unknown() -> None:
    with (
        breeze(fixture("place")) as (adapter, _),
        adapter.context.wire.call(total_seconds=0.0),
        pytest.raises(NotSent),
    ):
        adapter.place(REQUEST)


def test_a_modification_is_one_signed_put() -> None:
    with breeze(fixture("modify")) as (adapter, stub):
        ack = adapter.modify(CHANGE)
    assert ack.broker_order_id == CHANGE.broker_order_id
    (seen,) = stub.seen
    assert (seen.method, seen.path) == ("PUT", "/breezeapi/api/v1/order")
    assert seen.json["price"] == "90"
    assert seen.headers["X-Checksum"].startswith("token ")


def test_a_cancellation_carries_its_order_in_the_body() -> None:
    with breeze(fixture("cancel")) as (adapter, stub):
        assert adapter.cancel(CANCEL).message == "Your Order Canceled successfully."
    (seen,) = stub.seen
    assert (seen.method, seen.json) == ("DELETE", {"exchange_code": "NFO", "order_id": "202611243800017846"})


@pytest.mark.parametrize("operation", ["modify", "cancel"])
def test_an_answer_about_another_order_is_unknown(operation: str) -> None:
    with (
        breeze(success({"order_id": "202611243800099999", "message": "done"})) as (adapter, _),
        pytest.raises(OrderOutcomeUnknown),
    ):
        _change(adapter, operation)


def test_a_cancel_of_what_breeze_does_not_have_is_refused() -> None:
    with breeze(refusal("No Data Found")) as (adapter, _), pytest.raises(OrderRejected, match="No Data Found"):
        adapter.cancel(CANCEL)


def _change(adapter: BreezeAPI, operation: str) -> None:
    adapter.modify(CHANGE) if operation == "modify" else adapter.cancel(CANCEL)


FAILED_READS: list[tuple[Answer, type[BrokerError]]] = [
    (Answer(close=True), BrokerUnavailable),
    (HTML, UnreadableReply),
    (Answer(b""), UnreadableReply),
    (Answer(b"null"), UnreadableReply),
    (Answer(success([])), UnreadableReply),
    (Answer(success("")), BrokerUnavailable),
    (Answer(b"[]"), UnreadableReply),
    (Answer(CRASH, status=500), BrokerUnavailable),
    (Answer(refusal("Invalid User Details")), BrokerUnavailable),
    (Answer(refusal("No Data Found"), status=500), BrokerUnavailable),
    (Answer({"Status": 200, "Error": "No Positions available."}), BrokerUnavailable),
    (Answer(refusal("No data could be read, the server is busy", status=200)), BrokerUnavailable),
    (Answer(refusal("No positions were returned, try again later", status=200)), BrokerUnavailable),
    (Answer({"Status": 5, "Error": "Invalid session."}, status=401), SessionExpired),
    (Answer({"Status": 5, "Error": "Limit exceed: API call per minute:Try after some time"}, status=401), RateLimited),
    (Answer(b"slow down", status=429), RateLimited),
    (Answer(b'{"Success":[{"quantity":NaN}],"Status":200,"Error":null}'), UnreadableReply),
]


@pytest.mark.parametrize(("answer", "expected"), FAILED_READS)
def test_a_failed_read_is_never_an_empty_account(answer: Answer, expected: type[BrokerError]) -> None:
    with breeze(answer) as (adapter, _), pytest.raises(expected):
        adapter.fetch_positions()


@pytest.mark.parametrize("text", ["No Positions available.", "No Data Found"])
def test_only_the_words_no_data_are_empty(text: str) -> None:
    with breeze(refusal(text, status=200)) as (adapter, _):
        assert adapter.fetch_positions() == []


def test_a_day_limit_waits_longer_than_a_minute_limit() -> None:
    with (
        breeze(Answer({"Status": 5, "Error": "Limit exceed: API call per day: "}, status=401)) as (adapter, _),
        pytest.raises(RateLimited) as raised,
    ):
        adapter.fetch_margin()
    assert raised.value.retry_after == timedelta(minutes=10)


def test_no_secret_is_repeated_in_an_error() -> None:
    words = "bad key synthetic+key=1 of synthetic-secret with 45053422"
    with breeze(refusal(words)) as (adapter, _), pytest.raises(BrokerUnavailable) as raised:
        adapter.fetch_positions()
    assert "synthetic" not in str(raised.value)
    assert "45053422" not in raised.value.reason


def test_without_a_session_nothing_is_asked() -> None:
    adapter = make_adapter("http://127.0.0.1:9")
    with pytest.raises(SessionExpired, match="no Breeze session here"):
        adapter.fetch_margin()
    with pytest.raises(NotSent):
        adapter.place(replace(REQUEST))
