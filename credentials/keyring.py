"""Encryption of single values with rotating keys. It fails closed: what no key opens is an error.

A sealed value is a Fernet token over JSON that also names the model, the field and the row it belongs to,
so that a token moved to another column or another account does not open there.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.views.decorators.debug import sensitive_variables

FORMAT = 1
#: Every sealed value, a Fernet token, starts so: version 0x80 and the high bytes of its time, in base64.
CIPHERTEXT_START = "gAAAA"


class DecryptError(Exception):
    """A stored secret cannot be opened. Outside BrokerError so that nothing swallows it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a secret belongs."""

    model: str
    field: str
    #: The row's natural key, e.g. ``service/name``; known before the row is inserted, and the same on any machine.
    row: str

    def __str__(self) -> str:
        return f"{self.model}.{self.field} of {self.row}"


@sensitive_variables("value")
def seal(value: str, place: Place) -> str:
    """Encrypt ``value`` with the newest key, for this place only."""
    content = {"v": FORMAT, "model": place.model, "field": place.field, "row": place.row, "secret": value}
    return _multi(tuple(settings.ENCRYPTION_KEYS)).encrypt(json.dumps(content).encode()).decode()


@sensitive_variables("content")
def unseal(token: str, place: Place) -> str:
    """Decrypt a token that was sealed for ``place``.

    :raises DecryptError: no key opens it, or it was sealed for another place.
    """
    try:
        content = json.loads(_multi(tuple(settings.ENCRYPTION_KEYS)).decrypt(token.encode()))
    except InvalidToken:
        raise DecryptError(
            f"{place} cannot be decrypted with any key of MCUBE_ENCRYPTION_KEYS ({', '.join(fingerprints())}). "
            "Add the key it was written with, or delete what holds it (a credential with "
            "`python manage.py setup_credentials --delete SERVICE`) and set it up again."
        ) from None
    found = Place(model=content["model"], field=content["field"], row=content["row"])
    if found != place or content["v"] != FORMAT:
        raise DecryptError(
            f"{place} holds the secret of {found}: the row was renamed or tampered with outside mcube. "
            "Undo that, or delete the credential and set it up again."
        )
    return str(content["secret"])


def rotate(token: str) -> str:
    """The same token under the newest key.

    :raises InvalidToken: no key opens it.
    """
    return _multi(tuple(settings.ENCRYPTION_KEYS)).rotate(token.encode()).decode()


def is_newest(token: str) -> bool:
    """Whether the newest key wrote it."""
    try:
        _multi((settings.ENCRYPTION_KEYS[0],)).decrypt(token.encode())
    except InvalidToken:
        return False
    return True


def newest_fingerprint() -> str:
    """Which key encrypts now; not secret."""
    return fingerprints()[0]


def fingerprints() -> list[str]:
    """The configured keys by fingerprint, newest first."""
    return [hashlib.sha256(b"mcube key " + key.encode()).hexdigest()[:12] for key in settings.ENCRYPTION_KEYS]


@lru_cache(maxsize=4)
def _multi(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
