"""Reads one broker's master and publishes a new edition of the instrument book.

Nothing a reader sees changes until the new edition is complete; then one small transaction makes it the
current one. A crash on the way leaves the old edition, and the next refresh clears up what was left.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta

from django.db import transaction

from brokers.adapter_interface import BrokerAdapter, MasterProblem
from brokers.clock import configured_clock, trading_day
from brokers.domain.errors import BrokerUnavailable, UnreadableReply
from brokers.instruments import editions
from brokers.instruments.merging import Master, merge
from brokers.instruments.rows import PROBLEMS_KEPT, PackedRows, pack, unpack
from brokers.instruments.store import forget
from brokers.interfaces import Clock
from brokers.models import BrokerAccount, InstrumentEdition, InstrumentMaster, InstrumentMasterRows

#: A broker whose newest master is older than this many days is left out of an edition.
MASTER_DAYS = 7
#: A master with less than this part of the rows that the one before had, on any exchange, is a torn one.
_LEAST_PART = 0.5
#: For downloading and reading one broker's master, some 30 MB.
READ_SECONDS = 120.0
#: Below this many rows an exchange is too small to judge by its size.
_SMALL = 100
#: Other brokers' loads may land while an edition is built; then it is built again.
_TRIES = 5

logger = logging.getLogger(__name__)


def refresh(
    account: BrokerAccount, *, adapter: BrokerAdapter | None = None, clock: Clock | None = None
) -> InstrumentMaster:
    """Read the master of the account's broker and merge it with the other brokers' masters of today.

    The day is the clock's. Loading the same master again changes nothing but ``loaded_at``.

    :raises UnreadableReply: it has no good rows, or absurdly few; the book is as it was.
    :raises BrokerUnavailable: it could not be fetched; the book is as it was.
    """
    clock = clock or configured_clock()
    day = trading_day(clock.now())
    packed = _read(account, adapter)
    _refuse_absurd(account.broker, packed)
    master = _keep(account.broker, day, packed, clock)
    disagreements = publish(day, clock)
    if disagreements is not None:
        _note(master, packed, disagreements)
    editions.prune(day, clock)
    logger.info("Instruments of %s for %s: %d rows, %d problems", *_summary(master))
    return master


def publish(day: date, clock: Clock) -> list[MasterProblem] | None:
    """Merge the newest masters into the current edition; None when it is made of exactly those already.

    :raises BrokerUnavailable: other loads kept landing meanwhile; they publish what was loaded here too.
    """
    for _ in range(_TRIES):
        sources = _sources(day)
        built_from = _identity(sources)
        if editions.is_current(day, built_from):
            return None
        with _without_collector():
            contracts, problems = merge([_unpacked(master) for master in sources], day=day)
            edition = editions.write(day, built_from, contracts, clock)
        if _make_current(edition, day, clock):
            forget()
            return problems
        editions.discard(edition)
    raise BrokerUnavailable(
        f"The instruments of {day} were not published, since other masters kept being loaded; refresh again."
    )


def _read(account: BrokerAccount, adapter: BrokerAdapter | None) -> PackedRows:
    source = f"master of {account.broker}"
    if adapter is not None:
        return pack(source, adapter.read_master())
    from brokers.factory import BrokerFactory

    gateway = BrokerFactory.get_broker(account.broker, account.name)
    # What is published is read before anybody has logged in; the orders of a late login need it.
    read = gateway.read_public if gateway.spec.capabilities.has_public_master else gateway.read
    return read(lambda own: pack(source, own.read_master()), total_seconds=READ_SECONDS)


def _refuse_absurd(broker: str, packed: PackedRows) -> None:
    """:raises UnreadableReply: nothing good in it, mostly problems, or far fewer rows than last time."""
    first = f" The first: {packed.problems[0].reason}" if packed.problems else ""
    if packed.row_count <= packed.problem_count:
        raise UnreadableReply(
            f"The instrument master of {broker} has {packed.row_count} good rows and {packed.problem_count} bad ones; "
            f"it is refused and the book stays as it was.{first}"
        )
    before = InstrumentMaster.objects.filter(broker=broker).order_by("-loaded_at").first()
    for exchange, count in (before.counts if before else {}).items():
        if count >= _SMALL and packed.counts[exchange] < _LEAST_PART * count:
            raise UnreadableReply(
                f"The instrument master of {broker} has {packed.counts[exchange]} rows of {exchange}, and had {count} on "
                f"{before.master_day if before else ''}; it is refused as torn and the book stays as it was. If it is "
                f"right, delete the earlier masters of {broker} and refresh again."
            )


def _keep(broker: str, day: date, packed: PackedRows, clock: Clock) -> InstrumentMaster:
    """Store the good rows as this broker's master of the day."""
    with transaction.atomic():
        master = InstrumentMaster.objects.select_for_update().filter(broker=broker, master_day=day).first()
        if master is not None and master.digest == packed.digest:
            master.loaded_at = clock.now()
            master.save(update_fields=["loaded_at"])
            return master
        master, _ = InstrumentMaster.objects.update_or_create(
            broker=broker,
            master_day=day,
            defaults={
                "loaded_at": clock.now(),
                "row_count": packed.row_count,
                "counts": dict(packed.counts),
                "digest": packed.digest,
                "problem_count": packed.problem_count,
                "problems": _words(packed.problems),
            },
        )
        InstrumentMasterRows.objects.update_or_create(master=master, defaults={"content": packed.content})
    return master


def _note(master: InstrumentMaster, packed: PackedRows, disagreements: list[MasterProblem]) -> None:
    """Add what the merge found to what the reading found."""
    master.problem_count = packed.problem_count + len(disagreements)
    master.problems = _words((disagreements + packed.problems)[:PROBLEMS_KEPT])
    master.save(update_fields=["problem_count", "problems"])


def _sources(day: date) -> list[InstrumentMaster]:
    """Each broker's newest master that may go into an edition of ``day``."""
    oldest = day - timedelta(days=MASTER_DAYS)
    newest: dict[str, InstrumentMaster] = {}
    for master in InstrumentMaster.objects.filter(master_day__range=(oldest, day)).order_by("master_day"):
        newest[master.broker] = master
    return list(newest.values())


def _identity(sources: list[InstrumentMaster]) -> Mapping[str, list[str]]:
    return {master.broker: [master.master_day.isoformat(), master.digest] for master in sources}


def _unpacked(master: InstrumentMaster) -> Master:
    content = bytes(InstrumentMasterRows.objects.get(master=master).content)
    return Master(broker=master.broker, day=master.master_day, rows=list(unpack(content)))


def _make_current(edition: InstrumentEdition, day: date, clock: Clock) -> bool:
    """Show an edition to the readers, unless another master was loaded since it was begun."""
    with transaction.atomic():
        # The lock puts two publishers in a row; the later one sees what the earlier one did.
        list(InstrumentMaster.objects.select_for_update().order_by("pk").values_list("pk", flat=True))
        if _identity(_sources(day)) != edition.built_from:
            return False
        InstrumentEdition.objects.filter(is_current=True).update(is_current=False)
        edition.is_current, edition.published_at = True, clock.now()
        edition.save(update_fields=["is_current", "published_at"])
    return True


@contextmanager
def _without_collector() -> Iterator[None]:
    """Merging makes a million objects and no cycle; looking for one takes as long as the merge itself."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _words(problems: list[MasterProblem]) -> list[dict[str, object]]:
    return [{"source": each.source, "line": each.line, "reason": each.reason} for each in problems]


def _summary(master: InstrumentMaster) -> tuple[str, date, int, int]:
    return master.broker, master.master_day, master.row_count, master.problem_count
