"""How often each kind of reading is made of each account: one table for all, and rows that a person sets in the admin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from brokers.discovery import spec_of
from brokers.domain.capabilities import Operation
from brokers.models import BrokerAccount, SnapshotCadence, SnapshotKind
from brokers.models.snapshots import LONGEST_SECONDS

#: docs/decisions/0024 and 0101 have the arithmetic of calls.
USUAL = {
    SnapshotKind.MARGIN: timedelta(seconds=60),
    SnapshotKind.POSITIONS: timedelta(seconds=30),
    SnapshotKind.HOLDINGS: timedelta(minutes=15),
    # While nothing is open.
    SnapshotKind.ORDERS: timedelta(seconds=60),
    # Those after a fill are read with the orders, at once.
    SnapshotKind.TRADES: timedelta(minutes=15),
}
#: A broker with a budget for the day has its order book read a quarter as often.
BUDGETED_STRETCH = 4
_LONGEST = timedelta(seconds=LONGEST_SECONDS)
#: Seconds within a minute at which those kinds are read that come beside margins and positions, which are read when
#: their slot begins; and whose turn is first. So no two of them fall together, and none on a margin.
_BESIDE = (10, 20, 40, 50)
_TURNS = {SnapshotKind.ORDERS: 0, SnapshotKind.TRADES: 1, SnapshotKind.HOLDINGS: 2}
_OPERATIONS = {
    SnapshotKind.MARGIN: Operation.MARGIN,
    SnapshotKind.POSITIONS: Operation.POSITIONS,
    SnapshotKind.HOLDINGS: Operation.HOLDINGS,
    SnapshotKind.ORDERS: Operation.ORDERS,
    SnapshotKind.TRADES: Operation.TRADES,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cadences:
    """What holds for every account, as of one look at the rows."""

    #: Seconds by account and kind, where a person set them.
    by_hand: Mapping[tuple[int, str], int]

    def of(self, account: BrokerAccount, kind: SnapshotKind, *, stretch: int = 1) -> timedelta | None:
        """Time between two readings; None when there are none by schedule, or the broker offers no such reading.

        ``stretch`` says how many times longer polls wait for want of calls. It is never so long that a day has no reading.
        """
        capabilities = spec_of(account.broker).capabilities
        if _OPERATIONS[kind] not in capabilities.operations:
            return None
        seconds = self.by_hand.get((account.pk, kind))
        if seconds is not None:
            return min(timedelta(seconds=seconds) * stretch, _LONGEST) if seconds else None
        is_spared = kind is SnapshotKind.ORDERS and capabilities.calls_per_day is not None
        return min(USUAL[kind] * (BUDGETED_STRETCH if is_spared else 1) * stretch, _LONGEST)


def offset(account: BrokerAccount, kind: SnapshotKind, every: timedelta) -> timedelta:
    """How long after a slot began it is read; the same for every slot of an account and kind, and less than ``every``.

    All at once would be more calls than a broker takes in a second, and those of a thousand accounts come in a burst.
    """
    turn = _TURNS.get(kind)
    if turn is None:
        return timedelta(0)
    minutes, place = divmod(account.pk, len(_BESIDE))
    seconds = _BESIDE[(place + turn) % len(_BESIDE)]
    return timedelta(minutes=minutes, seconds=seconds) % every


def current() -> Cadences:
    """Look at the rows of all accounts; one statement."""
    rows = SnapshotCadence.objects.values_list("account_id", "kind", "seconds")
    return Cadences(by_hand={(account_id, kind): seconds for account_id, kind, seconds in rows})
