"""Where a call goes, who goes first, and what of it is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery.app.amqp import AMQP
from kombu import Connection

from brokers.discovery import specs
from brokers.domain.errors import AccountNotFound
from mcube.celery import app
from mcube.processes import OWN_QUEUE
from tasks.base import RedactedRequest
from tasks.routing import Priority, route


@pytest.fixture(autouse=True)
def _loaded_tasks() -> None:
    app.loader.import_default_modules()


def _queue_of(name: str, kwargs: dict[str, Any], **options: Any) -> str:
    amqp: AMQP = app.amqp
    chosen: str = amqp.router.route(options, name, (), kwargs)["queue"].name
    return chosen


@pytest.mark.parametrize("broker", list(specs()))
def test_a_call_goes_to_the_queue_of_the_broker_it_names(broker: str) -> None:
    assert _queue_of("tasks.orders.place_order", {"broker": broker}) == broker
    assert _queue_of("tasks.orders.place_order", {"broker": broker.upper()}) == broker


def test_a_traders_name_for_a_broker_is_understood() -> None:
    assert route("any", (), {"broker": "ICICI"}, {})["queue"] == "breeze"


def test_what_names_no_broker_stays_on_mcubes_own_queue() -> None:
    assert _queue_of("tasks.orders.sweep", {}) == OWN_QUEUE


def test_a_queue_that_the_caller_states_wins() -> None:
    assert _queue_of("tasks.orders.place_order", {"broker": "breeze"}, queue=OWN_QUEUE) == OWN_QUEUE


def test_an_unknown_broker_is_refused_where_it_is_published() -> None:
    with pytest.raises(AccountNotFound, match="zerodha"):
        app.send_task("tasks.orders.place_order", kwargs={"broker": "zerodha"})


def test_every_broker_has_a_queue_and_no_other_queue_is_made() -> None:
    assert sorted(app.amqp.queues) == sorted([*specs(), OWN_QUEUE])
    assert not app.conf.task_create_missing_queues


def test_a_message_reaches_its_queue_alone() -> None:
    queues = list(app.amqp.queues.values())

    assert len({(queue.exchange.name, queue.routing_key) for queue in queues}) == len(queues)


def test_cancels_go_before_orders_before_sessions_before_reads() -> None:
    priority = {
        name: app.amqp.router.route({}, name, (), {}, type(task))["priority"] for name, task in app.tasks.items()
    }

    assert priority["tasks.orders.cancel_order"] == Priority.URGENT
    assert priority["tasks.orders.place_order"] == priority["tasks.orders.modify_order"] == Priority.ORDER
    assert priority["tasks.sessions.refresh_session"] == Priority.SESSION
    assert {
        priority[name]
        for name in (
            "tasks.orders.sync_orders",
            "tasks.market.get_quote",
            "tasks.snapshots.snapshot_margin",
            "tasks.snapshots.snapshot_positions",
        )
    } == {Priority.READ}
    assert Priority.URGENT < Priority.ORDER < Priority.SESSION < Priority.READ


def test_each_priority_has_a_list_of_its_own_in_redis() -> None:
    with Connection(app.conf.broker_url, transport_options=app.conf.broker_transport_options) as connection:
        channel: Any = connection.channel()
        assert [channel.priority(step) for step in Priority] == sorted(Priority)


def test_orders_are_acknowledged_early_and_reads_late() -> None:
    early = {name for name, task in app.tasks.items() if name.startswith("tasks.") and not task.acks_late}

    assert {"tasks.orders.place_order", "tasks.orders.modify_order", "tasks.orders.cancel_order"} <= early
    assert not early & {"tasks.orders.sync_orders", "tasks.snapshots.snapshot_margin", "tasks.market.get_quote"}


def test_arguments_by_position_are_refused() -> None:
    with pytest.raises(TypeError, match="by name"):
        app.tasks["tasks.snapshots.snapshot_margin"].delay("breeze", "default")


def _received(headers: dict[str, Any], kwargs: dict[str, Any]) -> RedactedRequest:
    message = app.amqp.as_task_v2("an-id", "tasks.orders.place_order", (), kwargs)

    class Delivered:
        def __init__(self) -> None:
            self.headers = {**message.headers, **headers}
            self.body = json.dumps(message.body)
            self.payload = message.body
            self.content_type, self.content_encoding = "application/json", "utf-8"
            self.properties = {"correlation_id": "an-id", "delivery_info": {}}
            self.delivery_info: dict[str, Any] = {}

    return RedactedRequest(Delivered(), app=app, decoded=True, body=message.body)


def test_a_worker_shows_identifiers_only_whatever_the_publisher_wrote() -> None:
    order = {"broker": "breeze", "client_order_id": "c-1", "symbol": "SECRETSYMBOL", "quantity": 65, "price": "100.5"}
    request = _received({"kwargsrepr": repr(order), "argsrepr": "('SECRETSYMBOL',)"}, order)

    shown = " ".join(
        [request.kwargsrepr, request.argsrepr, repr(request), str(request.info()), str(request.info(True))]
    )

    assert "c-1" in shown
    assert "breeze" in shown
    for hidden in ("SECRETSYMBOL", "65", "100.5"):
        assert hidden not in shown
    assert request.kwargs["symbol"] == "SECRETSYMBOL"
