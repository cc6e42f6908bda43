"""Getting into the admin: password, second factor, the lock after failures, foreign hosts and foreign pages."""

from __future__ import annotations

import asyncio
import io
import logging
import re
from base64 import b32decode
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from asgiref.sync import sync_to_async
from axes.models import AccessAttempt, AccessLog
from cryptography.fernet import Fernet
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone
from django_otp.oath import totp
from pydantic import SecretStr

from credentials.keyring import DecryptError
from mcube.access import second_factor
from mcube.access.devices import RECOVERY_CODES, Authenticator, RecoveryCodes
from mcube.management.commands import prepare

pytestmark = pytest.mark.django_db

PASSWORD = "a-long-password"
INDEX, LOGIN, ENROL = "admin:index", "admin:login", second_factor.ENROL


@pytest.fixture(autouse=True)
def _surroundings(settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = settings.HOME = tmp_path
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def asha() -> User:
    return User.objects.create_superuser("asha", password=PASSWORD)


def log_in(client: Client, code: str = "", password: str = PASSWORD, **more: Any) -> Any:
    return client.post(reverse(LOGIN), {"username": "asha", "password": password, "otp_token": code}, **more)


def is_in(client: Client) -> bool:
    return client.get(reverse(INDEX)).status_code == 200


def code_of(user: User) -> str:
    """A code that was not used yet; a day of waiting for the next one is not what these tests are about."""
    Authenticator.objects.filter(user=user).update(last_t=-1, drift=0)
    return code_from(Authenticator.objects.get(user=user))


def code_from(device: Authenticator) -> str:
    return f"{totp(b32decode(device.key)):06d}"


def wrong_code(user: User) -> str:
    return f"{(int(code_of(user)) + 500_000) % 1_000_000:06d}"


def enrol(client: Client, user: User) -> list[str]:
    """Enrol whoever is logged in; returns the recovery codes."""
    client.post(reverse(ENROL), {"deed": "begin"})
    answer = client.post(reverse(ENROL), {"deed": "confirm", "otp_token": code_of(user)})
    listed = re.search(r'id="recovery-codes">(.*?)</ul>', answer.content.decode(), re.DOTALL)
    assert listed is not None, answer.content.decode()[-3000:]
    return re.findall(r"<li[^>]*>(\w+)</li>", listed[1])


# The second factor


def test_keys_and_recovery_codes_are_ciphertext_in_the_database_and_in_dumps(client: Client, asha: User) -> None:
    log_in(client)
    codes = enrol(client, asha)
    secrets = [Authenticator.objects.get().key, *codes]
    out = io.StringIO()
    call_command("dumpdata", stdout=out)
    with connections["default"].cursor() as cursor:
        for table in connections["default"].introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            out.write(repr(cursor.fetchall()))
    assert "authenticator" in out.getvalue()
    assert not [secret for secret in secrets if secret in out.getvalue()]


def test_keys_and_recovery_codes_rotate_with_the_credentials_keys(client: Client, asha: User, settings: Any) -> None:
    log_in(client)
    codes = enrol(client, asha)
    new = Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [new, *settings.ENCRYPTION_KEYS]
    call_command("rotate_encryption_key", stdout=io.StringIO())
    settings.ENCRYPTION_KEYS = [new]
    for code in (code_of(asha), codes[0]):
        other = Client()
        log_in(other, code)
        assert is_in(other)


def test_the_key_of_somebody_else_does_not_open(client: Client, asha: User) -> None:
    """Who can write into the database cannot give one person's key to another."""
    thief = User.objects.create_user("ravi")
    device = second_factor.begin(thief)
    second_factor.confirm(device)
    Authenticator.objects.filter(pk=device.pk).update(user=asha)
    with pytest.raises(DecryptError, match="holds the secret of"):
        log_in(client, code_from(device))
    assert not is_in(client)


def test_what_an_earlier_release_kept_as_text_comes_over_encrypted(client: Client, asha: User) -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    connection = connections["default"]
    with connection.cursor() as cursor:
        for statement in (
            "CREATE TABLE otp_totp_totpdevice (id integer, user_id integer, name text, confirmed boolean, key text, "
            "drift integer, last_t bigint)",
            "CREATE TABLE otp_static_staticdevice (id integer, user_id integer)",
            "CREATE TABLE otp_static_statictoken (id integer, device_id integer, token text)",
            f"INSERT INTO otp_totp_totpdevice VALUES (1, {asha.pk}, 'authenticator', true, '{key}', 0, -1)",
            f"INSERT INTO otp_static_staticdevice VALUES (1, {asha.pk})",
            "INSERT INTO otp_static_statictoken VALUES (1, 1, 'abcdefgh'), (2, 1, 'ijklmnop')",
        ):
            cursor.execute(statement)
    migration = import_module("mcube.migrations.0002_encrypt_second_factors")
    migration.encrypt(apps, SimpleNamespace(connection=connection))
    assert not {"otp_totp_totpdevice", "otp_static_statictoken"} & set(connection.introspection.table_names())
    for code in (f"{totp(bytes.fromhex(key)):06d}", "ijklmnop"):
        other = Client()
        log_in(other, code)
        assert is_in(other)
    assert second_factor.codes_left(asha) == 1
    migration.encrypt(apps, SimpleNamespace(connection=connection))  # where there is nothing to bring


def test_the_first_admin_s_password_is_held_to_what_people_s_are(settings: Any) -> None:
    settings.ENV = settings.ENV.model_copy(update={"admin_password": SecretStr("short")})
    with pytest.raises(CommandError, match=r"MCUBE_ADMIN_PASSWORD is refused: .*at least 12 characters"):
        prepare.make_admin()
    assert not User.objects.exists()

    settings.ENV = settings.ENV.model_copy(update={"admin_password": SecretStr(PASSWORD)})
    assert prepare.make_admin() == ""
    assert User.objects.get().check_password(PASSWORD)


def test_without_enrolment_the_password_is_enough(client: Client, asha: User) -> None:
    assert log_in(client).status_code == 302
    assert is_in(client)


def test_a_person_enrols_with_a_picture_or_a_key_and_one_code(client: Client, asha: User) -> None:
    log_in(client)
    client.post(reverse(ENROL), {"deed": "begin"})
    page = client.get(reverse(ENROL)).content.decode()
    device = Authenticator.objects.get()
    assert second_factor.spelled(device) in page
    assert "data:image/svg+xml;base64," in page
    answer = client.post(reverse(ENROL), {"deed": "confirm", "otp_token": wrong_code(asha)})
    assert "This code is wrong" in answer.content.decode()
    assert not Authenticator.objects.get().confirmed
    Authenticator.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    answer = client.post(reverse(ENROL), {"deed": "confirm", "otp_token": code_of(asha)})
    assert Authenticator.objects.get().confirmed
    assert second_factor.codes_left(asha) == RECOVERY_CODES
    assert is_in(client)


def test_neither_key_nor_recovery_codes_are_shown_again(client: Client, asha: User) -> None:
    log_in(client)
    codes = enrol(client, asha)
    device = Authenticator.objects.get()
    secrets = [device.key, second_factor.spelled(device), second_factor.spelled(device).replace(" ", ""), *codes]
    urls = [reverse(ENROL), reverse("admin:mcube_authenticator_changelist")]
    urls += [reverse(f"admin:mcube_authenticator_{page}", args=[device.pk]) for page in ("change", "delete", "history")]
    for url in urls:
        page = client.get(url).content.decode()
        assert not [secret for secret in secrets if secret in page], url
        assert "data:image/svg" not in page
    for missing in (
        f"/admin/mcube/authenticator/{device.pk}/qrcode/",
        f"/admin/mcube/authenticator/{device.pk}/config/",
    ):
        assert device.key not in client.get(missing, follow=True).content.decode()


def test_after_enrolment_each_login_asks_for_the_code(client: Client, asha: User) -> None:
    log_in(client)
    enrol(client, asha)
    client.post(reverse("admin:logout"))
    assert "Give the code" in log_in(client).content.decode()
    assert not is_in(client)
    page = log_in(client, wrong_code(asha)).content.decode()
    assert "This code is wrong" in page
    assert PASSWORD not in page
    assert not is_in(client)
    Authenticator.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    code = code_of(asha)
    assert log_in(client, code).status_code == 302
    assert is_in(client)
    other = Client()
    assert log_in(other, code).status_code == 200  # used before
    assert not is_in(other)


def test_a_code_without_the_password_is_nothing(client: Client, asha: User) -> None:
    log_in(client)
    enrol(client, asha)
    client.post(reverse("admin:logout"))
    log_in(client, code_of(asha), password="wrong")
    assert not is_in(client)


def test_the_code_of_somebody_else_is_wrong(client: Client, asha: User) -> None:
    log_in(client)
    enrol(client, asha)
    other = User.objects.create_superuser("ravi", password=PASSWORD)
    device = second_factor.begin(other)
    second_factor.confirm(device)
    client.post(reverse("admin:logout"))
    log_in(client, code_from(device))
    log_in(client, RecoveryCodes.objects.get(user=other).left[0])
    assert not is_in(client)


def test_a_recovery_code_lets_in_once(client: Client, asha: User) -> None:
    log_in(client)
    code = enrol(client, asha)[0]
    for expected in (True, False):
        other = Client()
        log_in(other, code)
        assert is_in(other) is expected
    assert second_factor.codes_left(asha) == RECOVERY_CODES - 1


def test_wrong_codes_slow_the_device_down(client: Client, asha: User) -> None:
    log_in(client)
    enrol(client, asha)
    client.post(reverse("admin:logout"))
    for _ in range(3):
        page = log_in(client, wrong_code(asha)).content.decode()
    assert "Too many wrong codes" in page
    log_in(client, code_of(asha))
    assert not is_in(client)


def test_sessions_from_before_the_enrolment_end(client: Client, asha: User) -> None:
    elsewhere = Client()
    log_in(elsewhere)
    assert is_in(elsewhere)
    log_in(client)
    enrol(client, asha)
    assert is_in(client)
    assert not is_in(elsewhere)
    assert elsewhere.post(reverse("admin:brokers_killswitch_changelist"), {"deed": "halt"}).status_code == 302


def test_changing_the_second_factor_needs_a_code_of_it(client: Client, asha: User) -> None:
    log_in(client)
    old = enrol(client, asha)
    key = Authenticator.objects.get().key
    for deed in ("begin", "codes", "remove"):
        client.post(reverse(ENROL), {"deed": deed})
        client.post(reverse(ENROL), {"deed": deed, "otp_token": "aaaaaaaa"})
    assert Authenticator.objects.get().key == key
    assert set(RecoveryCodes.objects.get().left) == set(old)
    client.post(reverse(ENROL), {"deed": "codes", "otp_token": code_of(asha)})
    assert not set(RecoveryCodes.objects.get().left) & set(old)
    client.post(reverse(ENROL), {"deed": "remove", "otp_token": code_of(asha)})
    assert not second_factor.is_enrolled(asha)
    assert is_in(client)


def test_another_authenticator_takes_the_place_of_the_first(client: Client, asha: User) -> None:
    log_in(client)
    enrol(client, asha)
    client.post(reverse(ENROL), {"deed": "begin", "otp_token": code_of(asha)})
    old, new = Authenticator.objects.get(confirmed=True), Authenticator.objects.get(confirmed=False)
    client.post(reverse(ENROL), {"deed": "confirm", "otp_token": code_from(new)})
    assert Authenticator.objects.get().key == new.key != old.key
    assert is_in(client)


def test_required_it_leads_to_the_enrolment_and_nowhere_else(client: Client, asha: User, settings: Any) -> None:
    settings.REQUIRE_SECOND_FACTOR = True
    log_in(client)
    for name in (INDEX, "admin:brokers_brokeraccount_changelist", "admin:password_change"):
        assert client.get(reverse(name)).headers["Location"] == reverse(ENROL)
        assert client.post(reverse(name), {"deed": "halt"}).headers["Location"] == reverse(ENROL)
    assert "nothing else is open to you" in client.get(reverse(ENROL)).content.decode()
    enrol(client, asha)
    assert is_in(client)
    assert client.post(reverse(ENROL), {"deed": "remove", "otp_token": code_of(asha)}).status_code == 403
    assert second_factor.is_enrolled(asha)


def test_a_lost_authenticator_is_taken_away_by_a_command(client: Client, asha: User, capsys: Any) -> None:
    second_factor.confirm(second_factor.begin(asha))
    call_command("reset_second_factor", "asha")
    assert not second_factor.is_enrolled(asha)
    assert "asha" in capsys.readouterr().out
    with pytest.raises(CommandError, match="no user"):
        call_command("reset_second_factor", "nobody")


# Throttling


def fail(client: Client, times: int, **more: Any) -> Any:
    for _ in range(times):
        answer = log_in(client, password="wrong", **more)
    return answer


def test_five_failures_lock_the_name_from_that_address_and_say_how_long(client: Client, asha: User) -> None:
    assert fail(client, 4).status_code == 200
    answer = fail(client, 1)
    assert answer.status_code == 429
    page = answer.content.decode()
    assert "Too many failed logins as asha from this address: it is refused until " in page
    assert "15 minutes from now" in page
    assert log_in(client).status_code == 429  # the right password
    assert not is_in(client)
    elsewhere = Client()
    assert log_in(elsewhere, REMOTE_ADDR="192.0.2.7").status_code == 302
    assert client.post(reverse(LOGIN), {"username": "ravi", "password": "wrong"}).status_code == 200


def test_another_browser_is_no_way_round_the_lock(client: Client, asha: User) -> None:
    for number in range(5):
        fail(client, 1, HTTP_USER_AGENT=f"browser {number}", HTTP_X_FORWARDED_FOR=f"192.0.2.{number}")
    assert log_in(client).status_code == 429


def test_the_lock_ends_by_itself_and_is_not_made_longer(client: Client, asha: User) -> None:
    start = timezone.now()
    with time_machine.travel(start, tick=False):
        fail(client, 5)
    with time_machine.travel(start + timedelta(minutes=14), tick=False):
        page = log_in(client, password="wrong").content.decode()
        assert "1 minute from now" in page
    with time_machine.travel(start + timedelta(minutes=15, seconds=1), tick=False):
        assert log_in(client).status_code == 302


def test_a_success_forgets_the_failures(client: Client, asha: User) -> None:
    fail(client, 4)
    log_in(client)
    assert not AccessAttempt.objects.exists()
    assert AccessLog.objects.get().username == "asha"


def test_somebody_is_unlocked_by_a_command(client: Client, asha: User) -> None:
    fail(client, 5)
    call_command("axes_reset_username", "asha")
    assert log_in(client).status_code == 302


def test_no_password_is_kept_of_a_failure(client: Client, asha: User, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        log_in(client, code="planted-code", password="planted-password")
    kept = repr(list(AccessAttempt.objects.values())) + caplog.text
    assert "planted" not in kept


@pytest.mark.django_db(transaction=True)
def test_the_lock_holds_under_an_asynchronous_server(asha: User) -> None:
    fail(Client(), 5)

    async def try_again() -> Any:
        form = {"username": "asha", "password": PASSWORD}
        answer = await AsyncClient().post(reverse(LOGIN), form)
        await sync_to_async(connections.close_all)()  # those of the thread that served it
        return answer

    answer = asyncio.run(try_again())
    assert answer.status_code == 429
    assert "Too many failed logins" in answer.content.decode()


# Sessions, hosts and foreign pages


def test_a_session_has_a_new_key_after_login_and_none_of_the_old_one_counts(client: Client, asha: User) -> None:
    client.get(reverse(LOGIN))
    session = client.session
    session["planted"] = 1
    session.save()
    fixed = str(session.session_key)
    client.cookies["sessionid"] = fixed
    log_in(client)
    assert client.cookies["sessionid"].value != fixed
    before = client.cookies["sessionid"].value
    enrol(client, asha)
    assert client.cookies["sessionid"].value != before
    thief = Client()
    thief.cookies["sessionid"] = before
    assert not is_in(thief)


def test_logging_out_is_a_post_and_ends_the_session(client: Client, asha: User) -> None:
    log_in(client)
    key = client.cookies["sessionid"].value
    assert client.get(reverse("admin:logout")).status_code == 405
    assert is_in(client)
    client.post(reverse("admin:logout"))
    thief = Client()
    thief.cookies["sessionid"] = key
    assert not is_in(thief)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "[::2]"])
