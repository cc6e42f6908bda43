"""``setup_credentials --test-...`` logs in with the real SDKs and says what is wrong in a trader's words; files stay private."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers.discovery import specs
from tests.support.processes import CHECKOUT, clean_environment
from tests.support.stack import Stack

pytestmark = pytest.mark.timeout(300)

CHANGE = """
from credentials.models import CredentialStore
row = CredentialStore.objects.get(service={service!r})
row.{column} = {value!r}
row.save()
"""
FACES = {broker: face for face, broker in enumerate(specs())}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # Not made yet, so that the processes make it.
    stack = Stack(tmp_path_factory.mktemp("trials") / "home")
    try:
        stack.prepare()
        stack.start_simulators()
        yield stack
    finally:
        stack.stop()


def trial(stack: Stack, broker: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "manage.py", "setup_credentials", f"--test-{broker}"],
        cwd=CHECKOUT,
        env=clean_environment() | stack.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("broker", list(specs()))
def test_a_good_credential_logs_in_and_reads_the_margin(stack: Stack, broker: str) -> None:
    status, said = trial(stack, broker)
    assert status == 0, said
    assert "logged in, Rs " in said


@pytest.mark.parametrize(
    ("broker", "column", "value", "sentence"),
    [
        ("kotakneo", "totp_secret", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "Check the totp_secret"),
        ("kotakneo", "neo_password", "000001", "Check the MPIN"),
        ("breeze", "api_secret", "planted-other-secret", "do not belong together"),
    ],
)
def test_a_wrong_credential_is_named(stack: Stack, broker: str, column: str, value: str, sentence: str) -> None:
    read = f"from credentials.models import CredentialStore as C; print(C.objects.get(service={broker!r}).{column})"
    before = stack.manage("shell", "-v0", "-c", read).strip()
    stack.manage("shell", "-c", CHANGE.format(service=broker, column=column, value=value))
    status, said = trial(stack, broker)
    stack.manage("shell", "-c", CHANGE.format(service=broker, column=column, value=before))
    assert status == 1
    assert sentence in said
    assert value not in said


@pytest.mark.parametrize(
    ("broker", "sentence"), [("breeze", "takes no calls from this address"), ("kotakneo", "from this address")]
)
def test_an_address_that_is_not_registered_is_named(stack: Stack, broker: str, sentence: str) -> None:
    for endpoint in ("margin", "funds"):
        stack.control(FACES[broker], "POST", "faults", {"endpoint": endpoint, "kind": "static_ip", "count": 0})
    status, said = trial(stack, broker)
    stack.control(FACES[broker], "DELETE", "faults")
    assert status == 1
    assert sentence in said


def test_what_processes_write_is_their_owners_alone(stack: Stack) -> None:
    """Without the style sheets, which anybody may read, and what the test itself starts: queue, simulators, logs."""
    modes: dict[Path, int] = {}
    for folder, _, files in os.walk(stack.home):
        inside = Path(folder).relative_to(stack.home).parts
        if inside[:1] not in (("simulator",), ("static",), ("queue",), ("logs",)):
            modes |= {Path(folder, name): stat.S_IMODE(Path(folder, name).stat().st_mode) for name in files}
    assert {"keys", "home"} <= {path.parent.name for path in modes}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
    assert stat.S_IMODE((stack.home / "keys").stat().st_mode) == 0o700
