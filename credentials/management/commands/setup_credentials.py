"""``manage.py setup_credentials``: bring credentials in, look after them, try them."""

from __future__ import annotations

import json
import os
import sys
from getpass import getpass
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.views.decorators.debug import sensitive_variables

from brokers.domain.errors import AccountNotFound, BrokerError, CredentialsNotFound, PersonNeeded, SDKMissing
from credentials import accounts, reports
from credentials.access import acting_as
from credentials.commands import login_command, trial_command
from credentials.fields import secret_fields
from credentials.keyring import DecryptError
from credentials.models import CredentialStore
from credentials.services import Service, services
from credentials.validation import normalise, secret_in

#: A mistyped value is asked for again this often.
TRIES = 3


class Command(BaseCommand):
    help = "Bring credentials in, list them, delete them, and try them at the broker."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        for service in services().values():
            what.add_argument(
                f"--setup-{service.name}",
                dest="setup",
                action="store_const",
                const=service.name,
                help=f"Enter the credentials of {service.verbose_name}.",
            )
        what.add_argument("--list", action="store_true", help="List the credentials and what is set.")
        what.add_argument("--status", action="store_true", help="What is missing, sessions, last use.")
        what.add_argument("--delete", metavar="SERVICE", help="Delete the credentials of a service, after asking.")
        for service in services().values():
            if service.is_broker:
                what.add_argument(
                    f"--test-{service.name}",
                    dest="test",
                    action="store_const",
                    const=service.name,
                    help=f"Log in to {service.verbose_name} and read the margin.",
                )
        parser.add_argument("--name", default="default", help="Which account of the service.")
        parser.add_argument(
            "--from-env",
            action="store_true",
            help="Take the values from MCUBE_<SERVICE>_<COLUMN>, or the file named by MCUBE_<SERVICE>_<COLUMN>_FILE.",
        )
        parser.add_argument("--json", action="store_true", help="Answer in JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        with acting_as("command setup_credentials"):
            if options["setup"]:
                self._set_up(services()[options["setup"]], options)
            elif options["list"]:
                self._list(as_json=options["json"])
            elif options["status"]:
                self._status(as_json=options["json"])
            elif options["delete"]:
                self._delete(options["delete"], options["name"])
            else:
                self._test(services()[options["test"]], options)

    # Setting up

    @sensitive_variables("values")
    def _set_up(self, service: Service, options: dict[str, Any]) -> None:
        name = options["name"]
        row = CredentialStore.objects.filter(service=service.name, name=name).first()
        present = row.set_columns() if row else []
        values = _from_environment(service) if options["from_env"] else self._ask(service, name, present)
        if absent := [column for column in service.required if column not in values and column not in present]:
            told = [_variable(service, column) if options["from_env"] else column for column in absent]
            raise CommandError(f"Nothing was stored: {service.verbose_name} also needs {', '.join(told)}.")
        if not values:
            self._say(options, {"service": service.name, "name": name, "stored": []}, "Nothing was changed.")
            return
        try:
            accounts.keep(service.name, name, values)
        except ValidationError as error:
            raise CommandError(f"Nothing was stored. {_sentences(error)}") from None
        text = f"Stored {', '.join(values)} of {service.name}/{name}, encrypted."
        if service.is_broker:
            text += f"\nTry them: {trial_command(service.name, name)}"
        self._say(options, {"service": service.name, "name": name, "stored": list(values)}, text)

    @sensitive_variables()
    def _ask(self, service: Service, name: str, present: list[str]) -> dict[str, str]:
        if not sys.stdin.isatty():
            raise CommandError("There is no terminal to ask at; use --from-env.")
        self.stdout.write(f"Credentials of {service.verbose_name}, account {name}. What you type is not shown.")
        values = {}
        try:
            for column in service.columns:
                if value := self._ask_one(service, column, is_set=column in present):
                    values[column] = value
        except (EOFError, KeyboardInterrupt):
            raise CommandError("Stopped; nothing was stored.") from None
        return values

    @sensitive_variables()
    def _ask_one(self, service: Service, column: str, *, is_set: bool) -> str:
        needed = column in service.required and not is_set
        state = "set; Enter keeps it" if is_set else "needed" if needed else "Enter leaves it out"
        explanation = service.hints.get(column) or secret_fields(CredentialStore)[column].help_text
        for _ in range(TRIES):
            value = normalise(column, getpass(f"{column} ({state}; {explanation}): "))
            try:
                if value:
                    CredentialStore(service=service.name, **{column: value}).full_clean(
                        exclude=["name"], validate_unique=False, validate_constraints=False
                    )
                if value or not needed:
                    return value
                self.stderr.write(f"{column} is needed.")
            except ValidationError as error:
                self.stderr.write(_sentences(error))
        raise CommandError(f"Stopped after {TRIES} tries at {column}; nothing was stored.")

    # Looking after them

    def _list(self, *, as_json: bool) -> None:
        rows = reports.listing()
        lines = [f"{row['service']}/{row['name']}: {', '.join(row['set']) or 'nothing'} set" for row in rows]
        self._say({"json": as_json}, rows, "\n".join(lines) or "There are no credentials.")

    def _status(self, *, as_json: bool) -> None:
        rows = reports.status()
        lines = [_status_line(row) for row in rows]
        self._say({"json": as_json}, rows, "\n".join(lines) or "There are no credentials.")
        if not rows or any(row["missing"] or row["unreadable"] for row in rows):
            sys.exit(1)

    def _delete(self, service: str, name: str) -> None:
        if service not in services():
            raise CommandError(f"There is no service {service!r}; choose one of {', '.join(services())}.")
        row = CredentialStore.objects.filter(service=service, name=name).first()
        if row is None:
            raise CommandError(f"There are no credentials of {service}/{name}.")
        self.stdout.write(f"This deletes the credentials of {row} for good. Type {row} to go on: ", ending="")
        self.stdout.flush()
        if sys.stdin.readline().strip() != str(row):
            raise CommandError("Nothing was deleted.")
        row.delete()
        self.stdout.write(f"Deleted the credentials of {row}.")

    # Trying them

    def _test(self, service: Service, options: dict[str, Any]) -> None:
        from brokers import sessions
        from brokers.factory import BrokerFactory

        name = options["name"]
        answer: dict[str, Any] = {"service": service.name, "name": name, "ok": False}
        try:
            broker = BrokerFactory.get_broker(service.name, name)
            sessions.try_again(broker.account)
            broker.login()
            margin = broker.get_margin()
        except (AccountNotFound, BrokerError, CredentialsNotFound, DecryptError, SDKMissing) as error:
            text = f"{service.verbose_name}, account {name}: {error}"
            if isinstance(error, PersonNeeded):
                text += f"\nLog in with: {login_command(service.name, name)}"
            self._say(options, {**answer, "error": type(error).__name__, "message": str(error)}, text)
            sys.exit(1)
        text = f"{service.verbose_name}, account {name}: logged in, Rs {margin.available:,.2f} available."
        self._say(options, {**answer, "ok": True, "available": str(margin.available)}, text)

    def _say(self, options: dict[str, Any], data: object, text: str) -> None:
        self.stdout.write(json.dumps(data, indent=2) if options["json"] else text)


@sensitive_variables()
def _from_environment(service: Service) -> dict[str, str]:
    values = {}
    for column in service.columns:
        variable = _variable(service, column)
        value = os.environ.get(variable, "")
        if path := os.environ.get(f"{variable}_FILE", ""):
            try:
                value = secret_in(path)
            except (OSError, ValueError) as error:
                raise CommandError(f"{variable}_FILE: cannot read {path} ({type(error).__name__}).") from error
        if value:
            values[column] = value
    return values


def _status_line(row: dict[str, Any]) -> str:
    parts = [f"missing {', '.join(row['missing'])}" if row["missing"] else "complete"]
    if row["unreadable"]:
        parts.append(f"no key opens {', '.join(row['unreadable'])}")
    if row["session"] == "VALID":
        parts.append(f"session until {row['session_ends_at']}")
    else:
        parts.append(f"session {row['session']}" + (f" ({row['session_message']})" if row["session_message"] else ""))
    parts.append(f"last used {row['last_used_at'] or 'never'}")
    return f"{row['service']}/{row['name']}: {'; '.join(parts)}"


def _variable(service: Service, column: str) -> str:
    return f"MCUBE_{service.name}_{column}".upper()


def _sentences(error: ValidationError) -> str:
    return " ".join(error.messages)
