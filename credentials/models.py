"""The secrets of accounts, and the record of who used them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, NoReturn

from django.db import models
from django.db.models import Case, Value, When

from credentials import access, keyring, validation
from credentials.fields import EncryptedField, Sealed, Unsealed, secret_fields
from credentials.services import hint, service_choices


def _secret(column: str, general: str, check: Callable[[str], None] | None = None) -> EncryptedField:
    return EncryptedField(bound_by=("service", "name"), check=check, help_text=hint(column, general))


class CredentialStore(models.Model):
    """What one account needs to log in to one service, and its session of today.

    Every secret is encrypted at rest and decrypted when it is read. Service and name are part of the
    encryption, so they do not change.
    """

    service = models.CharField(max_length=50, choices=service_choices)
    name = models.CharField(
        max_length=64,
        default="default",
        validators=[validation.check_name],
        help_text="Which account of the service it is.",
    )
    api_key = _secret("api_key", "Key of the API application")
    api_secret = _secret("api_secret", "Secret of the API application")
    username = _secret("username", "Name of the login")
    password = _secret("password", "Password of the login")
    neo_password = _secret("neo_password", "MPIN, six digits", validation.check_mpin)
    pan = _secret("pan", "Permanent account number", validation.check_pan)
    session_token = _secret("session_token", "Token of today's session. Cleared, it forces a new login")
    sid = _secret("sid", "Second part of today's session")
    mobile_number = _secret("mobile_number", "Registered mobile number, +91 and ten digits", validation.check_mobile)
    ucc = _secret("ucc", "Client code at the broker")
    totp_secret = _secret(
        "totp_secret", "Secret of the authenticator, shown beside its QR code", validation.check_totp_secret
    )
    static_ip = _secret(
        "static_ip", "Address that the broker expects this account's orders from", validation.check_address
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    last_session_update = models.DateTimeField(null=True, blank=True, help_text="When the session was last written.")
    #: ``updated_at`` of the values that the last login used; another value means that somebody changed them since.
    login_used_at = models.DateTimeField(null=True, editable=False)
    #: Which key the whole row is encrypted with, so that a rotation knows what is left.
    key_fingerprint = models.CharField(max_length=16, blank=True, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["service", "name"], name="one_credential_per_service_and_name")]
        ordering = ["service", Case(When(name="default", then=Value(0)), default=Value(1)), "name"]
        verbose_name = "credential"
        permissions = [("use_credentialstore", "Can use credentials: log in, test, end sessions")]

    def __str__(self) -> str:
        return f"{self.service}/{self.name}"

    #: Service and name as stored; None while they are not loaded or the row is new.
    _identity: tuple[str, str] | None = None

    def save(
        self,
        *,
        force_insert: bool | tuple[models.base.ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Encrypt what was assigned, with the newest key, and record who changed what.

        :raises ValueError: service or name of a stored row was changed.
        :raises DecryptError: the row is under an older key, which is not configured any more.
        """
        if self._identity not in (None, (self.service, self.name)):
            raise ValueError(
                f"A credential keeps its service and name, since its encryption contains them; set up {self} anew and "
                f"delete {'/'.join(self._identity or ())}."
            )
        secrets = secret_fields(type(self))
        changed = [name for name, secret in secrets.items() if isinstance(self.__dict__.get(secret.attname), Unsealed)]
        if not self._state.adding and self.key_fingerprint != keyring.newest_fingerprint():
            for name, secret in secrets.items():
                setattr(self, name, secret.reveal(self))
            update_fields = update_fields and {*update_fields, *secrets}
        if update_fields is not None:
            update_fields = {*update_fields, "updated_at", "key_fingerprint"}
        self.key_fingerprint = keyring.newest_fingerprint()
        super().save(force_insert=force_insert, force_update=force_update, using=using, update_fields=update_fields)
        self._remember_identity()
        access.record("CHANGE", service=self.service, name=self.name, purpose="saved", columns=changed)

    @classmethod
    def from_db(
        cls, db: str | None, field_names: Collection[str], values: Collection[Any], **kwargs: Any
    ) -> CredentialStore:
        row = super().from_db(db, field_names, values, **kwargs)
        row._remember_identity()
        return row

    @property
    def is_unchanged_since_login(self) -> bool:
        """Nobody has changed the row since the last login, successful or not, read it."""
        return self.login_used_at == self.updated_at

    def sealed(self, column: str) -> Sealed | None:
        """A secret as stored, unopened; None when it is not set."""
        held = getattr(self, secret_fields(type(self))[column].attname)
        return held if isinstance(held, Sealed) else None

    def set_columns(self) -> list[str]:
        """Names of the secrets that are set; opens none of them."""
        return [name for name, secret in secret_fields(type(self)).items() if secret.is_set(self)]

    def _remember_identity(self) -> None:
        if {"service", "name"} <= self.__dict__.keys():
            self._identity = (self.service, self.name)


class _AppendOnly(models.QuerySet["CredentialAccess"]):
    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("The record of accesses is append-only.")

    def delete(self) -> NoReturn:
        raise TypeError("The record of accesses is append-only.")


class CredentialAccess(models.Model):
    """One use or change of a credential: who, when, why, which columns. Never a value, and never edited."""

    class Action(models.TextChoices):
        READ = "READ", "handed out"
        CHANGE = "CHANGE", "changed"
        SESSION = "SESSION", "session written or cleared"
        DELETE = "DELETE", "deleted"

    at = models.DateTimeField(db_index=True)
    action = models.CharField(max_length=8, choices=Action)
    service = models.CharField(max_length=50)
    name = models.CharField(max_length=64)
    #: User, task or process.
    actor = models.CharField(max_length=128)
    purpose = models.CharField(max_length=200)
    columns = models.JSONField(default=list)

    objects = _AppendOnly.as_manager()

    class Meta:
        ordering = ["-at", "-id"]
        verbose_name = "credential access"
        verbose_name_plural = "credential accesses"

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.action} {self.service}/{self.name} by {self.actor}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("The record of accesses is append-only.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("The record of accesses is append-only.")


class ImportedReference(models.Model):
    """An account or an open position of an old application, kept as it was, for a person to look at."""

    kind = models.CharField(max_length=16)
    #: The old application's key of it.
    key = models.CharField(max_length=100)
    content = models.JSONField()
    imported_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "key"], name="one_reference_per_old_row")]
        ordering = ["kind", "key"]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"
