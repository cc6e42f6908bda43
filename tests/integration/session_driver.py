"""Fifty processes find the session expired at once. Run by ``test_sessions``; prints one JSON object."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

PROCESSES = 50


def main(folder: Path) -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from brokers.models import BrokerAccount
    from credentials.models import CredentialStore

    call_command("migrate", verbosity=0)
    secrets = {"api_key": "k", "api_secret": "s", "session_token": "given"}
    CredentialStore.objects.create(service="breeze", **secrets)
    BrokerAccount.objects.create(broker="breeze")
    open_session(folder, "first", everybody_waits=False)
    connections.close_all()
    children = []
    for _ in range(PROCESSES):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = call(folder)
            finally:
                os._exit(status)
        children.append(pid)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    answers = [json.loads(path.read_text()) for path in sorted(folder.glob("answer-*"))]
    print(json.dumps({"statuses": statuses, "logins": len(lines(folder / "logins")), "answers": answers}))


def call(folder: Path) -> int:
    """What a process does that the broker tells of an expired session: say so, and ask for the next one."""
    from django.db import connections

    from brokers import sessions
    from brokers.clock import SystemClock
    from brokers.models import BrokerAccount

    sessions.report_expired(BrokerAccount.objects.get(), 1, clock=SystemClock())
    answer = open_session(folder, str(os.getpid()), everybody_waits=True)
    (folder / f"answer-{os.getpid()}").write_text(json.dumps(answer))
    connections.close_all()
    return 0


def open_session(folder: Path, me: str, *, everybody_waits: bool) -> dict[str, object]:
    """Ask for the session; a login stays under way until everybody else has been turned away from it once."""
    from brokers import sessions
    from brokers.adapter_interface import BrokerAdapter, SessionGrant
    from brokers.clock import SystemClock
    from brokers.models import BrokerAccount
    from brokers.wire import Wire

    clock = SystemClock()

    def log_in() -> SessionGrant:
        append(folder / "logins", me)
        give_up = clock.monotonic() + 60
        while everybody_waits and len(set(lines(folder / "waiting"))) < PROCESSES - 1 and clock.monotonic() < give_up:
            time.sleep(0.01)
        return SessionGrant(session_token="given", sid="opened", expires_at=clock.now() + timedelta(hours=1))

    def make_adapter(account: BrokerAccount, _clock: object) -> BrokerAdapter:
        context = SimpleNamespace(wire=Wire(clock=clock, allowed_hosts=frozenset()))
        return cast(BrokerAdapter, SimpleNamespace(context=context, open_session=log_in, close=lambda: None))

    def wait(seconds: float) -> None:
        append(folder / "waiting", me)
        time.sleep(seconds)

    session = sessions.ensure(BrokerAccount.objects.get(), clock=clock, wait=wait, make_adapter=cast(Any, make_adapter))
    return {"version": session.version, "sid": session.grant.sid}


def append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main(Path(sys.argv[1]))
