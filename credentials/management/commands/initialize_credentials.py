"""``manage.py initialize_credentials``: enter the credentials of every service that has none, one after another."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from credentials.models import CredentialStore
from credentials.services import services


class Command(BaseCommand):
    help = "Ask for the credentials of every service that has none; those that are there stay."

    def handle(self, *args: Any, **options: Any) -> None:
        lacking = [name for name in services() if not CredentialStore.objects.filter(service=name).exists()]
        for name in lacking:
            call_command("setup_credentials", f"--setup-{name}", stdout=self.stdout, stderr=self.stderr)
        if not lacking:
            self.stdout.write(
                "Every service has credentials; `python manage.py setup_credentials --status` shows them."
            )
