"""Who touches credentials now, and the record of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.utils import timezone

#: The permission to log in and to end sessions; nothing of a credential is shown or changed by it.
USE = "credentials.use_credentialstore"

_actor: ContextVar[str] = ContextVar("credential_actor", default="")


@contextmanager
def acting_as(who: str) -> Iterator[None]:
    """Inside, accesses are recorded under this name, e.g. ``user anita`` or ``command session_token``."""
    token = _actor.set(who)
    try:
        yield
    finally:
        _actor.reset(token)


def actor() -> str:
    """The name set by :func:`acting_as`, else this process."""
    return _actor.get() or f"process {socket.gethostname()}:{os.getpid()}"


def is_by_hand() -> bool:
    """Whether a person or a person's command acts now, rather than a process by itself."""
    return bool(_actor.get())


def record(action: str, *, service: str, name: str, purpose: str, columns: Iterable[str] = ()) -> None:
    """Append one row. It names columns, never their values."""
    from credentials.models import CredentialAccess

    CredentialAccess.objects.create(
        at=timezone.now(),
        action=action,
        service=service,
        name=name,
        actor=actor()[:128],
        purpose=purpose[:200],
        columns=sorted(columns),
    )
