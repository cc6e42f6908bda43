"""A model field whose column holds ciphertext only.

``row.api_key`` decrypts when it is read. What lies in the instance's ``__dict__`` (as ``api_key_sealed``,
the field's ``attname``) is never a plain string: ``Sealed`` as stored, or ``Unsealed`` between an assignment
and the save. So reprs, pickles, serializers and debug pages have nothing to show.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from django import forms
from django.core.exceptions import FieldError, ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.text import capfirst
from django.views.decorators.debug import sensitive_variables

from credentials import keyring
from credentials.keyring import Place
from credentials.validation import check_text, normalise

if TYPE_CHECKING:
    _SecretField = models.Field[str | None, str]
else:
    _SecretField = models.Field

log = logging.getLogger("credentials")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as the database holds it."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Unsealed:
    """A secret that was assigned and not yet saved."""

    value: str = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret that is not saved yet is not pickled; save the credential first.")


class EncryptedField(_SecretField):
    """Text, encrypted at rest. Empty and None are the same: not set, stored as NULL, read as ``""``.

    ``bound_by`` names the columns that identify the row; its secrets open in that row only.
    """

    def __init__(
        self, *, bound_by: Sequence[str], check: Callable[[str], None] | None = None, help_text: str = "", **kwargs: Any
    ) -> None:
        self.bound_by = tuple(bound_by)
        self.check_value = check
        super().__init__(null=True, blank=True, help_text=help_text, **kwargs)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        # Help texts come from the brokers' specs; a new broker must not ask for a migration.
        for key in ("null", "blank", "help_text"):
            kwargs.pop(key, None)
        return name, path, args, {**kwargs, "bound_by": list(self.bound_by)}

    def get_internal_type(self) -> str:
        return "TextField"

    def get_attname(self) -> str:
        return f"{self.name}_sealed"

    def get_attname_column(self) -> tuple[str, str]:
        return self.get_attname(), self.db_column or self.name

    def contribute_to_class(self, cls: type[models.Model], name: str, private_only: bool = False) -> None:
        super().contribute_to_class(cls, name, private_only)
        setattr(cls, self.name, SecretAttribute(self))

    def place(self, instance: models.Model) -> Place:
        row = "/".join(str(getattr(instance, column)) for column in self.bound_by)
        return Place(model=instance._meta.label, field=self.name, row=row)

    @sensitive_variables()
    def reveal(self, instance: models.Model) -> str:
        """The secret itself, or ``""``.

        :raises DecryptError: no key opens it, or it belongs to another place.
        """
        held = getattr(instance, self.attname)
        if held is None:
            return ""
        return held.value if isinstance(held, Unsealed) else keyring.unseal(held.token, self.place(instance))

    def is_set(self, instance: models.Model) -> bool:
        return getattr(instance, self.attname) is not None

    # Into the database

    @sensitive_variables()
    def pre_save(self, model_instance: models.Model, add: bool) -> Sealed | None:
        held: Sealed | Unsealed | None = getattr(model_instance, self.attname)
        if isinstance(held, Unsealed):
            held = Sealed(keyring.seal(held.value, self.place(model_instance)))
            setattr(model_instance, self.attname, held)
        return held

    def get_prep_value(self, value: Any) -> str | None:
        if value is None or value == "":
            return None
        if isinstance(value, Sealed):
            return value.token
        raise TypeError(
            f"{self.name} is encrypted for its own row, so it cannot be written by update(), bulk_update() or in an "
            "expression; assign it to the object and save that."
        )

    def get_lookup(self, lookup_name: str) -> type[models.Lookup[Any]] | None:
        if lookup_name != "isnull":
            raise FieldError(
                f"{self.name} is encrypted and cannot be searched with {lookup_name!r}; only `isnull` works."
            )
        return super().get_lookup(lookup_name)

    # Out of the database, and through dumpdata and loaddata

    def from_db_value(self, value: str | None, expression: object, connection: BaseDatabaseWrapper) -> Sealed | None:
        return None if value is None else Sealed(value)

    def value_to_string(self, obj: models.Model) -> str:
        sealed = self.pre_save(obj, add=False)
        return sealed.token if sealed else ""

    def to_python(self, value: Any) -> Sealed | Unsealed | None:
        if value is None or value == "":
            return None
        if isinstance(value, (Sealed, Unsealed)):
            return value
        if isinstance(value, str) and value.startswith(keyring.CIPHERTEXT_START):
            return Sealed(value)
        raise ValidationError(
            f"{self.name} takes the ciphertext that dumpdata wrote, not a plain secret or a mask; "
            "enter secrets with `python manage.py setup_credentials`."
        )

    # Checking and forms

    def run_validators(self, value: Any) -> None:
        if isinstance(value, Unsealed) and self.check_value:
            self.check_value(value.value)

    def formfield(self, **kwargs: Any) -> forms.Field:
        kwargs.setdefault("widget", forms.PasswordInput(render_value=False))
        return SecretFormField(
            label=capfirst(self.verbose_name),
            help_text=self.help_text,
            column=self.name,
            widget=kwargs["widget"],
        )

    def value_from_object(self, obj: models.Model) -> Any:
        return getattr(obj, self.attname)

    def save_form_data(self, instance: models.Model, data: Any) -> None:
        if data:
            setattr(instance, self.name, data)


class SecretFormField(forms.CharField):
    """Write-only: it never shows what is stored, and left blank it changes nothing."""

    def __init__(self, *, column: str, **kwargs: Any) -> None:
        super().__init__(required=False, strip=True, validators=[partial(check_text, column)], **kwargs)
        self.column = column

    def clean(self, value: Any) -> str:
        return str(super().clean(normalise(self.column, value or "")))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data)


class SecretAttribute:
    """What makes ``row.api_key`` decrypt on reading, and check and hide what is assigned."""

    def __init__(self, secret: EncryptedField) -> None:
        self.field = secret

    @sensitive_variables()
    def __get__(self, instance: models.Model | None, owner: type[models.Model]) -> Any:
        if instance is None:
            return self
        if self.field.is_set(instance):
            log.info("secret read", extra={"secret": str(self.field.place(instance))})
        return self.field.reveal(instance)

    @sensitive_variables()
    def __set__(self, instance: models.Model, value: object) -> None:
        if value is None or value == "":
            held: Sealed | Unsealed | None = None
        elif isinstance(value, (Sealed, Unsealed)):
            held = value
        elif isinstance(value, str):
            check_text(self.field.name, value)
            held = Unsealed(value)
        else:
            raise TypeError(f"{self.field.name} takes text, not {type(value).__name__}.")
        setattr(instance, self.field.attname, held)


def secret_fields(model: type[models.Model]) -> Mapping[str, EncryptedField]:
    """A model's encrypted fields by name."""
    return {f.name: f for f in model._meta.concrete_fields if isinstance(f, EncryptedField)}
