"""What somebody with access to the queue server could put into a queue: it is refused, and the worker goes on."""

from __future__ import annotations

import base64
import json
import os
import pickle
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from brokers.discovery import specs
from tests.support.processes import wait_for
from tests.support.stack import Stack

BROKER = next(iter(specs()))


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, int]]:
        return os.open, (str(self.path), os.O_CREAT | os.O_WRONLY)


def message(body: bytes, content_type: str, encoding: str, **headers: str) -> str:
    """A message as it lies in the queue's list."""
    identity = str(uuid.uuid4())
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": encoding,
            "content-type": content_type,
            "headers": headers
            or {"lang": "py", "task": "tasks.orders.sync_orders", "id": identity, "root_id": identity},
            "properties": {
                "correlation_id": identity,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": BROKER},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": identity,
            },
        }
    )


def old_call(**body: object) -> str:
    """A task as the first version of Celery's protocol has it: all of it in the body."""
    content = {"task": "tasks.orders.sync_orders", "id": str(uuid.uuid4()), **body}
    return message(json.dumps(content).encode(), "application/json", "utf-8", lang="py")


KINDS = [
    "pickle",
    "yaml",
    "no json",
    "not the arguments of a task",
    "a call of the old protocol",
    "a broken one",
    "raw",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_that_is_not_ours_runs_nothing(
    stack: Stack, an_order: Callable[..., dict[str, Any]], tmp_path: Path, kind: str
) -> None:
    trap = tmp_path / "sprung"
    hostile = {
        "pickle": message(pickle.dumps(((), {"account": Bomb(trap)}, {})), "application/x-python-serialize", "binary"),
        "yaml": message(
            f"!!python/object/apply:os.open ['{trap}', {os.O_CREAT}]".encode(), "application/x-yaml", "utf-8"
        ),
        "no json": message(b"\xff\xfe{", "application/json", "utf-8"),
        "not the arguments of a task": message(json.dumps({"broker": "x"}).encode(), "application/json", "utf-8"),
        "a call of the old protocol": old_call(args=[], kwargs={"broker": BROKER}),
        "a broken one": old_call(args={"no": "list"}, kwargs="no object"),
        "raw": message(b"[[], {}, {}]", "application/data", "binary"),
    }[kind]
    with redis.Redis.from_url(stack.redis_url) as client:
        client.lpush(BROKER, hostile)
    placed = stack.do("place", **an_order(BROKER))
    wait_for(lambda: stack.intent(placed["client_order_id"])["state"] == "WORKING", "the order after it", seconds=30)
    assert not trap.exists()
    assert stack.children[f"worker-{BROKER}"].is_running()
