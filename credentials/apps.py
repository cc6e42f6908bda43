from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_delete


class CredentialsConfig(AppConfig):
    name = "credentials"
    verbose_name = "Credentials"

    def ready(self) -> None:
        post_delete.connect(_record_deletion, sender="credentials.CredentialStore", dispatch_uid="credential deleted")


def _record_deletion(instance: Any, **kwargs: object) -> None:
    from credentials import access

    access.record("DELETE", service=instance.service, name=instance.name, purpose="deleted")
