"""Credentials and the broker accounts they belong to."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from brokers.discovery import specs
from brokers.models import BrokerAccount
from credentials.models import CredentialStore
from credentials.validation import normalise


@sensitive_variables("values", "value")
def keep(service: str, name: str, values: Mapping[str, str]) -> CredentialStore:
    """Store what a person entered, and make the broker account if there is none. Columns not given stay.

    :raises ValidationError: a value is not what its column takes; nothing was written.
    """
    row = CredentialStore.objects.filter(service=service, name=name).first()
    is_new = row is None
    row = row or CredentialStore(service=service, name=name)
    for column, value in values.items():
        setattr(row, column, normalise(column, value))
    row.full_clean()
    with transaction.atomic():
        row.save(update_fields=None if is_new else list(values))
        open_account(service, name)
    return row


def open_account(service: str, name: str) -> None:
    """Make the broker account of a credential, if the service is a broker and there is none."""
    if service in specs():
        BrokerAccount.objects.get_or_create(broker=service, name=name)