def test_a_foreign_host_is_refused(client: Client, asha: User, settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = settings.ENV.allowed_hosts
    client.force_login(asha)
    for name in (INDEX, LOGIN, "admin:brokers_killswitch_changelist"):
        assert client.get(reverse(name), headers={"host": host}).status_code == 400
    assert client.get(reverse(INDEX), headers={"host": "127.0.0.1:8000"}).status_code == 200


@pytest.mark.parametrize("name", [LOGIN, ENROL, "admin:brokers_killswitch_changelist", "admin:logout"])
def test_a_post_from_a_foreign_page_is_refused(asha: User, name: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(asha)
    assert client.post(reverse(name), {"deed": "halt"}).status_code == 403
    token = client.get(reverse(INDEX)).cookies["csrftoken"].value
    form = {"deed": "begin", "csrfmiddlewaretoken": token}
    assert client.post(reverse(name), form, headers={"origin": "https://evil.example"}).status_code == 403
    assert client.post(reverse(name), form, headers={"origin": "null"}).status_code == 403


def test_the_way_on_after_a_login_leads_to_no_other_site(client: Client, asha: User) -> None:
    for address in ("https://evil.example/", "//evil.example", "javascript:alert(1)"):
        form = {"username": "asha", "password": PASSWORD, "next": address}
        answer = client.post(f"{reverse(LOGIN)}?next={address}", form)
        assert answer.status_code == 302
        assert "evil" not in answer.headers["Location"]
        assert "javascript" not in answer.headers["Location"]
        client.post(reverse("admin:logout"))
