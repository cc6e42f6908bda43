"""Says which new column each old value belongs to. Pure: the old columns contradict the old documentation.

The rules, for a service that logs in with an MPIN: a PAN in ``username`` is the PAN and a number is the
mobile number; six digits in ``session_token`` were used as the MPIN, else those in ``neo_password`` are; a
JSON Web Token is a session and never an MPIN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.core.exceptions import ValidationError
from django.views.decorators.debug import sensitive_variables

from brokers.discovery import specs
from credentials import validation
from credentials.importing.sources import OldCredential
from credentials.models import CredentialStore
from credentials.services import Service, services

PAN = re.compile(r"[A-Za-z]{5}[0-9]{4}[A-Za-z]")
MPIN = re.compile(r"[0-9]{6}")
NUMBER = re.compile(r"(?:\+?91)?[6-9][0-9]{9}")
TOKEN = re.compile(r"[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mapped:
    """One credential as it is to be stored. Its repr shows no secret."""

    origin: str
    service: str
    name: str
    values: Mapping[str, str] = field(repr=False)
    created_at: datetime | None
    last_session_update: datetime | None
    #: What was decided, and what contradicts itself; no values.
    notes: tuple[str, ...] = ()
    #: Required columns that the old row has no value for.
    missing: tuple[str, ...] = ()
    #: Why the row cannot be taken over at all; empty when it can.
    problem: str = ""


@sensitive_variables()
def map_credential(old: OldCredential) -> Mapped:
    """Map one old row."""
    service = _service(old.service)
    if service is None:
        return _refused(old, f"mcube keeps no credentials of {old.service or 'a service without a name'!r}")
    values, notes = dict(old.secrets), []
    if "neo_password" in service.required:
        notes += _sort_out(values)
    values = {column: validation.normalise(column, value) for column, value in values.items()}
    notes += _drop_invalid(service, values)
    absent = tuple(column for column in service.required if column not in values)
    return Mapped(
        origin=old.origin,
        service=service.name,
        name=old.name or "default",
        values=values,
        created_at=old.created_at,
        last_session_update=old.last_session_update,
        notes=tuple(notes),
        missing=absent,
        problem=_problem(old.name or "default", service, values),
    )


@sensitive_variables()
def _problem(name: str, service: Service, values: Mapping[str, str]) -> str:
    try:
        validation.check_name(name)
    except ValidationError as error:
        return " ".join(error.messages)
    if not values:
        return "it holds no value at all"
    pair = {"api_key", "api_secret"}
    if pair <= set(service.required) and len(pair & set(values)) == 1:
        return f"it is half-filled: {(pair - set(values)).pop()} is missing"
    return ""


def _refused(old: OldCredential, problem: str) -> Mapped:
    return Mapped(
        origin=old.origin,
        service=old.service,
        name=old.name,
        values={},
        created_at=old.created_at,
        last_session_update=old.last_session_update,
        problem=problem,
    )


def _service(text: str) -> Service | None:
    """The service by any name that the old applications wrote."""
    word = text.strip()
    if word.lower() in services():
        return services()[word.lower()]
    for spec in specs().values():
        if word.upper() in spec.aliases:
            return services()[spec.name]
    return None


@sensitive_variables()
def _sort_out(values: dict[str, str]) -> list[str]:
    """Put the values of a login by MPIN where they belong; says what contradicts."""
    notes = []
    login = values.pop("username", "")
    if PAN.fullmatch(login):
        if values.get("pan", login).upper() != login.upper():
            notes.append("username and pan hold different PANs; the one in username was in use and is kept")
        values["pan"] = login
    elif NUMBER.fullmatch(login):
        values["mobile_number"] = login
    elif login:
        values["username"] = login
    token, stored = values.get("session_token", ""), values.pop("neo_password", "")
    if MPIN.fullmatch(token):
        del values["session_token"]
        values["neo_password"] = token
        if MPIN.fullmatch(stored) and stored != token:
            notes.append(
                "session_token and neo_password hold different six digits; the one in session_token was in use and "
                "is kept as the MPIN, unless it was a one-time password: check it"
            )
    elif MPIN.fullmatch(stored):
        values["neo_password"] = stored
    elif TOKEN.fullmatch(stored):
        notes.append("neo_password holds a session's token, which is no MPIN")
    elif stored:
        notes.append("neo_password is not six digits, so it is not taken as the MPIN")
    for column in ("session_token", "sid"):
        if column in values and not TOKEN.fullmatch(values[column]):
            del values[column]
            notes.append(f"{column} is neither an MPIN nor a session's token, and is left out")
    return notes


@sensitive_variables()
def _drop_invalid(service: Service, values: dict[str, str]) -> list[str]:
    """Take out what its column does not take; says which and why."""
    try:
        CredentialStore(service=service.name, **values).clean_fields()
    except ValidationError as error:
        for column in error.message_dict:
            del values[column]
        return [f"{column} is left out: {' '.join(words)}" for column, words in error.message_dict.items()]
    return []
