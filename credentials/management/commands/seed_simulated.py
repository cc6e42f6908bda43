"""``manage.py seed_simulated``: an account at every simulated broker. Safe to repeat; overwrites nothing."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from credentials.seed import seed_simulated


class Command(BaseCommand):
    help = "Make the simulated account of every broker that has none."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = seed_simulated()
        except RuntimeError as error:
            raise CommandError(str(error)) from error
        if options["verbosity"]:
            self.stdout.write(f"Made {', '.join(made)}." if made else "Every broker has its simulated account.")
