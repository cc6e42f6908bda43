"""``manage.py session_token BROKER``: bring the day's token from the broker's login page to mcube."""

from __future__ import annotations

import sys
import time
from getpass import getpass
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.views.decorators.debug import sensitive_variables

from brokers import sessions
from brokers.clock import IST, configured_clock
from brokers.discovery import spec_of
from brokers.domain.errors import AccountNotFound, BrokerError, CredentialsNotFound, PersonNeeded, SDKMissing
from brokers.factory import find_account
from credentials.access import acting_as
from credentials.keyring import DecryptError

FAILURES = (AccountNotFound, BrokerError, CredentialsNotFound, DecryptError, SDKMissing)


class Command(BaseCommand):
    help = "Show a broker's login page and take back the token it ends with, for a broker that needs a person."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("broker", help="Name of the broker.")
        self.add_account_name(parser)

    def add_account_name(self, parser: CommandParser) -> None:
        parser.add_argument("--name", default="default", help="Which account of the broker.")

    def handle(self, *args: Any, broker: str, name: str, **options: Any) -> None:
        with acting_as("command session_token"):
            try:
                self._log_in(broker, name)
            except FAILURES as error:
                raise CommandError(str(error)) from error
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from error

    @sensitive_variables("token")
    def _log_in(self, broker: str, name: str) -> None:
        account = find_account(spec_of(broker).name, name)
        clock = configured_clock()
        sessions.try_again(account)
        try:
            session = sessions.ensure(account, clock=clock, wait=time.sleep)
        except PersonNeeded as error:
            self.stdout.write(f"Open this page and log in:\n  {error.login_url}")
            prompt = "Paste the token, or the whole address the page ended at (it is not shown): "
            token = getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline()
            sessions.give_token(account, token)
            session = sessions.ensure(account, clock=clock, wait=time.sleep)
        ends_at = session.grant.expires_at.astimezone(IST)
        self.stdout.write(f"Account {account} has a session until {ends_at:%d %b %H:%M} IST.")
