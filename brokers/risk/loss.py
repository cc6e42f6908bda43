"""The day's loss: when it reaches its limit, the account may only reduce."""

from __future__ import annotations

from datetime import datetime, timedelta

from brokers.clock import IST
from brokers.domain.errors import NotSent
from brokers.models import BrokerAccount, KillSwitch, PositionSnapshot, Scope
from brokers.models.snapshots import Snapshot
from brokers.risk import limits, switches
from brokers.risk.limits import Breach, Limit, LimitReached

NAME = "max_loss_per_day_rupees"
#: An opening order needs a reading of the positions no older than this.
MAX_AGE = timedelta(minutes=5)


def check(account: BrokerAccount, *, at: datetime) -> bool:
    """Set the account to REDUCING if its newest reading of today shows the limit's loss; True if it does."""
    limit = limits.of(account, "", "").of_account(NAME)
    reading = newest_reading(account, at) if limit is not None else None
    return limit is not None and reading is not None and _stop_if_reached(limit, reading, at)


def check_order(account: BrokerAccount, *, at: datetime) -> None:
    """Let an opening order pass only while the day's loss is known and below its limit.

    :raises NotSent: it is not known; the order waits for a reading.
    :raises LimitReached: the limit is reached, and the account may only reduce from now on.
    """
    limit = limits.of(account, "", "").of_account(NAME)
    if limit is None:
        return
    reading = newest_reading(account, at)
    if reading is None or reading.taken_at is None or at - reading.taken_at > MAX_AGE:
        raise NotSent(
            f"The day's profit or loss of {account} was not read within {MAX_AGE.seconds // 60} minutes, and {NAME} of "
            f"{limit.of} is {limit.value}; the order waits for a reading of the positions in which each has a price."
        )
    if _stop_if_reached(limit, reading, at):
        raise LimitReached([_breach(limit, reading)])


def newest_reading(account: BrokerAccount, at: datetime) -> PositionSnapshot | None:
    """Today's newest one that has a figure; a position without a price leaves its reading without one."""
    midnight = at.astimezone(IST).replace(hour=0, minute=0, second=0, microsecond=0)
    readings = PositionSnapshot.objects.select_related("account").filter(
        account=account, status=Snapshot.Status.OK, pnl__isnull=False
    )
    return readings.filter(slot_at__gte=midnight, slot_at__lte=at).order_by("-slot_at").first()


def _stop_if_reached(limit: Limit, reading: PositionSnapshot, at: datetime) -> bool:
    account = reading.account
    if reading.pnl is None or reading.pnl > -limit.value:
        return False
    if switches.state_for(account, "", "").state is KillSwitch.State.ACTIVE:
        reason = f"{_breach(limit, reading)}. Raise the limit before resuming, or it is set again."
        switches.set_switch(Scope.ACCOUNT, str(account), KillSwitch.State.REDUCING, by="mcube", reason=reason, at=at)
    return True


def _breach(limit: Limit, reading: PositionSnapshot) -> Breach:
    return Breach(limit, f"the day's result of {reading.account} is {reading.pnl:.2f} rupees")
