"""Writes what was mapped, all or nothing, and reads it back. What is stored already is never overwritten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from credentials.accounts import open_account
from credentials.importing.mapping import Mapped, map_credential
from credentials.importing.sources import OldData
from credentials.models import CredentialStore, ImportedReference
from credentials.store import Secrets


class ImportRefused(Exception):
    """The old data contradicts itself or is incomplete: nothing was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one old row."""

    #: ``service/name``.
    credential: str
    origin: str
    #: ``created``, ``completed``, ``unchanged`` or ``left out``.
    action: str
    #: Columns written.
    written: tuple[str, ...] = ()
    #: Columns where mcube holds another value, which stays.
    conflicts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@sensitive_variables()
def bring_over(data: OldData, *, dry_run: bool) -> list[Outcome]:
    """Store the credentials of ``data`` and keep its accounts and open positions for reference.

    With ``dry_run`` the same is done and taken back.

    :raises ImportRefused: a row is half-filled, or what was written does not read back; nothing was written.
    """
    mapped = [map_credential(old) for old in data.credentials]
    _refuse_half_filled(mapped)
    with transaction.atomic():
        held = {(row.service, row.name): row for row in CredentialStore.objects.all()}
        outcomes = [_bring(one, held.get((one.service, one.name))) for one in _first_of_each(mapped)]
        _verify(mapped, outcomes)
        _keep_references("account", data.accounts, key="account_number")
        _keep_references("position", data.positions, key="id")
        if dry_run:
            transaction.set_rollback(True)
    return outcomes


def _refuse_half_filled(mapped: Iterable[Mapped]) -> None:
    bad = [
        f"{one.origin} row {one.service}/{one.name}: {one.problem}" for one in mapped if "half-filled" in one.problem
    ]
    if bad:
        raise ImportRefused(
            f"{'; '.join(bad)}. Nothing was written; complete or delete {'it' if len(bad) == 1 else 'them'} in the old "
            "application and import again."
        )


def _first_of_each(mapped: Iterable[Mapped]) -> Iterable[Mapped]:
    """The present application's row goes before the older one's of the same name."""
    seen: set[tuple[str, str]] = set()
    for one in mapped:
        if not one.problem and (one.service, one.name) in seen:
            yield Mapped(
                origin=one.origin,
                service=one.service,
                name=one.name,
                values={},
                created_at=None,
                last_session_update=None,
                problem="another row of the same service and name comes before it",
            )
            continue
        seen.add((one.service, one.name))
        yield one


@sensitive_variables()
def _bring(one: Mapped, row: CredentialStore | None) -> Outcome:
    label = f"{one.service}/{one.name}"
    if one.problem:
        return Outcome(credential=label, origin=one.origin, action="left out", notes=(one.problem,))
    held = Secrets(row) if row else {}
    new = {column: value for column, value in one.values.items() if not held.get(column)}
    conflicts = [column for column, value in one.values.items() if held.get(column) and held[column] != value]
    action = "created" if row is None else "completed" if new else "unchanged"
    if new:
        row = _write(row or CredentialStore(service=one.service, name=one.name), new, one)
    present = row.set_columns() if row else []
    return Outcome(
        credential=label,
        origin=one.origin,
        action=action,
        written=tuple(sorted(new)),
        conflicts=tuple(sorted(conflicts)),
        notes=one.notes,
        missing=tuple(column for column in one.missing if column not in present),
    )


@sensitive_variables()
def _write(row: CredentialStore, values: Mapping[str, str], one: Mapped) -> CredentialStore:
    is_new = row.pk is None
    for column, value in values.items():
        setattr(row, column, value)
    row.save()
    times = {"created_at": one.created_at, "last_session_update": one.last_session_update}
    if is_new and any(times.values()):
        # Saving sets them to now.
        CredentialStore.objects.filter(pk=row.pk).update(**{name: at for name, at in times.items() if at})
    open_account(one.service, one.name)
    return row


@sensitive_variables()
def _verify(mapped: Iterable[Mapped], outcomes: Iterable[Outcome]) -> None:
    """Read everything back that was written.

    :raises ImportRefused: something is not as it was given.
    """
    stored = {str(row): Secrets(row) for row in CredentialStore.objects.all()}
    for one, outcome in zip(mapped, outcomes, strict=True):
        wrong = [column for column in outcome.written if stored[outcome.credential][column] != one.values[column]]
        if wrong:
            raise ImportRefused(
                f"{', '.join(wrong)} of {outcome.credential} did not read back as written; nothing was written."
            )


def _keep_references(kind: str, rows: Iterable[Mapping[str, Any]], *, key: str) -> None:
    for row in rows:
        ImportedReference.objects.update_or_create(
            kind=kind,
            key=str(row.get(key, "")),
            defaults={
                "content": {name: None if value is None else str(value) for name, value in row.items()},
                "imported_at": timezone.now(),
            },
        )
