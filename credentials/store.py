"""What the rest of mcube may ask of the credential store."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import models, transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from brokers.domain.errors import CredentialsNotFound
from credentials import access, keyring
from credentials.commands import setup_command
from credentials.fields import Sealed, secret_fields
from credentials.keyring import DecryptError
from credentials.models import CredentialStore
from credentials.services import WRITTEN_AT_LOGIN, services

if TYPE_CHECKING:
    from brokers.adapter_interface import SessionGrant

log = logging.getLogger("credentials")

#: The newest state of each credential that this process has read, still encrypted.
_newest: dict[tuple[str, str], CredentialStore] = {}


#: See :func:`stamp`.
Stamp = tuple[datetime, datetime | None, Sealed | None, Sealed | None]


class Secrets(Mapping[str, str]):
    """A credential's columns, each decrypted when it is looked up. Absent ones are empty strings.

    They follow the row: once this process has read a newer state of it, that one answers.
    """

    def __init__(self, row: CredentialStore) -> None:
        self._row = row
        self._fields = secret_fields(CredentialStore)

    @sensitive_variables()
    def __getitem__(self, column: str) -> str:
        newest = _newest.get((self._row.service, self._row.name))
        if newest is not None and newest.pk == self._row.pk and newest.updated_at >= self._row.updated_at:
            self._row = newest
        return self._fields[column].reveal(self._row)

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Secrets({self._row})"


def missing(row: CredentialStore) -> list[str]:
    """Required columns of the row's service that are not set."""
    service = services().get(row.service)
    present = row.set_columns()
    return [column for column in service.required if column not in present] if service else []


def credential(service: str, name: str) -> CredentialStore:
    """The row, complete.

    :raises CredentialsNotFound: there is none, or a required column is not set.
    """
    row = find(service, name)
    command = f"Credentials not found: run `{setup_command(service, name)}`."
    if row is None:
        raise CredentialsNotFound(f"{command} There are none for {service}/{name}.")
    if absent := missing(row):
        raise CredentialsNotFound(f"{command} Those of {service}/{name} lack {', '.join(absent)}.")
    return row


def secrets_of(service: str, name: str, *, purpose: str) -> Mapping[str, str]:
    """The credential's columns by name, decrypted one by one as they are looked up; the access is recorded.

    :raises CredentialsNotFound: there is none, or a required column is not set.
    """
    row = credential(service, name)
    access.record("READ", service=service, name=name, purpose=purpose, columns=row.set_columns())
    return Secrets(row)


def stamp(service: str, name: str) -> Stamp | None:
    """What differs whenever the row was changed or its session written; no secret is opened."""
    columns = ("updated_at", "login_used_at", "session_token_sealed", "sid_sealed")
    return CredentialStore.objects.order_by().filter(service=service, name=name).values_list(*columns).first()


def find(service: str, name: str) -> CredentialStore | None:
    """The row as it is now, or None."""
    row = CredentialStore.objects.filter(service=service, name=name).first()
    if row is not None:
        _newest[service, name] = row
    return row


@sensitive_variables()
def open_session(row: CredentialStore, *, purpose: str) -> tuple[str, str]:
    """Decrypt the stored session: token and sid. The access is recorded.

    :raises DecryptError: no key opens them.
    """
    access.record("READ", service=row.service, name=row.name, purpose=purpose, columns=WRITTEN_AT_LOGIN)
    secrets = Secrets(row)
    return secrets["session_token"], secrets["sid"]


@sensitive_variables("grant", "values")
def save_session(service: str, name: str, grant: SessionGrant, *, login_used_at: datetime) -> None:
    """Keep a login's tokens. ``login_used_at`` is the credential's ``updated_at`` as the login read it.

    Leaves ``updated_at`` alone, so that a change made by a person during the login is noticed after it.
    """
    values = {"session_token": grant.session_token, "sid": grant.sid}
    _write_session(service, name, values, login_used_at=login_used_at)


