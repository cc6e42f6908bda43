"""``manage.py rotate_encryption_key``: encrypt every secret with the newest key. Safe to repeat."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from credentials import keyring, store
from credentials.keyring import DecryptError


class Command(BaseCommand):
    help = (
        "Encrypt every credential and alert channel with the first key of MCUBE_ENCRYPTION_KEYS. Put the new key first, keep the old "
        "ones behind it, restart, run this, then take the old keys away."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            done = store.rotate()
        except DecryptError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{done} credentials and channels encrypted anew with key {keyring.newest_fingerprint()}.")
