"""With signed messages, who can write into the queue server still cannot have a worker do anything."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from brokers.discovery import specs
from mcube import processes, signing
from tests.acceptance.test_redis_tls import flower
from tests.support.processes import CHECKOUT, Child, clean_environment, wait_for
from tests.support.stack import Stack

pytestmark = pytest.mark.timeout(240)

Place = Callable[[], dict[str, Any]]
MakeOrder = Callable[..., dict[str, Any]]
BROKER = next(iter(specs()))
OLD, NEW, FOREIGN = (name * 40 for name in ("o", "n", "f"))


class SignedStack(Stack):
    keys = OLD

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"MCUBE_SIGN_MESSAGES": "1", "MCUBE_SIGNING_KEYS": self.keys}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignedStack]:
    stack = SignedStack(tmp_path_factory.mktemp("signed"))
    try:
        stack.prepare()
        stack.start_simulators()
        stack.start_workers()
        stack.start_beat()
        stack.start_flower()
        for broker in specs():
            stack.load_instruments(broker)
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def place(stack: SignedStack, an_order: MakeOrder) -> Place:
    return lambda: stack.do("place", **an_order(BROKER))


def is_working(stack: Stack, placed: dict[str, Any]) -> Callable[[], bool]:
    return lambda: bool(stack.intent(placed["client_order_id"])["state"] == "WORKING")


def waiting_message(stack: SignedStack, place: Place) -> dict[str, Any]:
    """An order's message as it lies in the queue, taken out of it."""
    stack.children[f"worker-{BROKER}"].stop()
    with redis.Redis.from_url(stack.redis_url, decode_responses=True) as client:
        placed = place()
        for key in [BROKER, *client.scan_iter(f"{BROKER}\x06\x16*")]:
            for text in client.lrange(key, 0, -1):
                found: dict[str, Any] = json.loads(text)
                if found["headers"]["id"] == placed["task_id"]:
                    client.lrem(key, 1, text)
                    return found | {"placed": placed}
    raise AssertionError("The order's message is in no list of the queue.")


def put(stack: Stack, message: dict[str, Any]) -> None:
    with redis.Redis.from_url(stack.redis_url) as client:
        client.lpush(BROKER, json.dumps(message))


def refusals(stack: Stack) -> str:
    return stack.children[f"worker-{BROKER}"].read_log()


def test_orders_ticks_and_flower_go_on_with_signed_messages(stack: SignedStack, place: Place) -> None:
    placed = place()
    wait_for(is_working(stack, placed), "the order")
    wait_for(lambda: "tasks.orders.sweep" in stack.children["worker-mcube"].read_log(), "a tick of beat", seconds=60)
    listed = wait_for(lambda: flower(stack, "/api/workers?refresh=1"), "Flower's workers", seconds=60)
    assert len(listed) == len(processes.queues())
    assert all(one["active_queues"] for one in listed.values())
    wait_for(lambda: placed["task_id"] in (flower(stack, "/api/tasks?limit=1000") or {}), "Flower's tasks", seconds=30)
    assert not [name for name in processes.queues() if "Forged" in stack.children[f"worker-{name}"].read_log()]


FORGERIES: dict[str, Callable[[str], tuple[str, str]]] = {
    "not signed": lambda body: (body.partition(signing.SEPARATOR)[2], "application/json"),
    "said to be signed": lambda body: (body.partition(signing.SEPARATOR)[2], signing.CONTENT_TYPE),
    "signed by somebody else": lambda body: (
        signing._signature(FOREIGN, body.partition(signing.SEPARATOR)[2].encode())
        + signing.SEPARATOR
        + body.partition(signing.SEPARATOR)[2],
        signing.CONTENT_TYPE,
    ),
    "changed after it was signed": lambda body: (body.replace("intent_id", "intent_ix"), signing.CONTENT_TYPE),
    "raw text": lambda body: (body, "application/data"),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_message_runs_nothing_and_ends_no_worker(stack: SignedStack, place: Place, kind: str) -> None:
    message = waiting_message(stack, place)
    body, content_type = FORGERIES[kind](base64.b64decode(message["body"]).decode())
    identity = str(uuid.uuid4())
    message["headers"]["id"] = message["properties"]["delivery_tag"] = identity
    put(stack, message | {"body": base64.b64encode(body.encode()).decode(), "content-type": content_type})
    stack.start_workers(BROKER)
    worker = stack.children[f"worker-{BROKER}"]
    assert_worker_goes_on(stack, worker, place)
    assert f"{identity}" not in executed(stack)


def test_a_body_signed_for_one_call_is_no_other_call(stack: SignedStack, place: Place) -> None:
    message = waiting_message(stack, place)
    other = str(uuid.uuid4())
    changed = json.loads(json.dumps(message))
    changed["headers"] |= {"task": "tasks.orders.cancel_order", "id": other}
    put(stack, changed)
    stack.start_workers(BROKER)
    wait_for(lambda: "signed for another call" in refusals(stack), "the refusal")
    assert other not in executed(stack)
    put(stack, message)
    wait_for(is_working(stack, message["placed"]), "the order, by its own message")


def test_an_unsigned_command_to_workers_is_refused(stack: SignedStack, place: Place) -> None:
    worker = stack.children[f"worker-{BROKER}"]
    command: dict[str, Any] = {
        "method": "shutdown",
        "arguments": {},
        "destination": None,
        "pattern": None,
        "matcher": None,
    }
    letter = {
        "body": base64.b64encode(json.dumps(command).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"clock": 1, "expires": None},
        "properties": {
            "delivery_mode": 2,
            "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }
    with redis.Redis.from_url(stack.redis_url) as client:
        database = client.get_connection_kwargs()["db"]
        assert client.publish(f"/{database}.celery.pidbox", json.dumps(letter)) >= len(processes.queues())
    wait_for(lambda: "application/json" in worker.read_log(), "the refusal")
    assert_worker_goes_on(stack, worker, place)


def test_keys_rotate_while_old_messages_are_still_taken(stack: SignedStack, place: Place) -> None:
    message = waiting_message(stack, place)
    put(stack, message)
    stack.keys = f"{NEW},{OLD}"
    stack.children.pop(f"worker-{BROKER}")
    stack.start_workers(BROKER)
    wait_for(is_working(stack, message["placed"]), "an order signed with the old key", seconds=60)


def test_a_short_key_stops_the_start(stack: SignedStack) -> None:
    stack.keys = "short"
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=CHECKOUT,
        env=clean_environment() | stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert (done.stdout + done.stderr).startswith("MCUBE_SIGNING_KEYS: key 1 is shorter than 32 characters")


def executed(stack: Stack) -> str:
    """What workers say of tasks that they finished."""
    lines = refusals(stack).splitlines()
    return "\n".join(line for line in lines if "succeeded" in line or "raised" in line)


def assert_worker_goes_on(stack: Stack, worker: Child, place: Place) -> None:
    placed = place()
    wait_for(is_working(stack, placed), "the order after it")
    assert worker.is_running()
