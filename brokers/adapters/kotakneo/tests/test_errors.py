"""What is proven, and what stays unknown: through the real SDK, against a server on loopback."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from brokers.adapters.kotakneo import tables
from brokers.adapters.kotakneo.adapter import NeoAPI
from brokers.adapters.kotakneo.tests.stub import CALL, Said, Stub, adapter_at, fixture, grant_for
from brokers.adapters.kotakneo.tests.test_building import ORDER
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
    TagTaken,
    UnreadableReply,
)
from brokers.domain.orders import CancelRequest, OrderAck, OrderChange

ORDER_ID = "261123000000001"
OK = {"stat": "Ok", "nOrdNo": ORDER_ID, "stCode": 200}
HTML = Said(content=b"<html>busy</html>", headers={"Content-Type": "text/html"})

MUTATIONS: dict[str, tuple[str, Callable[[NeoAPI], OrderAck]]] = {
    "place": ("/quick/order/rule/ms/place", lambda adapter: adapter.place(ORDER)),
    "modify": (
        "/quick/order/vr/modify",
        lambda adapter: adapter.modify(
            OrderChange(
                broker_order_id=ORDER_ID,
                instrument=CALL,
                quantity=65,
                order_type=OrderType.LIMIT,
                limit_price=Decimal("99.95"),
            )
        ),
    ),
    "cancel": (
        "/quick/order/cancel",
        lambda adapter: adapter.cancel(CancelRequest(broker_order_id=ORDER_ID, instrument=CALL)),
    ),
}
READS: dict[str, tuple[str, Callable[[NeoAPI], object]]] = {
    "margin": ("/quick/user/limits", lambda adapter: adapter.fetch_margin()),
    "positions": ("/portfolio/v2/positions", lambda adapter: adapter.fetch_positions()),
    "orders": ("/quick/user/orders", lambda adapter: adapter.fetch_orders()),
    "order": ("/quick/user/orders", lambda adapter: adapter.fetch_order(ORDER_ID, CALL)),
    "trades": ("/quick/user/trades", lambda adapter: adapter.fetch_trades()),
    "quote": ("/script-details/1.0/quotes", lambda adapter: adapter.fetch_quote(CALL)),
    "master": ("/script-details/1.0/masterscrip", lambda adapter: list(adapter.read_master())),
}
each_mutation = pytest.mark.parametrize("name", MUTATIONS)
each_read = pytest.mark.parametrize("name", READS)


@each_mutation
def test_a_taken_request_is_acknowledged_with_evidence(name: str, adapter: NeoAPI, stub: Stub) -> None:
    path, send = MUTATIONS[name]
    stub.says(path, Said(content=OK))
    ack = send(adapter)
    assert ack.broker_order_id == ORDER_ID
    assert ack.evidence is not None
    assert (ack.evidence.http_status, ack.evidence.left_this_machine) == (200, True)
    assert len(stub.calls(path)) == 1


def test_an_order_arrives_as_kotak_documents_it(adapter: NeoAPI, stub: Stub) -> None:
    stub.says("/quick/order", Said(content=OK))
    adapter.place(ORDER)
    heard = stub.heard[0]
    assert (heard.headers["authorization"], heard.headers["auth"]) == ("synthetic-consumer-key", "trade-token")
    assert heard.headers["sid"] == "trade-sid"
    assert heard.form == {
        "am": "NO",
        "dq": "0",
        "es": "nse_fo",
        "mp": "0",
        "pc": "NRML",
        "pr": "100.50",
        "pt": "L",
        "qt": "130",
        "rt": "DAY",
        "tp": "0",
        "ts": "NIFTY26NOV22250CE",
        "tt": "B",
        "ig": "MC0TESTTAG000001",
        "os": "NEOTRADEAPI",
    }


UNPROVEN = {
    "server error": Said(content=b"<html>502</html>", status=502),
    "server error that looks like a refusal": Said(content={"stCode": 1009, "errMsg": "no", "stat": "No"}, status=504),
    "server error that looks like success": Said(content=OK, status=500),
    "page": HTML,
    "null": Said(content=b"null"),
    "list": Said(content=[]),
    "nothing": Said(content=b""),
    "garbage": Said(content=b"\xff\xfe{"),
    "no order id": Said(content={"stat": "Ok", "stCode": 200, "nOrdNo": ""}),
    "another code": Said(content={"stat": "Not_Ok", "stCode": 4711, "errMsg": "new"}),
    "internal error": Said(content={"stat": "Not_Ok", "stCode": 1005, "errMsg": "internal"}),
    "too many requests": Said(content={"code": 429, "error": "Rate limit exceeded"}, status=429),
    "redirect": Said(content=OK, status=307, headers={"Location": "/quick/order/again"}),
    "dropped": Said(drop=True),
    "duplicate tag": Said(content=fixture("duplicate_tag"), status=400),
    "duplicate tag, old code": Said(content={"stat": "Not_Ok", "stCode": 5204, "errMsg": "exists"}),
    "unauthorised without a code": Said(content={"message": "who are you"}, status=401),
}


@each_mutation
@pytest.mark.parametrize("answer", UNPROVEN.values(), ids=UNPROVEN)
def test_what_is_not_proven_is_unknown(name: str, answer: Said, adapter: NeoAPI, stub: Stub) -> None:
    path, send = MUTATIONS[name]
    stub.says(path, answer)
    with pytest.raises(OrderOutcomeUnknown) as caught:
        send(adapter)
    assert caught.value.evidence is not None
    assert caught.value.evidence.left_this_machine
    assert len(stub.heard) == 1, "one request, whatever comes back"


@each_mutation
def test_no_answer_in_time_is_unknown(name: str, adapter: NeoAPI, stub: Stub) -> None:
    path, send = MUTATIONS[name]
    stub.says(path, Said(hang=True))
    with adapter.context.wire.call(total_seconds=0.3), pytest.raises(OrderOutcomeUnknown) as caught:
        send(adapter)
    assert caught.value.evidence is not None
    assert caught.value.evidence.exceptions[0] == "ReadTimeout"
    assert len(stub.calls(path)) == 1


@pytest.mark.parametrize("name", ["modify", "cancel"])
def test_an_answer_about_another_order_is_unknown(name: str, adapter: NeoAPI, stub: Stub) -> None:
    path, send = MUTATIONS[name]
    stub.says(path, Said(content=OK | {"nOrdNo": "261123000000099"}))
    with pytest.raises(OrderOutcomeUnknown):
        send(adapter)


@each_mutation
@pytest.mark.parametrize("code", sorted(set(tables.REFUSALS) - tables.CODES_SESSION))
@pytest.mark.parametrize("status", [200, 400])
def test_a_known_refusal_is_believed(name: str, code: str, status: int, adapter: NeoAPI, stub: Stub) -> None:
    path, send = MUTATIONS[name]
    stub.says(path, Said(content={"stat": "Not_Ok", "stCode": int(code), "errMsg": "so it is"}, status=status))
    with pytest.raises(OrderRejected) as caught:
        send(adapter)
    assert (caught.value.code, caught.value.reason) == (code, "so it is / Not_Ok")
    assert caught.value.evidence is not None


@each_mutation
def test_a_completed_order_refuses_in_kotaks_words(name: str, adapter: NeoAPI, stub: Stub) -> None:
    path, send = MUTATIONS[name]
    stub.says(path, Said(content=fixture("order_completed"), status=400))
    with pytest.raises(OrderRejected, match="order is completed") as caught:
        send(adapter)
    assert caught.value.code == "1021"
    assert isinstance(caught.value, OrderEnded) == (name != "place")


@pytest.mark.parametrize("code", [32, 5204])
def test_a_tag_that_is_taken_is_told_from_other_doubts(code: int, adapter: NeoAPI, stub: Stub) -> None:
    path, send = MUTATIONS["place"]
    stub.says(path, Said(content={"stat": "Not_Ok", "stCode": code, "errMsg": "exists"}, status=400))
    with pytest.raises(TagTaken):
        send(adapter)


HISTORY = "/quick/order/history"


def test_the_history_tells_the_tags_that_an_order_had(adapter: NeoAPI, stub: Stub) -> None:
    rows = [
        {"GuiOrdId": tag} for tag in ("1692003432-914891-0001-ADMINAPI-1795420000", "MABC", "MABC-1795420000", "NA")
    ]
    stub.says(HISTORY, Said(content={"stat": "Ok", "stCode": 200, "data": rows}))
    assert adapter.fetch_order_tags(ORDER_ID, CALL) == {"MABC"}


@pytest.mark.parametrize("answer", [HTML, Said(content={"stat": "Ok", "stCode": 200}), Said(drop=True)])
def test_a_history_that_cannot_be_read_is_no_empty_one(answer: Said, adapter: NeoAPI, stub: Stub) -> None:
    stub.says(HISTORY, answer)
    with pytest.raises(BrokerUnavailable):
        adapter.fetch_order_tags(ORDER_ID, CALL)


def test_a_history_refused_for_the_session_says_so(adapter: NeoAPI, stub: Stub) -> None:
    stub.says(HISTORY, Said(content={"stat": "Not_Ok", "stCode": 100022, "errMsg": "invalid session"}, status=401))
    with pytest.raises(SessionExpired):
        adapter.fetch_order_tags(ORDER_ID, CALL)


@each_mutation
@pytest.mark.parametrize(("code", "status"), [(100022, 401), (100022, 200), (1037, 403)])
def test_a_refused_session_is_a_proven_refusal(name: str, code: int, status: int, adapter: NeoAPI, stub: Stub) -> None:
    path, send = MUTATIONS[name]
    stub.says(path, Said(content={"stat": "error in neo-login-check-api", "stCode": code}, status=status))
    with pytest.raises(SessionExpired) as caught:
        send(adapter)
    assert caught.value.code == str(code)


def test_a_refusal_that_carries_an_order_id_proves_nothing(adapter: NeoAPI, stub: Stub) -> None:
    stub.says("/quick/order", Said(content={"stat": "Not_Ok", "stCode": 1009, "nOrdNo": ORDER_ID}))
    with pytest.raises(OrderOutcomeUnknown):
        adapter.place(ORDER)


@contextmanager
def nobody_listens() -> Iterator[str]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@each_mutation
def test_without_a_connection_nothing_was_sent(name: str) -> None:
    with nobody_listens() as url:
        adapter = adapter_at(url)
        adapter.use_session(grant_for(url))
        with pytest.raises(NotSent) as caught:
            MUTATIONS[name][1](adapter)
    assert caught.value.evidence is not None
    assert not caught.value.evidence.left_this_machine


@each_mutation
def test_the_last_gate_stops_the_first_byte(name: str, adapter: NeoAPI, stub: Stub) -> None:
    refusal = NotSent("too late")

    def gate() -> None:
        raise refusal

    with adapter.context.wire.call(before_first_byte=gate), pytest.raises(NotSent):
        MUTATIONS[name][1](adapter)
    assert stub.heard == []


@each_mutation
def test_a_host_that_is_not_allowed_is_never_called(name: str, stub: Stub) -> None:
    adapter = adapter_at(stub.url)
    adapter.use_session(grant_for("https://orders.example.com"))
    with pytest.raises(NotSent):
        MUTATIONS[name][1](adapter)
    assert stub.heard == []


@each_mutation
def test_without_a_session_nothing_is_sent(name: str, stub: Stub) -> None:
    with pytest.raises(NotSent, match="log in"):
        MUTATIONS[name][1](adapter_at(stub.url))
    assert stub.heard == []


class SoftTimeLimit(Exception):
    """Like the task queue's: an Exception raised anywhere in the middle of a call."""