def clear_session(service: str, name: str) -> None:
    """Forget the tokens of the session; the next use logs in."""
    _write_session(service, name, dict.fromkeys(WRITTEN_AT_LOGIN, ""), login_used_at=None)


def note_login(service: str, name: str, *, login_used_at: datetime) -> None:
    """Remember that a login was tried with the values of ``login_used_at`` and failed."""
    CredentialStore.objects.filter(service=service, name=name).update(login_used_at=login_used_at)


@sensitive_variables("values")
def _write_session(service: str, name: str, values: Mapping[str, str], *, login_used_at: datetime | None) -> None:
    rows = CredentialStore.objects.filter(service=service, name=name)
    sealed = _seal(CredentialStore(service=service, name=name), values)
    rows.update(**sealed, login_used_at=login_used_at, last_session_update=timezone.now())
    # The rest of the row may be under another key; an empty fingerprint asks for a rotation.
    rows.exclude(key_fingerprint=keyring.newest_fingerprint()).update(key_fingerprint="")
    access.record(
        "SESSION",
        service=service,
        name=name,
        purpose="session written" if any(values.values()) else "session cleared",
        columns=WRITTEN_AT_LOGIN,
    )


def unreadable() -> list[str]:
    """One sentence for each stored secret that no configured key opens."""
    problems = []
    models_with_secrets: list[type[models.Model]] = [CredentialStore, *_other_models()]
    for model in models_with_secrets:
        for row in model._default_manager.all():
            for secret in secret_fields(model).values():
                try:
                    secret.reveal(row)
                except DecryptError as error:
                    problems.append(str(error))
    return problems


def rotate() -> int:
    """Encrypt every credential, and every other row with a secret, anew with the newest key; returns how many changed.

    Older keys must stay configured until this has run; readers never meet a row they cannot read, and a run
    that was ended half-way is finished by the next.

    :raises DecryptError: a secret opens with no configured key; the rows before it are done.
    """
    stale = CredentialStore.objects.exclude(key_fingerprint=keyring.newest_fingerprint())
    keys = list(stale.values_list("pk", flat=True))
    for key in keys:
        with transaction.atomic():
            row = CredentialStore.objects.select_for_update().get(pk=key)
            secrets = secret_fields(CredentialStore)
            sealed = _seal(row, {name: secret.reveal(row) for name, secret in secrets.items()})
            # Not save(): the values are the same, so sessions that hang on updated_at stay valid.
            CredentialStore.objects.filter(pk=key).update(**sealed, key_fingerprint=keyring.newest_fingerprint())
    return len(keys) + sum(_rotate_other(model) for model in _other_models())


def _other_models() -> list[type[models.Model]]:
    """What else keeps secrets in columns of its own."""
    return [model for model in apps.get_models() if model is not CredentialStore and secret_fields(model)]


def _rotate_other(model: type[models.Model]) -> int:
    """These rows are few and do not say which key they are under, so each is looked at."""
    changed = 0
    for key in list(model._default_manager.values_list("pk", flat=True)):
        with transaction.atomic():
            row = model._default_manager.select_for_update().get(pk=key)
            held = {name: getattr(row, secret.attname) for name, secret in secret_fields(model).items()}
            stale = {name: sealed for name, sealed in held.items() if sealed and not keyring.is_newest(sealed.token)}
            for name in stale:
                secret_fields(model)[name].reveal(row)
            fresh = {name: Sealed(keyring.rotate(sealed.token)) for name, sealed in stale.items()}
            changed += model._default_manager.filter(pk=key).update(**fresh) if fresh else 0
    return changed


@sensitive_variables("values", "secret")
def _seal(row: CredentialStore, values: Mapping[str, str]) -> dict[str, Sealed | None]:
    sealed = {}
    for column, value in values.items():
        setattr(row, column, value)
        sealed[column] = secret_fields(CredentialStore)[column].pre_save(row, add=False)
    return sealed
