"""What Flower shows: workers, queues and identifiers; no secret and nothing of an order."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from brokers.discovery import specs
from brokers.simulator import accounts
from mcube import processes
from mcube.processes import queues
from tests.support.processes import CHECKOUT, clean_environment, free_port, wait_for
from tests.support.stack import FLOWER_PASSWORD, Stack

MakeOrder = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def flower(stack: Stack) -> Iterator[Callable[[str], str]]:
    """Asks Flower for a page as its user; an empty answer while it starts."""
    stack.start_flower()

    def ask(path: str) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{stack.flower_port}{path}")
        token = base64.b64encode(f"mcube:{FLOWER_PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                text: str = reply.read().decode()
        except OSError:
            return ""
        return text

    wait_for(lambda: ask("/healthcheck") == "OK", "Flower to answer")
    yield ask
    stack.children["flower"].stop()


def test_every_worker_is_listed_with_one_queue(flower: Callable[[str], str]) -> None:
    def listed() -> dict[str, Any]:
        found = json.loads(flower("/api/workers?refresh=1") or "{}")
        return found if len(found) == len(queues()) and all(one.get("active_queues") for one in found.values()) else {}

    workers = wait_for(listed, "Flower to list every worker", seconds=60)

    consumed = {
        name.partition("@")[0]: [queue["name"] for queue in one["active_queues"]] for name, one in workers.items()
    }
    assert consumed == {queue: [queue] for queue in queues()}


def test_orders_are_shown_by_their_ids_and_nothing_else(
    stack: Stack, flower: Callable[[str], str], an_order: MakeOrder
) -> None:
    order = an_order("kotakneo")
    placed = stack.do("place", **order)
    whole = an_order("breeze")
    stack.do("send_whole", **whole)
    refused = {**an_order("breeze"), "symbol": "NIFTY99ZZZFUT"}
    refused_id = stack.do("send_whole", **refused)

    def pages() -> str:
        text = flower("/api/tasks?limit=1000")
        return text if placed["task_id"] in text and refused_id in text and "FAILURE" in text else ""

    shown = wait_for(pages, "the orders to appear in Flower")
    shown += "".join(flower(f"/task/{task_id}") for task_id in (placed["task_id"], refused_id))
    shown += flower("/api/workers?refresh=1")

    assert str(placed["intent_id"]) in shown
    for detail in (order["symbol"], refused["symbol"], order["price"], whole["price"], "LIMIT", "'quantity'"):
        assert detail not in shown
    for broker in specs():
        for name, secret in accounts.default(broker).credentials().items():
            assert not re.search(rf"(?<![\d.]){re.escape(secret)}(?![\d.])", shown), f"{name} of {broker}"
    if password := stack.redis_url.partition("://:")[2].partition("@")[0]:
        assert password not in shown


def test_flower_asks_for_a_password_and_can_only_be_read(stack: Stack, flower: Callable[[str], str]) -> None:
    for method, path in (("GET", "/api/tasks"), ("POST", "/api/worker/shutdown/kotakneo@any")):
        request = urllib.request.Request(f"http://127.0.0.1:{stack.flower_port}{path}", method=method)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code in (401, 403)
        refused.value.close()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example"])
def test_flower_answers_to_no_foreign_name(stack: Stack, flower: Callable[[str], str], host: str) -> None:
    token = base64.b64encode(f"mcube:{FLOWER_PASSWORD}".encode()).decode()
    for path in ("/", "/api/tasks", "/healthcheck"):
        address = f"http://127.0.0.1:{stack.flower_port}{path}"
        request = urllib.request.Request(address, headers={"Host": host, "Authorization": f"Basic {token}"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 400
        refused.value.close()


def test_flower_does_not_start_without_a_password(stack: Stack) -> None:
    done = subprocess.run(
        processes.flower(host="127.0.0.1", port=free_port()),
        cwd=CHECKOUT,
        env=clean_environment() | stack.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert "FLOWER_BASIC_AUTH: Flower does not start open" in done.stdout + done.stderr
