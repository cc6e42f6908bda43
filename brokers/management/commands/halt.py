"""``manage.py halt``: the kill switch. Needs the database and nothing else; open orders are cancelled from here."""

from __future__ import annotations

import getpass
import os
import time
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from brokers import halting
from brokers.clock import configured_clock
from brokers.gateway import no_waiting
from brokers.models import KillSwitch, Scope
from brokers.risk import switches

State = KillSwitch.State


class Command(BaseCommand):
    help = "Stop orders now: everything, an account, a strategy or a symbol. Cancels still go."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--account", metavar="BROKER/NAME", help="Only this account.")
        what.add_argument("--strategy", help="Only this strategy.")
        what.add_argument("--symbol", help="Only this trading symbol.")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--reducing", action="store_true", help="Let exits pass as well.")
        how.add_argument("--resume", action="store_true", help="Let orders go again.")
        parser.add_argument("--reason", default="by hand", help="For the history and the alert.")
        parser.add_argument("--cancel-open", action="store_true", help="Also cancel what is working.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["resume"] and options["cancel_open"]:
            raise CommandError("--cancel-open goes with a halt, not with --resume.")
        state = State.REDUCING if options["reducing"] else State.ACTIVE if options["resume"] else State.HALTED
        named = [(scope, options[scope.value.lower()]) for scope in (Scope.ACCOUNT, Scope.STRATEGY, Scope.SYMBOL)]
        # A name that is given empty, e.g. by a shell variable, is a mistake and not everything.
        scope, key = next(((scope, key) for scope, key in named if key is not None), (Scope.EVERYTHING, ""))
        by = f"{_user()} at the command line"
        try:
            switch = switches.set_switch(
                scope, key, state, by=by, reason=options["reason"], at=configured_clock().now()
            )
        except ValidationError as error:
            raise CommandError(error.messages[0]) from error
        self.stdout.write(f"{switches.name_of(switch.scope, switch.scope_key)}: {switch.get_state_display()}.")
        if scope in (Scope.STRATEGY, Scope.SYMBOL) and not halting.was_seen_today(scope, switch.scope_key):
            self.stdout.write("No order of today is of it: check the spelling.")
        if options["cancel_open"]:
            self._cancel(switch, by)
        others = KillSwitch.objects.exclude(state=State.ACTIVE).exclude(pk=switch.pk).order_by("scope", "scope_key")
        for other in others:
            name = switches.name_of(other.scope, other.scope_key)
            self.stdout.write(f"Still {other.state}: {name}, set by {other.changed_by}: {other.reason}")

    def _cancel(self, switch: KillSwitch, by: str) -> None:
        scope, key = Scope(switch.scope), switch.scope_key
        with no_waiting():
            cancels = halting.cancel_from_here(
                scope,
                key,
                by=by,
                spare_exits=switch.state == State.REDUCING,
                wait=time.sleep,
                monotonic=time.monotonic,
            )
        for cancel in cancels:
            told = cancel.closed_reason or cancel.waiting_reason
            what = f"GTT {cancel.gtt}" if cancel.gtt else f"order {cancel.target}"
            self.stdout.write(f"cancel of {what} {cancel.symbol}: {cancel.state}{told and f', {told}'}")
        self.stdout.write(f"{len(cancels)} open orders, {sum(c.state == 'WORKING' for c in cancels)} cancels taken.")
        if doubtful := halting.in_doubt(scope, key):
            self.stdout.write(f"{doubtful} orders may be at the broker and cannot be cancelled yet: see the admin.")
        if entries := halting.entries_in_doubt(scope, key):
            self.stdout.write(
                f"{entries} GTTs entered with an order that no book has shown yet; cancel once more in a minute, "
                "or in the broker's own app."
            )


def _user() -> str:
    """Who runs this; a container may know no name for it, and that must not keep anybody from halting."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
