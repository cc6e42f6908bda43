from typing import Any

from django.core.management.base import BaseCommand

from mcube import schedule


class Command(BaseCommand):
    help = "Add the schedules that are missing; what people changed in the admin stays as it is."

    def handle(self, *args: Any, **options: Any) -> None:
        added = schedule.seed()
        if options["verbosity"]:
            self.stdout.write(f"{added} schedules added, {len(schedule.TABLE) - added} were there.")
