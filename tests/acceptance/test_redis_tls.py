"""A Redis that speaks TLS and lets mcube do what ``docs/redis.md`` says it needs, and nothing else."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from brokers.discovery import specs
from mcube import processes
from tests.support.processes import CHECKOUT, clean_environment, free_port, wait_for
from tests.support.stack import FLOWER_PASSWORD, Stack
from tests.support.tls_redis import Authority, TlsRedis, is_available

pytestmark = [
    pytest.mark.skipif(not is_available(), reason="There is no redis-server with TLS."),
    pytest.mark.timeout(300),
]

DOCUMENTED_USER = re.search(r"^user mcube on .*$", (CHECKOUT / "docs" / "redis.md").read_text(), re.MULTILINE)


class TlsStack(Stack):
    """An installation whose queue server is the TLS one."""

    def __init__(self, home: Path, server: TlsRedis) -> None:
        super().__init__(home, queue=server)
        self.server = server

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.server.environment_for_mcube


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsStack]:
    assert DOCUMENTED_USER is not None
    folder = tmp_path_factory.mktemp("tls")
    stack = TlsStack(folder / "home", TlsRedis(folder / "redis", Authority(folder / "ca"), users=DOCUMENTED_USER[0]))
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


def flower(stack: Stack, path: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{stack.flower_port}{path}")
    request.add_header("Authorization", "Basic " + base64.b64encode(f"mcube:{FLOWER_PASSWORD}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.loads(reply.read())
    except OSError:
        return None


def test_everything_works_by_tls_as_a_user_that_may_do_no_more(
    stack: TlsStack, an_order: Callable[..., dict[str, Any]]
) -> None:
    for broker in specs():
        placed = stack.do("place", **an_order(broker))
        wait_for(
            lambda placed=placed: stack.intent(placed["client_order_id"])["state"] == "WORKING",  # type: ignore[misc]
            f"the order at {broker}",
        )
    answers = wait_for(
        lambda: (found := flower(stack, "/api/queues/length")) and found["active_queues"], "Flower's queues", seconds=60
    )
    assert {queue["name"] for queue in answers} == set(processes.queues())
    listed = wait_for(lambda: flower(stack, "/api/workers?refresh=1"), "Flower's workers", seconds=60)
    assert len(listed) == len(processes.queues())
    for question in (["beat"], ["worker", next(iter(specs()))]):
        assert probe(stack, *question).returncode == 0, question
    said = {line["name"]: line for line in json.loads(doctor(stack.environment, "--json").stdout)}
    assert said["Redis"]["level"] == "OK", said["Redis"]
    assert said["beat"]["level"] == said["workers"]["level"] == "OK"
    web = free_port()
    stack.start("web", processes.web(host="127.0.0.1", port=web))
    wait_for(lambda: is_ready(web), "the web admin to be ready", seconds=60)
    with stack.server.administer() as client:
        refused = [(entry["object"], entry["context"], entry["username"]) for entry in client.acl_log()]
        assert not refused
        for forbidden in (["FLUSHALL"], ["CONFIG", "GET", "*"], ["KEYS", "*"], ["GET", "of somebody else"]):
            assert "no permissions" in str(client.execute_command("ACL DRYRUN", "mcube", *forbidden)), forbidden


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def probe(stack: Stack, *question: str) -> subprocess.CompletedProcess[str]:
    return run(stack.environment, "-m", "mcube.probe", *question)


def doctor(environment: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return run(environment, "manage.py", "doctor", *options)


def run(environment: Mapping[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=CHECKOUT,
        env=clean_environment() | dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    folder = tmp_path_factory.mktemp("strict")
    narrow = "user mcube on >PASSWORD resetchannels ~mcube* -@all +@connection"
    server = TlsRedis(folder / "redis", Authority(folder / "ca"), users=narrow)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def home(server: TlsRedis, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of an installation with its tables."""
    folder = str(tmp_path_factory.mktemp("strict") / "home")
    migrated = run({**server.environment_for_mcube, "MCUBE_HOME": folder}, "manage.py", "migrate", "-v0")
    assert migrated.returncode == 0, migrated.stdout + migrated.stderr
    return folder


WRONG: dict[str, tuple[Callable[[TlsRedis, Path], dict[str, str]], str]] = {
    "another authority": (
        lambda server, folder: {"MCUBE_REDIS_CA_FILE": str(Authority(folder / "ca").certificate_file)},
        "shows a certificate that is not accepted",
    ),
    "the system's authorities": (
        lambda server, folder: {"MCUBE_REDIS_CA_FILE": ""},
        "shows a certificate that is not accepted",
    ),
    "another name": (
        lambda server, folder: {"MCUBE_REDIS_URL": server.url.replace("127.0.0.1", "localhost")},
        "shows a certificate that is not accepted (Hostname mismatch",
    ),
    "no certificate of ours": (
        lambda server, folder: {"MCUBE_REDIS_CERTIFICATE_FILE": "", "MCUBE_REDIS_KEY_FILE": ""},
        "do not agree on TLS",
    ),
    "another password": (
        lambda server, folder: {"MCUBE_REDIS_URL": server.url.replace(server.password, "planted-wrong")},
        "refuses the user or the password",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_clear_sentence_at_the_start_and_in_doctor(
    server: TlsRedis, home: str, tmp_path: Path, case: str
) -> None:
    change, sentence = WRONG[case]
    environment = {
        **server.environment_for_mcube,
        "MCUBE_HOME": home,
        **change(server, tmp_path),
        **{name: str(free_port()) for name in ("MCUBE_WEB_PORT", "MCUBE_FLOWER_PORT")},
        "MCUBE_SIMULATOR_PORT": str(free_port(2)),
    }
    started = run(environment, "manage.py", "up")
    assert started.returncode != 0
    said = started.stdout + started.stderr
    assert "MCUBE_REDIS_URL: " in said
    assert sentence in said
    assert "Traceback" not in said
    assert server.password not in said
    assert "planted-wrong" not in said
    found = {line["name"]: line for line in json.loads(doctor(environment, "--json").stdout)}["Redis"]
    assert found["level"] == "FAIL"
    assert sentence in found["detail"]
    assert found["remedy"]


def test_a_user_that_may_too_little_is_told_in_doctor(server: TlsRedis, home: str) -> None:
    environment = {**server.environment_for_mcube, "MCUBE_HOME": home}
    found = {line["name"]: line for line in json.loads(doctor(environment, "--json").stdout)}["Redis"]
    assert found["detail"] == "does not let this user do what mcube needs"