@each_mutation
@pytest.mark.parametrize("sent", [False, True], ids=["before", "after"])
def test_an_interruption_is_not_swallowed(
    name: str, sent: bool, adapter: NeoAPI, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, send = MUTATIONS[name]
    stub.says(path, Said(content=OK))
    wire = adapter.context.wire
    original = wire._read

    def interrupted(*args: Any) -> bytes:
        original(*args)
        raise SoftTimeLimit

    def gate() -> None:
        raise SoftTimeLimit

    if sent:
        monkeypatch.setattr(wire, "_read", interrupted)
    with wire.call(before_first_byte=None if sent else gate), pytest.raises(SoftTimeLimit):
        send(adapter)
    assert len(stub.heard) == int(sent)


@each_read
@pytest.mark.parametrize("answer", [UNPROVEN[key] for key in list(UNPROVEN)[:8]], ids=list(UNPROVEN)[:8])
def test_a_failed_read_raises_and_is_never_empty(name: str, answer: Said, adapter: NeoAPI, stub: Stub) -> None:
    path, read = READS[name]
    stub.says(path, answer)
    with pytest.raises(BrokerUnavailable, match=r"\.$"):
        read(adapter)


@each_read
def test_a_read_that_gets_no_answer_raises(name: str, adapter: NeoAPI, stub: Stub) -> None:
    path, read = READS[name]
    stub.says(path, Said(drop=True))
    with pytest.raises(BrokerUnavailable) as caught:
        read(adapter)
    assert caught.value.evidence is not None


@each_read
def test_a_read_without_a_connection_raises(name: str) -> None:
    with nobody_listens() as url:
        adapter = adapter_at(url)
        adapter.use_session(grant_for(url))
        with pytest.raises(BrokerUnavailable):
            READS[name][1](adapter)


@each_read
def test_a_read_with_a_dead_session_asks_for_a_login(name: str, adapter: NeoAPI, stub: Stub) -> None:
    path, read = READS[name]
    answers: list[Said] = [
        Said(content={"stat": "error in neo-login-check-api", "stCode": 100022, "errMsg": "invalid session token"}),
        Said(content={"message": "forbidden"}, status=403),
        Said(content={"message": "unauthorised"}, status=401),
    ]
    # The SDK throws a dict without data away when it was asked for the master's files, which need no session.
    for answer in answers[name == "master" :]:
        stub.says(path, answer)
        with pytest.raises(SessionExpired):
            read(adapter)


@each_read
def test_a_read_without_a_session_asks_for_a_login(name: str, stub: Stub) -> None:
    with pytest.raises(SessionExpired):
        READS[name][1](adapter_at(stub.url))
    assert stub.heard == []


@each_read
def test_a_read_over_the_budget_says_when_to_come_again(name: str, adapter: NeoAPI, stub: Stub) -> None:
    path, read = READS[name]
    stub.says(
        path, Said(content={"code": 429, "error": "Rate limit exceeded"}, status=429, headers={"Retry-After": "7"})
    )
    with pytest.raises(RateLimited) as caught:
        read(adapter)
    assert caught.value.retry_after == timedelta(seconds=7)


def test_an_address_that_is_not_whitelisted_is_no_reason_to_log_in_again(adapter: NeoAPI, stub: Stub) -> None:
    stub.says("/quick/user/limits", Said(content={"stCode": 100008, "errMsg": "unauthorized"}, status=403))
    with pytest.raises(BrokerUnavailable, match="static IP"):
        adapter.fetch_margin()


@pytest.mark.parametrize("name", ["positions", "orders", "trades"])
def test_only_kotaks_no_data_is_empty(name: str, adapter: NeoAPI, stub: Stub) -> None:
    path, read = READS[name]
    stub.says(path, Said(content=fixture("no_data")))
    assert read(adapter) == []
    for pretended in ({"stat": "Ok", "stCode": 200, "data": []}, {"stat": "Ok", "stCode": 200}):
        stub.says(path, Said(content=pretended))
        with pytest.raises(UnreadableReply):
            read(adapter)
    stub.says(path, Said(content=fixture("no_data"), status=503))
    with pytest.raises(BrokerUnavailable):
        read(adapter)


def test_an_order_that_is_not_shown_is_no_value(adapter: NeoAPI, stub: Stub) -> None:
    stub.says("/quick/user/orders", Said(content=fixture("no_data")))
    with pytest.raises(BrokerUnavailable, match="does not show"):
        adapter.fetch_order(ORDER_ID, CALL)


@pytest.mark.parametrize(("name", "fixture_name"), [("margin", "limits"), ("quote", "quotes")])
def test_single_values_are_read_through_the_sdk(name: str, fixture_name: str, adapter: NeoAPI, stub: Stub) -> None:
    path, read = READS[name]
    stub.says(path, Said(content=fixture(fixture_name)))
    assert read(adapter)


def test_books_are_read_through_the_sdk(adapter: NeoAPI, stub: Stub) -> None:
    stub.says("/quick/user/orders/", Said(content=fixture("order_report")))
    stub.says("/quick/user/orders", Said(content=fixture("order_report")))
    stub.says("/quick/user/trades", Said(content=fixture("trade_report")))
    stub.says("/portfolio/v2/positions", Said(content=fixture("positions")))
    assert [order.symbol for order in adapter.fetch_orders()] == ["NIFTY26NOV22250CE", "RELIANCE"]
    assert adapter.fetch_order(ORDER_ID, CALL).broker_order_id == ORDER_ID
    assert [fill.quantity for fill in adapter.fetch_trades()] == [65]
    assert [position.symbol for position in adapter.fetch_positions()] == ["[TCS26NOVFUT]"]


def test_no_error_carries_a_secret(adapter: NeoAPI, stub: Stub) -> None:
    stub.says("/", Said(content={"stat": "no", "stCode": 1009, "errMsg": "sid=trade-sid auth=trade-token"}))
    raised: list[BrokerError] = []
    for _, call in [*MUTATIONS.values(), *READS.values()]:
        with pytest.raises(BrokerError) as caught:
            call(adapter)
        raised.append(caught.value)
    for error in raised:
        text = f"{error!r} {error.reason} {error.evidence}"
        assert "trade-token" not in text
        assert "trade-sid" not in text
