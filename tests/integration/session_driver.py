"""Twenty callers in several processes find no session. Run by ``test_sessions``; prints one JSON object."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

PROCESSES, THREADS = 5, 4


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
    connections.close_all()
    children = []
    for _ in range(PROCESSES):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = work(folder)
            finally:
                os._exit(status)
        children.append(pid)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    answers = [json.loads(path.read_text()) for path in sorted(folder.glob("answer-*"))]
    print(json.dumps({"statuses": statuses, "logins": len(lines(folder / "logins")), "answers": answers}))


def work(folder: Path) -> int:
    threads = [threading.Thread(target=call, args=(folder, number)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


def call(folder: Path, number: int) -> None:
    from django.db import connections

    from brokers import sessions
    from brokers.clock import SystemClock
    from brokers.interfaces import BrokerAdapter, SessionGrant
    from brokers.models import BrokerAccount
    from brokers.wire import Wire

    clock = SystemClock()
    me = f"{os.getpid()}-{number}"

    def open_session() -> SessionGrant:
        append(folder / "logins", me)
        # The login stays under way until everybody else has been turned away from it at least once.
        give_up = clock.monotonic() + 60
        while len(set(lines(folder / "waiting"))) < PROCESSES * THREADS - 1 and clock.monotonic() < give_up:
            time.sleep(0.01)
        return SessionGrant(session_token="given", sid="opened", expires_at=clock.now() + timedelta(hours=1))

    def make_adapter(account: BrokerAccount, _clock: object) -> BrokerAdapter:
        context = SimpleNamespace(wire=Wire(clock=clock, allowed_hosts=frozenset()))
        return cast(BrokerAdapter, SimpleNamespace(context=context, open_session=open_session, close=lambda: None))

    def wait(seconds: float) -> None:
        append(folder / "waiting", me)
        time.sleep(seconds)

    session = sessions.ensure(BrokerAccount.objects.get(), clock=clock, wait=wait, make_adapter=cast(Any, make_adapter))
    answer = {"version": session.version, "sid": session.grant.sid}
    (folder / f"answer-{me}").write_text(json.dumps(answer))
    connections.close_all()


def append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main(Path(sys.argv[1]))
