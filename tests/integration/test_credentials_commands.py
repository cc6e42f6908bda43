"""The commands around credentials, as a person or a script uses them."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command

from brokers import factory, sessions
from brokers.adapter_interface import SessionGrant
from brokers.clock import SystemClock
from brokers.domain.enums import Mode
from brokers.domain.errors import LoginFailed, PersonNeeded
from brokers.models import BrokerAccount, SessionState
from credentials.management.commands import setup_credentials
from credentials.models import CredentialAccess, CredentialStore
from tests.support.processes import CHECKOUT, wait_for

pytestmark = pytest.mark.django_db

KOTAK = {
    "api_key": "planted-key",
    "mobile_number": "98765 43210",
    "ucc": "planted-ucc",
    "neo_password": "123456",
    "totp_secret": "jbsw y3dp ehpk 3pxp",
}


def run(*arguments: str) -> tuple[str, int]:
    """What the command printed and its exit status."""
    out = io.StringIO()
    try:
        call_command("setup_credentials", *arguments, stdout=out, stderr=out)
    except SystemExit as error:
        return out.getvalue(), int(str(error.code))
    return out.getvalue(), 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the person types, in order; each is taken by one hidden prompt."""
    answers: list[str] = []
    monkeypatch.setattr(setup_credentials, "getpass", lambda prompt: answers.pop(0))
    monkeypatch.setattr(sys, "stdin", Terminal())
    return answers


def test_what_is_typed_is_checked_stored_encrypted_and_never_shown(typed: list[str]) -> None:
    typed += ["planted-key", "12345", "9876543210", "planted-ucc", "123456", "jbsw y3dp ehpk 3pxp"] + [""] * 20
    text, status = run("--setup-kotakneo")
    assert status == 0
    assert "The mobile number is +91 and ten digits" in text
    assert "planted" not in text
    row = CredentialStore.objects.get()
    assert (row.api_key, row.mobile_number, row.totp_secret) == ("planted-key", "+919876543210", "JBSWY3DPEHPK3PXP")
    assert BrokerAccount.objects.get().name == "default"


def test_enter_keeps_what_is_set_and_changes_the_rest(typed: list[str]) -> None:
    typed += ["key", "secret"] + [""] * 20
    run("--setup-breeze", "--name", "prod")
    typed[:] = ["", "other"] + [""] * 20
    run("--setup-breeze", "--name", "prod")
    row = CredentialStore.objects.get(name="prod")
    assert (row.api_key, row.api_secret) == ("key", "other")


def test_a_needed_value_that_never_comes_stores_nothing(typed: list[str]) -> None:
    typed += [""] * 20
    with pytest.raises(CommandError, match="Stopped after 3 tries at api_key; nothing was stored"):
        run("--setup-breeze")
    typed[:] = []
    assert not CredentialStore.objects.exists()


def set_variables(monkeypatch: pytest.MonkeyPatch, service: str, values: dict[str, str]) -> None:
    for column, value in values.items():
        monkeypatch.setenv(f"MCUBE_{service}_{column}".upper(), value)


def test_scripts_bring_values_by_environment_and_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_variables(monkeypatch, "kotakneo", {**KOTAK, "api_key": ""})
    (tmp_path / "key").write_text("planted-from-file\n")
    monkeypatch.setenv("MCUBE_KOTAKNEO_API_KEY_FILE", str(tmp_path / "key"))
    text, status = run("--setup-kotakneo", "--from-env", "--json")
    assert (status, json.loads(text)["stored"]) == (0, list(KOTAK))
    assert CredentialStore.objects.get().api_key == "planted-from-file"
    assert "planted" not in text


def test_missing_wrong_or_unreadable_values_store_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="MCUBE_BREEZE_API_KEY, MCUBE_BREEZE_API_SECRET"):
        run("--setup-breeze", "--from-env")
    set_variables(monkeypatch, "kotakneo", {**KOTAK, "neo_password": "planted"})
    with pytest.raises(CommandError, match="The MPIN is six digits") as caught:
        run("--setup-kotakneo", "--from-env")
    assert "planted" not in str(caught.value)
    monkeypatch.setenv("MCUBE_KOTAKNEO_API_KEY_FILE", str(tmp_path))
    with pytest.raises(CommandError, match="MCUBE_KOTAKNEO_API_KEY_FILE: cannot read"):
        run("--setup-kotakneo", "--from-env")
    assert not CredentialStore.objects.exists()


