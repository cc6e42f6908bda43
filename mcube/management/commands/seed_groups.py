"""``manage.py seed_groups``: groups to begin with. A group that is there stays as somebody made it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand

from mcube.access.groups import GROUPS, permissions_of


class Command(BaseCommand):
    help = "Make the groups viewer, trader, risk officer and administrator, as far as they are not there."

    def handle(self, *args: Any, **options: Any) -> None:
        for name in GROUPS:
            group, made = Group.objects.get_or_create(name=name)
            if made:
                group.permissions.set(permissions_of(name))
            if options["verbosity"]:
                self.stdout.write(f"{name}: {'made' if made else 'is there and stays as it is'}")
