"""``manage.py status``: accounts, sessions, money, live feeds, orders, queues and workers at a glance."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from brokers.admin.display import NOTHING, age, rupees
from brokers.clock import IST
from brokers.domain.redaction import scrub
from brokers.feeds.life import FeedLife
from mcube import overview
from mcube.diagnosis.workers import consumers
from mcube.overview import AccountView, Overview

Workers = dict[str, list[str]] | None


class Command(BaseCommand):
    help = "Show accounts, sessions, margins, profit, live feeds, orders, queues and workers."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="One JSON object instead of tables.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            seen = overview.take()
        except DatabaseError as error:
            raise CommandError("The database cannot be read; run `python manage.py doctor`.") from error
        workers = consumers()
        if options["json"]:
            self.stdout.write(json.dumps(_data(seen, workers), indent=2))
            return
        console = Console(file=cast(IO[str], self.stdout), highlight=False)
        phases = ", ".join(f"{exchange} {phase.lower()}" for exchange, phase in seen.phases.items())
        console.print(f"[bold]{seen.mode.upper()}[/]  {seen.now.astimezone(IST):%a %d %b %Y %H:%M:%S} IST  {phases}")
        for sentence in seen.unknown_days:
            console.print(f"[red]{sentence}[/]", soft_wrap=True)
        console.print(_accounts(seen))
        for view in seen.accounts:
            for failure in sorted({view.margin_failure, view.positions_failure} - {""}):
                console.print(f"  [red]since then[/] {view.account}: {escape(scrub(failure))}", soft_wrap=True)
            if view.calls and view.calls.words:
                console.print(f"  [yellow]calls run short[/] {view.account}: {view.calls.words}", soft_wrap=True)
            if view.troubles:
                words = "; ".join(map(str, view.troubles))
                console.print(f"  [yellow]readings of the last hour[/] {view.account}: {words}", soft_wrap=True)
            if view.unwritten_day:
                words = escape(scrub(view.unwritten_day))
                console.print(f"  [red]day not recorded[/] {view.account} {words}", soft_wrap=True)
        if any(view.feed for view in seen.accounts):
            console.print(_feeds(seen))
        console.print(_processes(seen, workers))
        orders = ", ".join(f"{count} {state.lower()}" for state, count in seen.orders.items()) or "none"
        console.print(f"Orders today: {orders}")
        for intent in seen.unknown:
            console.print(
                f"[bold red]UNKNOWN[/] {intent.account} {intent.client_order_id} {intent.symbol}", soft_wrap=True
            )
        if seen.unknown_count:
            console.print("These may be at the broker: look in its own order book before placing them again.")


def _accounts(seen: Overview) -> Table:
    table = Table(title="Accounts", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    # A narrow terminal may wrap words, never cut the account's name.
    widest = max((len(str(view.account)) for view in seen.accounts), default=0)
    table.add_column("Account", no_wrap=True, min_width=widest)
    for heading in ("Session", "Ends"):
        table.add_column(heading)
    for heading in ("Available", "Used", "P&L"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("As of")
    for view in seen.accounts:
        session, margin, held = view.session, view.margin, view.positions
        table.add_row(
            f"{view.account}{'' if view.account.is_active else ' (paused)'}",
            session.get_status_display() if session else "no session",
            age(session.expires_at, seen.now) if session else NOTHING,
            rupees(margin.available if margin else None),
            rupees(margin.used if margin else None),
            rupees(held.pnl if held else None),
            age(margin.taken_at, seen.now) if margin else "never",
        )
    return table


def _feeds(seen: Overview) -> Table:
    table = Table(title="Live feeds", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    widest = max(len(str(view.account)) for view in seen.accounts)
    table.add_column("Account", no_wrap=True, min_width=widest)
    for heading in ("Feed", "Since"):
        table.add_column(heading)
    for heading in ("Ticked", "Ticks/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Last tick")
    for view in seen.accounts:
        if (feed := view.feed) is None:
            continue
        table.add_row(
            str(view.account),
            feed.state if feed.is_up else f"[red]{feed.state}[/]: {escape(scrub(feed.words))}",
            age(feed.since, seen.now),
            f"{feed.heard} of {feed.instruments}",
            f"{feed.per_second:,.0f}",
            age(feed.last_at, seen.now),
        )
    return table


def _processes(seen: Overview, workers: Workers) -> Table:
    table = Table(
        "Queue", "Waiting", "Worker", title="Queues", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    if seen.queues is None or workers is None:
        table.add_row("-", "-", "The queue server does not answer; run `python manage.py doctor`.")
        return table
    for queue, depth in seen.queues.items():
        names = sorted(worker for worker, consumed in workers.items() if queue in consumed)
        table.add_row(queue, str(depth), ", ".join(names) or "[red]none[/]")
    return table


def _data(seen: Overview, workers: Workers) -> dict[str, Any]:
    return {
        "mode": seen.mode,
        "live_trading": seen.live_trading,
        "now": seen.now.isoformat(),
        "phases": dict(seen.phases),
        "unknown_days": list(seen.unknown_days),
        "accounts": [_account_data(view) for view in seen.accounts],
        "orders_today": dict(seen.orders),
        "unknown": [
            {"account": str(intent.account), "client_order_id": intent.client_order_id, "symbol": intent.symbol}
            for intent in seen.unknown
        ],
        "unknown_count": seen.unknown_count,
        "queues": None if seen.queues is None else dict(seen.queues),
        "workers": workers,
    }


def _account_data(view: AccountView) -> dict[str, Any]:
    session, margin, held = view.session, view.margin, view.positions
    return {
        "broker": view.account.broker,
        "account": view.account.name,
        "is_active": view.account.is_active,
        "session": session.status if session else "NONE",
        "session_expires_at": _moment(session.expires_at if session else None),
        "available_margin": _money(margin.available if margin else None),
        "used_margin": _money(margin.used if margin else None),
        "margin_as_of": _moment(margin.taken_at if margin else None),
        "margin_error_since": scrub(view.margin_failure),
        "pnl": _money(held.pnl if held else None),
        "positions_as_of": _moment(held.taken_at if held else None),
        "positions_error_since": scrub(view.positions_failure),
        "calls_today": view.calls.spent if view.calls else None,
        "calls_for_reads": view.calls.budget if view.calls else None,
        "polls_stretched": view.calls.stretch if view.calls else 1,
        "feed": _feed_data(view.feed) if view.feed else None,
        "readings_failed": sum(trouble.failed for trouble in view.troubles),
        "readings_missing": sum(trouble.missing for trouble in view.troubles),
        "day_not_recorded": scrub(view.unwritten_day),
    }


def _feed_data(feed: FeedLife) -> dict[str, Any]:
    return {
        "state": feed.state,
        "words": scrub(feed.words),
        "since": _moment(feed.since),
        "instruments": feed.instruments,
        "ticked": feed.heard,
        "with_depth": feed.depths,
        "unknown": feed.unknown,
        "ticks_per_second": feed.per_second,
        "dropped": feed.dropped,
        "last_tick_at": _moment(feed.last_at),
        "silent_seconds": feed.silent_seconds,
    }


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
