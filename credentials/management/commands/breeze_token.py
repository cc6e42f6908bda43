"""``manage.py breeze_token``: :mod:`session_token` for the broker that this file is named after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from credentials.management.commands import session_token

BROKER = Path(__file__).stem.removesuffix("_token")


class Command(session_token.Command):
    def add_arguments(self, parser: CommandParser) -> None:
        self.add_account_name(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        super().handle(*args, **{**options, "broker": BROKER})
