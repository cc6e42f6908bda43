"""Why Redis cannot be used, in words that say what to do."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """``what`` follows the server's name; ``remedy`` is a sentence. Neither holds a secret."""

    what: str
    remedy: str


def find() -> Trouble | None:
    """What is wrong with the server that ``MCUBE_REDIS_URL`` names; None when it takes us and answers."""
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=SECONDS,
            socket_connect_timeout=SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            client.ping()
    except (redis.RedisError, ssl.SSLError, OSError) as error:
        return explain(error)
    return None


def explain(error: BaseException) -> Trouble:
    """An error of Redis's client as one clear sentence."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Trouble(
                what=f"shows a certificate that is not accepted ({cause.verify_message.rstrip('.')})",
                remedy="Let MCUBE_REDIS_CA_FILE name the authority that signed it, and MCUBE_REDIS_URL the host it was made out to.",
            )
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            reason = (cause.reason or "no reason given").replace("_", " ").lower()
            return Trouble(
                what=f"and mcube do not agree on TLS ({reason})",
                remedy="See that the port speaks TLS and, if the server asks for a certificate, that "
                "MCUBE_REDIS_CERTIFICATE_FILE and MCUBE_REDIS_KEY_FILE name one that it takes.",
            )
    if any(isinstance(cause, redis.AuthenticationError) for cause in causes):
        return Trouble(
            what="refuses the user or the password",
            remedy="Write both into MCUBE_REDIS_URL, as redis://user:password@host:port/0; docs/redis.md says how the user is made.",
        )
    if any(isinstance(cause, redis.exceptions.NoPermissionError) for cause in causes):
        return Trouble(
            what="does not let this user do what mcube needs",
            remedy="Give the user the permissions that docs/redis.md lists.",
        )
    return Trouble(
        what=f"does not answer ({type(error).__name__})",
        remedy="Run `make up`, which starts one, or start the server that MCUBE_REDIS_URL names, or mend the address.",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from or during."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
