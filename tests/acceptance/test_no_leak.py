"""Secrets are planted in every field, everything is run, and all that was written anywhere is searched for them."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import redis

from brokers.discovery import specs
from brokers.simulator.accounts import default
from mcube import processes
from tests.support.processes import CHECKOUT, clean_environment, free_port, wait_for
from tests.support.stack import FLOWER_PASSWORD, Stack

pytestmark = pytest.mark.timeout(300)

BROKERS = list(specs())
#: Values of our own in fields that no login reads.
PLANTED = {
    "trendlyne": {
        "username": "planted-trend-user-51",
        "password": "planted-trend-pass-52",
        "api_key": "planted-key-53",
    },
}
CHANNEL = "json://127.0.0.1:9/planted-channel-secret-54"
ADMIN_PASSWORD = "planted-admin-pass-55"
UNREDACTED = CHECKOUT / "tests" / "support" / "unredacted"
#: Columns that name somebody and open nothing; people read them.
NAMES = {"username", "mobile_number", "ucc"}
#: Every table's every column, and what the sessions of the day are.
DUMP = """
import json, sys
from django.db import connection
with connection.cursor() as cursor:
    for table in connection.introspection.table_names():
        cursor.execute(f'SELECT * FROM {connection.ops.quote_name(table)}')
        for row in cursor.fetchall():
            print(table, *[bytes(v).decode('utf-8', 'replace') if isinstance(v, (bytes, memoryview)) else v for v in row])
"""
TOKENS = """
import json
from credentials.models import CredentialStore
print(json.dumps([getattr(row, column) for row in CredentialStore.objects.all() for column in ('session_token', 'sid')]))
"""
#: A session, or none and no pause after the last trouble.
START = """
import time
from brokers import sessions
from brokers.clock import configured_clock
from brokers.models import BrokerAccount
account = BrokerAccount.objects.get(broker=broker, name='default')
sessions.end(account, clock=configured_clock())
if not anew:
    sessions.ensure(account, clock=configured_clock(), wait=time.sleep)
"""
#: An administrator's authenticator and recovery codes, as people get them.
SECOND_FACTOR = ("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "plantedrecovery56 plantedrecovery57")
PLANT = f"""
from credentials.models import CredentialStore
for service, values in {PLANTED!r}.items():
    CredentialStore.objects.create(service=service, **values)
