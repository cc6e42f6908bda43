"""Alerts over real processes: they arrive, a channel that never answers is in nobody's way, and no secret is left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from brokers.discovery import specs
from tests.support.inbox import Inbox
from tests.support.processes import wait_for
from tests.support.stack import Stack

SECRET = "planted-channel-secret"
#: A tick of beat, a start of Python, and a busy machine.
ARRIVES_SECONDS = 120.0

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def inboxes(stack: Stack) -> Iterator[tuple[Inbox, Inbox]]:
    """One that takes what it is sent, and one that never answers, both configured as channels."""
    desk, dead = Inbox(), Inbox()
    dead.hangs = True
    for name, inbox in (("desk", desk), ("dead", dead)):
        stack.do("add_channel", name=name, address=f"json://{SECRET}:{SECRET}@127.0.0.1:{inbox.port}/{SECRET}")
    yield desk, dead
    stack.do("remove_channels")
    desk.stop()
    dead.stop()
    if "beat" in stack.children:
        stack.children["beat"].stop()


def test_an_alert_arrives_once_while_another_channel_hangs_and_orders_go_on(
    stack: Stack, inboxes: tuple[Inbox, Inbox], an_order: Callable[..., dict[str, Any]]
) -> None:
    desk, dead = inboxes
    stack.start_beat()
    stack.manage("halt", "--strategy", "nobody", "--reason", "a drill")
    wait_for(lambda: any("a drill" in title for title in desk.titles), "the alert", seconds=ARRIVES_SECONDS)
    wait_for(lambda: dead.received, "the channel that hangs to be tried", seconds=ARRIVES_SECONDS)

    for broker in specs():
        order = an_order(broker)
        stack.do("place", **order)
        key = order["client_order_id"]
        wait_for(lambda key=key: stack.intent(key)["state"] == "WORKING", f"an order at {broker}", seconds=40)  # type: ignore[misc]

    wait_for(
        lambda: "channel dead, from look soon: It did not answer in time." in stack.manage("alerts"),
        "the failure to be written down",
        seconds=ARRIVES_SECONDS,
    )
    assert "channel desk, from look soon: in order" in stack.manage("alerts")
    assert len([title for title in desk.titles if "a drill" in title]) == 1
    assert SECRET not in "".join(child.read_log() for child in stack.children.values())
    assert SECRET not in stack.manage("alerts")
    stack.manage("halt", "--strategy", "nobody", "--resume", "--reason", "the drill is over")
