"""The container files. There is no container engine here, so each service's command runs as a process of its own
against a real PostgreSQL and a real Redis, with the environment and the health check the file gives it."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from pydantic import SecretStr

from brokers.discovery import specs
from mcube import processes
from mcube.environment import Environment, variable_name
from tests.support.environment import real_servers
from tests.support.processes import CHECKOUT, Child, clean_environment, free_port, wait_for
from tests.support.stack import drop_database, make_database

#: Services whose images are not ours.
SERVERS = ("postgres", "redis")
#: Settings that the services are not given, and why.
NOT_PASSED_ON = {
    "home": "the image says that it is the volume",
    "admin_password": "the service that prepares the rest needs it alone",
    "debug": "no installation of containers shows Django's debug pages",
    "safety_scale": "for tests",
    "web_port": "of `up`; a container has ports of its own",
    "flower_port": "of `up`; a container has ports of its own",
    "redis_port": "of `up`; the queue server is a container",
    "simulator_port": "of `up`; a container has ports of its own",
    "flower_password": "Flower's container takes it in Flower's own words",
}
#: Settings that stand for servers which are containers here.
OF_THE_CONTAINERS = {"database_url": "the container postgres", "redis_url": "the container redis unless it is set"}
VARIABLE = re.compile(r"\$\{(\w+)(?::?[-?]([^}]*))?\}")


def composition() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    return loaded


SERVICES = composition()["services"]
OURS = {name: service for name, service in SERVICES.items() if name not in SERVERS}


def anywhere(command: tuple[str, ...]) -> list[str]:
    """A command as it reads in a container: its interpreter by name, its address that of every interface."""
    return ["python" if word == sys.executable else word.replace("127.0.0.1", "0.0.0.0") for word in command]


def test_the_services_run_the_commands_of_up() -> None:
    commands = {name: service["command"] for name, service in OURS.items()}
    web, flower, simulators = 8000, 5555, 8101
    assert commands == {
        "prepare": ["python", "manage.py", "prepare"],
        "simulators": [
            *anywhere(processes.simulators(home=Path("/data"), port=simulators)),
            *("--host", "0.0.0.0"),
        ],
        **{f"worker-{queue}": anywhere(processes.worker(queue)) for queue in processes.queues()},
        "beat": anywhere(processes.beat()),
        "feeds": anywhere(processes.feeds()),
        "flower": anywhere(processes.flower(host="127.0.0.1", port=flower)),
        "web": anywhere(processes.web(host="127.0.0.1", port=web)),
    }


def test_every_broker_is_pointed_at_its_own_simulator() -> None:
    for position, broker in enumerate(specs()):
        variable = f"MCUBE_{broker.upper()}_URL"
        assert OURS["web"]["environment"][variable] == f"${{{variable}-http://simulators:{8101 + position}}}"
        example = (CHECKOUT / ".env.example").read_text()
        assert f"{variable}=http://simulators:{8101 + position}" in example


def test_every_service_that_stays_is_watched_and_started_again() -> None:
    staying = {name: service for name, service in SERVICES.items() if name != "prepare"}
    assert [name for name, service in staying.items() if "healthcheck" not in service] == []
    assert {service["restart"] for service in staying.values()} == {"unless-stopped"}


def test_nothing_is_open_to_the_network_and_no_password_has_a_default() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    text = (CHECKOUT / "docker-compose.yml").read_text()
    passwords = set(re.findall(r"\$\{\w*PASSWORD[^}]*\}", text))
    assert passwords
    assert all(":?" in password for password in passwords)


def test_a_worker_has_longer_to_end_than_its_longest_send() -> None:
    for queue in processes.queues():
        assert OURS[f"worker-{queue}"]["stop_grace_period"] == "40s"
    assert "stop_grace_period" not in OURS["web"]


def test_every_variable_of_the_file_is_in_the_example() -> None:
    wanted = {name for name, _ in VARIABLE.findall((CHECKOUT / "docker-compose.yml").read_text())}
    example = set(re.findall(r"^(\w+)=", (CHECKOUT / ".env.example").read_text(), re.MULTILINE))
    assert wanted == example


def text_of(default: Any) -> str:
    """A setting's default as the environment writes it."""
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, bool):
        return str(int(default))
    if isinstance(default, list):
        return ",".join(default)
    return "" if default is None else str(default)