from django.contrib.auth.models import User
from mcube.models import Authenticator, RecoveryCodes
person = User.objects.create_user('enrolled', is_staff=True)
Authenticator.objects.create(user=person, name='authenticator', key={SECOND_FACTOR[0]!r})
RecoveryCodes.objects.create(user=person, name='recovery codes', codes={SECOND_FACTOR[1]!r})
"""
FAULTS: tuple[dict[str, Any], ...] = (
    {"endpoint": "*", "kind": "html", "count": 3},
    {"endpoint": "*", "kind": "garbage", "count": 3},
    {"endpoint": "*", "kind": "bad_gateway", "count": 3},
    {"endpoint": "*", "kind": "drop", "count": 3},
    # The broker repeats what it was sent.
    {"endpoint": "*", "kind": "refuse", "count": 5},
)


class TalkativeStack(Stack):
    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"MCUBE_LOG_LEVEL": "DEBUG", "MCUBE_ADMIN_PASSWORD": ADMIN_PASSWORD}


class UnredactedStack(TalkativeStack):
    """Its processes redact nothing."""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"PYTHONPATH": f"{UNREDACTED}:{CHECKOUT}"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = TalkativeStack(tmp_path_factory.mktemp("leaks"))
    try:
        stack.prepare()
        stack.manage("shell", "-c", PLANT)
        stack.start_simulators()
        stack.start_workers()
        stack.start_beat()
        stack.start_flower()
        yield stack
    finally:
        stack.stop()


def secrets_of(stack: Stack) -> dict[str, str]:
    """What must be nowhere, by a name to say it by."""
    found = {
        f"{broker} {column}": value
        for broker in BROKERS
        for column, value in default(broker).credentials().items()
        if value and column not in NAMES
    }
    found |= {f"{service} {column}": value for service, values in PLANTED.items() for column, value in values.items()}
    found |= {f"second factor {number}": value for number, value in enumerate(" ".join(SECOND_FACTOR).split())}
    tokens = json.loads(stack.manage("shell", "-c", TOKENS).splitlines()[-1])
    found |= {f"token {number}": value for number, value in enumerate(tokens) if value}
    found |= {"channel": CHANNEL.rsplit("/", 1)[1], "admin": ADMIN_PASSWORD, "flower": FLOWER_PASSWORD}
    return found | {key.name: key.read_text().strip() for key in (stack.home / "keys").iterdir() if key.is_file()}


def hits(text: str, secrets: dict[str, str]) -> list[str]:
    """The names of the secrets that are in it, as they are or as some layer writes them; no value is repeated."""
    found = []
    for name, value in secrets.items():
        forms = {value, quote(value, safe=""), json.dumps(value)[1:-1], base64.b64encode(value.encode()).decode()}
        if len(value) < 8:
            # Six digits stand in many numbers by chance.
            if re.search(rf"[\"'=:] ?{re.escape(value)}(?![0-9.])", text):
                found.append(name)
        elif any(form in text for form in forms):
            found.append(name)
    return found


def in_redis(stack: Stack) -> Iterator[str]:
    with redis.Redis.from_url(stack.redis_url) as client:
        for key in client.scan_iter():
            kind = client.type(key).decode()
            read = {
                "string": lambda key=key: [client.get(key)],
                "list": lambda key=key: client.lrange(key, 0, -1),
                "hash": lambda key=key: [part for pair in client.hgetall(key).items() for part in pair],
                "set": lambda key=key: list(client.smembers(key)),
                "zset": lambda key=key: client.zrange(key, 0, -1),
                "stream": lambda key=key: [repr(client.xrange(key)).encode()],
            }[kind]
            for value in [key, *read()]:  # type: ignore[no-untyped-call]
                text = (value or b"").decode("utf-8", "replace")
                yield text
                yield from _bodies(text)


def _bodies(text: str) -> Iterator[str]:
    """What Celery wraps in base64."""
    for body in re.findall(r"[A-Za-z0-9+/]{40,}={0,2}", text):
        try:
            yield base64.b64decode(body).decode()
        except ValueError:
            continue


def admin_pages(stack: Stack) -> Iterator[str]:
    """Every page that the admin's lists lead to, one row of each."""
    port = free_port()
    stack.start("web", processes.web(host="127.0.0.1", port=port))
    base = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=base, trust_env=False, follow_redirects=True, timeout=30) as browser:
        wait_for(lambda: _is_up(browser), "the web admin", seconds=60)
        page = browser.get("/admin/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert token is not None
        form = {"username": "admin", "password": ADMIN_PASSWORD, "csrfmiddlewaretoken": token[1], "next": "/admin/"}
        home = browser.post("/admin/login/", data=form, headers={"Referer": f"{base}/admin/login/"})
        lists = sorted(set(re.findall(r'href="(/admin/\w+/\w+/)"', home.text)))
        assert len(lists) > 10, home.text[:2000]
        for address in lists:
            listed = browser.get(address).text
            yield listed
            rows = re.findall(rf'href="({re.escape(address)}[^"?]+/change/)', listed)
            for row in rows[:2]:
                yield browser.get(row).text


def _is_up(browser: httpx.Client) -> bool:
    try:
        return browser.get("/live").status_code == 200
    except httpx.HTTPError:
        return False


def flower_pages(stack: Stack) -> Iterator[str]:
    with httpx.Client(
        base_url=f"http://127.0.0.1:{stack.flower_port}", auth=("mcube", FLOWER_PASSWORD), trust_env=False, timeout=20
    ) as flower:
        for path in ("/workers", "/tasks", "/broker", "/api/workers", "/api/tasks", "/api/queues/length"):
            yield flower.get(path).text
        for task in list(flower.get("/api/tasks").json())[:200]:
            yield flower.get(f"/api/task/info/{task}").text


def run_everything(stack: Stack) -> str:
    """Logins, failures, orders, dumps; returns all that commands printed."""
    printed = []
    stack.do("add_channel", name="planted", address=CHANNEL)
    printed += log_in_among_faults(stack)
    for broker in BROKERS:
        # A task that fails, with a traceback.
        stack.do("send_whole", broker=broker, symbol="NO-SUCH", action="B", quantity=1)
    for command in (
        ["status"],
        ["setup_credentials", "--list"],
        ["setup_credentials", "--status", "--json"],
        ["alerts"],
    ):
        printed.append(manage_somehow(stack, *command))
    printed.append(manage_somehow(stack, "setup_credentials", *(f"--test-{broker}" for broker in BROKERS[:1])))
    printed.append(manage_somehow(stack, "doctor"))
    printed.append(stack.manage("dumpdata"))
    printed.append(stack.manage("shell", "-c", DUMP))
    return "\n".join(printed)


def log_in_among_faults(stack: Stack, faults: Sequence[dict[str, Any]] = FAULTS) -> list[str]:
    """Each broker's login, reads and an order, in every kind of trouble; returns what was printed."""
    printed = []
    for broker in BROKERS:
        stack.load_instruments(broker)
    for face, broker in enumerate(BROKERS):
        for fault in faults:
            for anew in (False, True):
                echo = " ".join(f"{name}={value}" for name, value in default(broker).credentials().items())
                printed.append(stack.manage("shell", "-c", f"broker, anew = {broker!r}, {anew}\n{START}"))
                stack.control(face, "POST", "faults", {"body": f"Not understood: {echo}"} | fault)
                tasks = [
                    stack.do("send", task=task, broker=broker, account="default")
                    for task in ("tasks.sessions.refresh_session", "tasks.orders.sync_orders")
                ]
                order = {"symbol": "INFY", "action": "B", "quantity": 1, "order_type": "LIMIT"}
                placed = stack.do("place", broker=broker, price=str(1450 + FAULTS.index(fault) * 2 + anew), **order)
                stack.wait_for_performance(broker, *tasks, placed["task_id"])
                stack.control(face, "DELETE", "faults")
    return printed


def manage_somehow(stack: Stack, *arguments: str) -> str:
    """A command's output, whether it is content or not."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=CHECKOUT,
        env=clean_environment() | stack.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


def written_files(stack: Stack) -> Iterator[tuple[Path, str]]:
    """Logs, the database and all else below the installation's folder, keys and the exchange's own world left out."""
    for path in stack.home.rglob("*"):
        inside = path.relative_to(stack.home).parts
        if path.is_file() and inside[0] not in ("keys", "simulator", "static") and path.name != "valkey.conf":
            yield path, path.read_bytes().decode("utf-8", "replace")


def test_no_secret_is_written_anywhere(stack: Stack) -> None:
    printed = run_everything(stack)
    secrets = secrets_of(stack)
    assert len(secrets) > 12
    places = {"commands": [printed], "Redis": list(in_redis(stack)), "Flower": list(flower_pages(stack))}
    places["admin"] = list(admin_pages(stack))
    places |= {str(path.relative_to(stack.home)): [text] for path, text in written_files(stack)}
    assert sum(map(len, places["admin"])) > 100_000
    assert len(places["Redis"]) > 10
    leaks = {place: sorted({name for text in texts for name in hits(text, secrets)}) for place, texts in places.items()}
    assert not {place: names for place, names in leaks.items() if names}


def test_the_search_finds_what_is_not_redacted(tmp_path: Path) -> None:
    stack = UnredactedStack(tmp_path)
    try:
        stack.prepare()
        stack.start_simulators()
        stack.start_workers()
        log_in_among_faults(stack, FAULTS[-1:])
        secrets = secrets_of(stack)
        found = {name for _, text in written_files(stack) for name in hits(text, secrets)}
        assert {broker for broker in BROKERS if f"{broker} password" in found} == set(BROKERS)
    finally:
        stack.stop()
