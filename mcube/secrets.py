"""Keys that mcube makes for itself: once, into ``MCUBE_HOME``, readable by the owner only."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from cryptography.fernet import Fernet

if TYPE_CHECKING:
    from mcube.environment import Environment


SIGNING_KEY_CHARACTERS = 32


def keep(path: Path, make: Callable[[], str]) -> str:
    """Return the secret in ``path``, making it on first use with mode 0600.

    Two processes that start together end with the same secret: the file appears whole or not at all.

    :raises SystemExit: the folder cannot be made, read or written; the sentence names MCUBE_HOME.
    """
    try:
        return _keep(path, make)
    except OSError as error:
        raise SystemExit(
            f"MCUBE_HOME: {path} cannot be used: {error.strerror}; set MCUBE_HOME to a folder you may write to."
        ) from error


def _keep(path: Path, make: Callable[[], str]) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()


def secret_key(env: Environment) -> str:
    """Django's secret key."""
    return env.secret_key.get_secret_value() or keep(
        env.home / "keys" / "secret-key", lambda: secrets.token_urlsafe(50)
    )


def encryption_keys(env: Environment) -> list[str]:
    """Fernet keys, newest first.

    :raises SystemExit: a key is not a Fernet key.
    """
    text = env.encryption_keys.get_secret_value() or keep(
        env.home / "keys" / "encryption-keys", lambda: Fernet.generate_key().decode()
    )
    keys = _listed(text)
    for position, key in enumerate(keys, start=1):
        try:
            Fernet(key.encode())
        except ValueError as error:
            raise SystemExit(
                f"MCUBE_ENCRYPTION_KEYS: key {position} is not a Fernet key (32 bytes in URL-safe base64)."
            ) from error
    return keys


def signing_keys(env: Environment) -> list[str]:
    """Keys that sign messages, newest first; none when messages are not signed.

    :raises SystemExit: a key is short.
    """
    if not env.sign_messages:
        return []
    keys = _listed(
        env.signing_keys.get_secret_value()
        or keep(env.home / "keys" / "signing-keys", lambda: secrets.token_urlsafe(SIGNING_KEY_CHARACTERS))
    )
    for position, key in enumerate(keys, start=1):
        if len(key) < SIGNING_KEY_CHARACTERS:
            raise SystemExit(
                f"MCUBE_SIGNING_KEYS: key {position} is shorter than {SIGNING_KEY_CHARACTERS} characters; make one with "
                '`python -c "import secrets; print(secrets.token_urlsafe(32))"`.'
            )
    return keys


def redis_url(env: Environment) -> str:
    """The configured Redis with what TLS needs, or the embedded Valkey with the password kept in ``MCUBE_HOME``.

    A ``rediss://`` server's certificate and name are always checked.
    """
    if url := env.redis_url.get_secret_value():
        files = {
            "ssl_ca_certs": env.redis_ca_file,
            "ssl_certfile": env.redis_certificate_file,
            "ssl_keyfile": env.redis_key_file,
        }
        options = urlencode({name: str(path) for name, path in files.items() if path})
        return f"{url}{'&' if '?' in url else '?'}{options}" if options else url
    password = keep(env.home / "keys" / "redis-password", lambda: secrets.token_urlsafe(24))
    return f"redis://:{password}@127.0.0.1:{env.redis_port}/0"


def flower_password(env: Environment) -> str:
    return env.flower_password.get_secret_value() or keep(
        env.home / "keys" / "flower-password", lambda: secrets.token_urlsafe(16)
    )


def _listed(text: str) -> list[str]:
    return [key.strip() for key in text.replace("\n", ",").split(",") if key.strip()]