def test_every_setting_is_passed_on() -> None:
    passed = OURS["web"]["environment"]
    missing = {name for name in Environment.model_fields if variable_name(name) not in passed}
    assert missing == set(NOT_PASSED_ON)
    odd = [name for name, service in OURS.items() if not service["environment"].items() >= passed.items()]
    assert not odd, "These services have other settings than the rest."


@pytest.mark.parametrize("name", sorted(set(Environment.model_fields) - set(NOT_PASSED_ON) - set(OF_THE_CONTAINERS)))
def test_a_setting_has_its_own_default_in_the_file_and_in_the_example(name: str) -> None:
    variable, default = variable_name(name), text_of(Environment.model_fields[name].default)
    assert OURS["web"]["environment"][variable] == f"${{{variable}:-{default}}}"
    example = (CHECKOUT / ".env.example").read_text().splitlines()
    assert f"{variable}={default}" in example


class Containers:
    """The services as processes: service names become loopback, ports become free ones, the volume a folder."""

    def __init__(self, home: Path, database_url: str, redis_url: str) -> None:
        self.home = home
        first = free_port(2 + len(specs()))
        ports = {"8000": first, "5555": first + 1} | {str(8101 + n): first + 2 + n for n in range(len(specs()))}
        self._ports = {before: str(after) for before, after in ports.items()}
        self._given = {
            "POSTGRES_PASSWORD": "unused",
            "REDIS_PASSWORD": "unused",
            "FLOWER_PASSWORD": secrets.token_urlsafe(12),
            "MCUBE_ADMIN_PASSWORD": secrets.token_urlsafe(12),
        }
        self._servers = {"DATABASE_URL": database_url, "MCUBE_REDIS_URL": redis_url, "MCUBE_HOME": str(home)}
        self.children: dict[str, Child] = {}

    def environment(self, service: str) -> dict[str, str]:
        stated = {name: self._here(str(value)) for name, value in OURS[service]["environment"].items()}
        return stated | self._servers

    def command(self, words: list[str]) -> list[str]:
        return [sys.executable if word == "python" else self._here(word) for word in words]

    def run(self, service: str) -> subprocess.CompletedProcess[str]:
        return self._finish(self.command(OURS[service]["command"]), service)

    def start(self, service: str) -> None:
        child = Child(
            service,
            self.command(OURS[service]["command"]),
            log=self.home / "logs" / f"{service}.log",
            environment=self.environment(service),
        )
        child.start()
        self.children[service] = child

    def is_healthy(self, service: str) -> bool:
        assert self.children[service].is_running(), self.children[service].read_log()[-3000:]
        kind, *words = OURS[service]["healthcheck"]["test"]
        assert kind == "CMD"
        return self._finish(self.command(words), service).returncode == 0

    def stop(self) -> None:
        for child in reversed(self.children.values()):
            child.stop(40)

    def _finish(self, command: list[str], service: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=CHECKOUT,
            env=clean_environment() | self.environment(service),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def _here(self, text: str) -> str:
        text = VARIABLE.sub(lambda found: self._given.get(found[1], found[2] or ""), text)
        text = (
            text.replace("0.0.0.0", "127.0.0.1").replace("simulators:", "127.0.0.1:").replace("/data", str(self.home))
        )
        for before, after in self._ports.items():
            text = re.sub(rf"(?<!\d){before}(?!\d)", after, text)
        return text


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    servers = real_servers()
    if servers is None:
        pytest.skip("PostgreSQL and Redis are neither configured nor at their standard ports.")
    server_url, redis_url = servers
    database_url = make_database(server_url)
    made = Containers(tmp_path, database_url, urlsplit(redis_url)._replace(path="/13").geturl())
    try:
        yield made
    finally:
        made.stop()
        drop_database(server_url, database_url)


@pytest.mark.timeout(300)
def test_every_service_becomes_healthy_on_postgresql_and_redis(containers: Containers) -> None:
    prepared = containers.run("prepare")
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    staying = [name for name in OURS if name != "prepare"]
    for service in staying:
        containers.start(service)
    for service in staying:
        wait_for(lambda service=service: containers.is_healthy(service), f"{service} to be healthy", seconds=90)  # type: ignore[misc]
    assert os.listdir(containers.home / "keys")
    containers.stop()
    assert {name: child.is_running() for name, child in containers.children.items()} == dict.fromkeys(staying, False)
