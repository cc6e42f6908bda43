"""The credential pages of the admin: secrets go in and never come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from brokers.models import BrokerAccount
from credentials import store
from credentials.fields import secret_fields
from credentials.models import CredentialAccess, CredentialStore

pytestmark = pytest.mark.django_db

PLANTED = {name: f"planted-{name}" for name in secret_fields(CredentialStore)}


@pytest.fixture(autouse=True)
def _without_collected_files(settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path


@pytest.fixture
def row() -> CredentialStore:
    return CredentialStore.objects.create(service="kotakneo", **PLANTED)


def change_url(row: CredentialStore) -> str:
    return reverse("admin:credentials_credentialstore_change", args=[row.pk])


def test_no_page_shows_a_secret_nor_its_ciphertext(admin_client: Client, row: CredentialStore) -> None:
    store.secrets_of("kotakneo", "default", purpose="test")
    for url in (
        reverse("admin:credentials_credentialstore_changelist"),
        change_url(row),
        reverse("admin:credentials_credentialstore_history", args=[row.pk]),
        reverse("admin:credentials_credentialstore_delete", args=[row.pk]),
        reverse("admin:credentials_credentialaccess_changelist"),
    ):
        page = admin_client.get(url)
        assert page.status_code == 200
        text = page.content.decode()
        assert "planted-" not in text
        assert "gAAAA" not in text


def test_blank_keeps_a_secret_and_a_new_value_replaces_it(admin_client: Client, row: CredentialStore) -> None:
    form: Any = dict.fromkeys(PLANTED, "")
    answer = admin_client.post(change_url(row), {**form, "api_key": " new-key ", "mobile_number": "98765 43210"})
    assert answer.status_code == 302
    kept = CredentialStore.objects.get()
    assert (kept.api_key, kept.api_secret, kept.mobile_number) == ("new-key", "planted-api_secret", "+919876543210")
    change = CredentialAccess.objects.filter(action="CHANGE").first()
    assert change is not None
    assert (change.actor, change.columns) == ("user admin", ["api_key", "mobile_number"])


def test_a_bad_value_comes_back_as_a_sentence_without_the_value(admin_client: Client, row: CredentialStore) -> None:
    form: Any = dict.fromkeys(PLANTED, "")
    answer = admin_client.post(change_url(row), {**form, "neo_password": "bad-mpin", "api_key": "a\x07b"})
    assert answer.status_code == 200
    text = answer.content.decode()
    assert "The MPIN is six digits." in text
    assert "control character" in text
    assert "bad-mpin" not in text
    assert CredentialStore.objects.get().neo_password == "planted-neo_password"


def test_a_new_credential_brings_its_broker_account(admin_client: Client) -> None:
    form: Any = dict.fromkeys(PLANTED, "")
    url = reverse("admin:credentials_credentialstore_add")
    answer = admin_client.post(url, {**form, "service": "breeze", "name": "prod", "api_key": "k", "api_secret": "s"})
    assert answer.status_code == 302
    assert BrokerAccount.objects.get().name == "prod"


def test_a_session_is_cleared_by_post_from_its_page_only(admin_client: Client, row: CredentialStore) -> None:
    listed = reverse("admin:credentials_credentialstore_changelist")
    admin_client.post(listed, {"action": "clear_session", "_selected_action": [row.pk]})
    url = reverse("admin:credentials_credentialstore_clear_session", args=[row.pk])
    assert url in admin_client.get(change_url(row)).content.decode()
    assert "the next use logs in again" in admin_client.get(url).content.decode()
    assert CredentialStore.objects.get().session_token == "planted-session_token"
    assert admin_client.post(url, {"_form_submitted": "on"}).status_code == 302
    cleared = CredentialStore.objects.get()
    assert (cleared.session_token, cleared.sid, cleared.api_key) == ("", "", "planted-api_key")