def test_trendlyne_is_kept_too_and_is_no_broker_account(monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, "trendlyne", {"username": "u@example.com", "password": "planted"})
    assert run("--setup-trendlyne", "--from-env")[1] == 0
    assert CredentialStore.objects.get().password == "planted"
    assert not BrokerAccount.objects.exists()


def test_list_and_status_say_everything_but_the_values(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    assert run("--status") == ("There are no credentials.\n", 1)
    set_variables(monkeypatch, "kotakneo", {**KOTAK, "pan": ""})
    run("--setup-kotakneo", "--from-env")
    text, status = run("--list")
    assert (status, text) == (
        0,
        "kotakneo/default: api_key, neo_password, mobile_number, ucc, totp_secret set\n",
    )
    text, status = run("--status", "--json")
    assert (status, json.loads(text)[0]["missing"], json.loads(text)[0]["session"]) == (0, [], "NONE")
    assert "complete; session NONE" in run("--status")[0]
    CredentialStore.objects.create(service="breeze")
    text, status = run("--status")
    assert status == 1
    assert "breeze/default: missing api_key, api_secret;" in text
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert "no key opens api_key" in run("--status")[0]


def test_deleting_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    CredentialStore.objects.create(service="breeze", name="prod")
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    with pytest.raises(CommandError, match="Nothing was deleted"):
        run("--delete", "breeze", "--name", "prod")
    with pytest.raises(CommandError, match="no credentials of breeze/default"):
        run("--delete", "breeze")
    with pytest.raises(CommandError, match="choose one of breeze, kotakneo, trendlyne"):
        run("--delete", "nobody")
    monkeypatch.setattr(sys, "stdin", io.StringIO("breeze/prod\n"))
    assert run("--delete", "breeze", "--name", "prod")[1] == 0
    assert not CredentialStore.objects.exists()


def test_a_failed_trial_says_why_and_what_next(monkeypatch: pytest.MonkeyPatch) -> None:
    text, status = run("--test-breeze")
    assert status == 1
    assert "Credentials not found: run `python manage.py setup_credentials --setup-breeze`" in text

    class Gateway:
        account = BrokerAccount.objects.create(broker="breeze")

        def login(self) -> bool:
            raise PersonNeeded("Breeze needs a person.", login_url="https://broker.example/?api_key=planted")

    monkeypatch.setattr(factory.BrokerFactory, "get_broker", lambda broker, account: Gateway())
    text, status = run("--test-breeze", "--json")
    answer = json.loads(text)
    assert (status, answer["ok"], answer["error"], answer["message"]) == (
        1,
        False,
        "PersonNeeded",
        "Breeze needs a person.",
    )
    assert run("--test-breeze")[0].endswith("python manage.py session_token breeze\n")
    assert run("--test-breeze", "--name", "the second")[0].endswith(
        "python manage.py session_token breeze --name 'the second'\n"
    )


@pytest.mark.parametrize("pasted", ["87654321\n", "https://127.0.0.1/callback?apisession=87654321\n"])
def test_the_token_of_the_login_page_is_taken_pasted_or_as_the_whole_address(
    monkeypatch: pytest.MonkeyPatch, pasted: str
) -> None:
    account = BrokerAccount.objects.create(broker="breeze")
    secrets = {"api_key": "k", "api_secret": "s"}
    CredentialStore.objects.create(service="breeze", **secrets)
    page = "https://broker.example/login?api_key=k"
    clock = SystemClock()
    tokens = []

    def ensure(account: BrokerAccount, **_: object) -> sessions.Session:
        token = CredentialStore.objects.get().session_token
        tokens.append(token)
        if not token:
            raise PersonNeeded("A person is needed.", login_url=page)
        return sessions.Session(account_id=account.pk, version=1, grant=grant)

    grant = SessionGrant(session_token="t", expires_at=clock.now())
    monkeypatch.setattr(sessions, "ensure", ensure)
    monkeypatch.setattr(sys, "stdin", io.StringIO(pasted))
    out = io.StringIO()
    call_command("session_token", "ICICI", stdout=out)
    assert tokens == ["", "87654321"]
    assert page in out.getvalue()
    assert "87654321" not in out.getvalue()
    assert account.name == "default"
    assert CredentialAccess.objects.filter(actor="command session_token").exists()


def test_the_brokers_own_command_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    BrokerAccount.objects.create(broker="breeze", name="second")
    ends_at = SystemClock().now()
    session = sessions.Session(account_id=1, version=1, grant=SessionGrant(session_token="t", expires_at=ends_at))
    monkeypatch.setattr(sessions, "ensure", lambda account, **_: session if account.name == "second" else None)
    out = io.StringIO()
    call_command("breeze_token", "--name", "second", stdout=out)
    assert "breeze/second has a session until" in out.getvalue()


def test_a_refused_token_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    BrokerAccount.objects.create(broker="breeze")

    def ensure(*_: object, **__: object) -> sessions.Session:
        raise LoginFailed("Breeze refused.")

    monkeypatch.setattr(sessions, "ensure", ensure)
    with pytest.raises(CommandError, match=r"^Breeze refused\.$"):
        call_command("session_token", "breeze")
    with pytest.raises(CommandError, match="no broker 'nobody'"):
        call_command("session_token", "nobody")


def test_simulated_accounts_are_made_once_and_overwrite_nothing(settings: Any) -> None:
    own = {"api_key": "own"}
    CredentialStore.objects.create(service="breeze", **own)
    for _ in range(2):
        call_command("seed_simulated", verbosity=0)
    assert CredentialStore.objects.get(service="breeze").api_key == "own"
    assert CredentialStore.objects.get(service="kotakneo").totp_secret
    assert set(BrokerAccount.objects.values_list("broker", "name")) == {("breeze", "default"), ("kotakneo", "default")}
    assert not SessionState.objects.exists()
    settings.MODE = Mode.LIVE
    with pytest.raises(CommandError, match="live mode"):
        call_command("seed_simulated")


def test_rotating_by_command(settings: Any) -> None:
    secrets = {"api_key": "planted"}
    CredentialStore.objects.create(service="breeze", **secrets)
    new = Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [new, *settings.ENCRYPTION_KEYS]
    out = io.StringIO()
    call_command("rotate_encryption_key", stdout=out)
    settings.ENCRYPTION_KEYS = [new]
    assert CredentialStore.objects.get().api_key == "planted"
    assert out.getvalue().startswith("1 credentials and channels encrypted anew")
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(CommandError, match="cannot be decrypted"):
        call_command("rotate_encryption_key")


@pytest.mark.timeout(300)  # seven processes, each of which starts Django
def test_a_rotation_killed_half_way_is_finished_by_running_it_again(tmp_path: Path) -> None:
    """In processes and on a file of its own; somebody reads all the while."""
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    rows = 300
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MCUBE_")} | {
        "MCUBE_HOME": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'rotation.sqlite3'}",
        "MCUBE_ENCRYPTION_KEYS": old,
    }
    make = (
        "from credentials.models import CredentialStore as C; "
        f"[C.objects.create(service='trendlyne', name=f'n{{i}}', username=f'u{{i}}', password='p') for i in range({rows})]"
    )
    read = (
        "from credentials.models import CredentialStore as C; "
        f"assert sorted(c.username for c in C.objects.all()) == sorted(f'u{{i}}' for i in range({rows}))"
    )

    read_all_the_while = (
        "import pathlib; from credentials.models import CredentialStore as C; reads = 0\n"
        f"while not pathlib.Path({str(tmp_path / 'enough')!r}).exists():\n"
        f"    assert sorted(c.username for c in C.objects.all()) == sorted(f'u{{i}}' for i in range({rows})); reads += 1\n"
        "print(reads)"
    )

    def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)

    def by_key() -> Counter[str]:
        with closing(sqlite3.connect(tmp_path / "rotation.sqlite3")) as database:
            return Counter(
                key for (key,) in database.execute("SELECT key_fingerprint FROM credentials_credentialstore")
            )

    def left() -> int:
        return by_key()[first_key]

    assert manage("migrate", "-v0").returncode == 0
    assert manage("shell", "-c", make).returncode == 0
    (first_key,) = by_key()
    environment["MCUBE_ENCRYPTION_KEYS"] = f"{new},{old}"
    reader = subprocess.Popen(
        [sys.executable, "manage.py", "shell", "-c", read_all_the_while],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    rotation = subprocess.Popen([sys.executable, "manage.py", "rotate_encryption_key"], cwd=CHECKOUT, env=environment)
    wait_for(lambda: left() < rows - 20, "the rotation to be under way")
    rotation.kill()
    rotation.wait()
    assert 0 < left() < rows
    half_way = manage("shell", "-c", read)
    assert half_way.returncode == 0, half_way.stderr
    assert manage("rotate_encryption_key").returncode == 0
    assert left() == 0
    (tmp_path / "enough").touch()
    told, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0
    assert int(told.split()[-1]) > 1
    environment["MCUBE_ENCRYPTION_KEYS"] = new
    assert manage("shell", "-c", read).returncode == 0
