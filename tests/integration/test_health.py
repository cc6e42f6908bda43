"""What a load balancer is told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from mcube.health import Migrations

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _surroundings(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.STATIC_ROOT = tmp_path
    monkeypatch.setattr(Migrations, "_seen_complete", False)


def ask(client: Client, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
    answer = client.get(path, headers=headers)
    assert answer["Content-Type"] == "application/json"
    return answer.status_code, json.loads(answer.content)


def test_all_is_well(client: Client) -> None:
    assert ask(client, "/live") == (200, {"status": "ok", "checks": {"store": "ok"}})
    assert ask(client, "/ready") == (
        200,
        {"status": "ok", "checks": {"store": "ok", "migrations": "ok", "queue": "ok"}},
    )


def test_json_is_answered_to_a_browser_too(client: Client) -> None:
    assert ask(client, "/ready?format=text", accept="text/html")[0] == 200


def test_without_redis_it_lives_and_is_not_ready_and_says_no_secret(client: Client, settings: Any) -> None:
    settings.REDIS_URL = "redis://:planted@127.0.0.1:1/0"
    assert ask(client, "/live")[0] == 200
    status, body = ask(client, "/ready")
    assert status == 503
    assert body["status"] == "failing"
    assert body["checks"]["store"] == "ok"
    assert body["checks"]["queue"] != "ok"
    assert "planted" not in json.dumps(body)


def test_a_redis_that_hangs_is_told_within_a_second(client: Client, settings: Any, deaf_port: int) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{deaf_port}/0"
    assert ask(client, "/ready")[0] == 503
    assert _soonest(client) < 1


def test_a_migration_that_is_not_applied_is_not_ready(client: Client) -> None:
    recorder = MigrationRecorder.Migration.objects
    if not MigrationRecorder(connection).has_table():
        pytest.skip("The tables were made without migrations.")
    kept = recorder.filter(app="auth").latest("pk")
    kept.delete()
    try:
        status, body = ask(client, "/ready")
    finally:
        recorder.create(app=kept.app, name=kept.name)
    assert status == 503
    assert "manage.py migrate" in body["checks"]["migrations"]


def test_it_answers_soon(client: Client) -> None:
    assert _soonest(client) < 0.3


def _soonest(client: Client) -> float:
    """Seconds to the answer, of the best of some tries, since the machine has other work."""
    tries = []
    for _ in range(4):
        started = time.monotonic()
        ask(client, "/ready")
        tries.append(time.monotonic() - started)
    return min(tries)


def test_the_root_leads_to_the_admin(client: Client) -> None:
    assert client.get("/")["Location"] == "/admin/"


@pytest.fixture
def deaf_port() -> Any:
    """A port that takes connections and never says a word."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]
