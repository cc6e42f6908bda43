"""Rows for the pages people look at: accounts with sessions and snapshots, orders with their whole story."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from brokers.alerts import raise_alert
from brokers.discovery import specs
from brokers.models import (
    Alert,
    BrokerAccount,
    BrokerOrder,
    DayRecord,
    GttOrder,
    HoldingSnapshot,
    InstrumentEdition,
    InstrumentMaster,
    InstrumentRecord,
    MarginSnapshot,
    OrderAttempt,
    OrderBookSnapshot,
    OrderEvent,
    OrderIntent,
    OrderPlan,
    PositionLine,
    PositionSnapshot,
    SessionRule,
    SessionState,
    Severity,
    SnapshotCadence,
    SnapshotKind,
    SpecialDay,
    TradeBookSnapshot,
    TradeFill,
)

#: What the wire's clock said meanwhile: the simulated market has a time of its own.
WALL = datetime(2026, 11, 22, 15, 49, tzinfo=UTC)
NOON = datetime(2026, 11, 20, 6, 30, tzinfo=UTC)  # 12:00 IST, a Friday


def account(name: str = "default", broker: str = "", *, now: datetime = NOON) -> BrokerAccount:
    made = BrokerAccount.objects.create(broker=broker or next(iter(specs())), name=name)
    SessionState.objects.create(
        account=made,
        status=SessionState.Status.VALID,
        version=3,
        opened_at=now - timedelta(hours=3),
        expires_at=now + timedelta(hours=9),
    )
    return made


def intent(owner: BrokerAccount, number: int, *, state: str = "FILLED", now: datetime = NOON) -> OrderIntent:
    """An order with one attempt and the events that led to ``state``."""
    waits = ["READY"]
    sent = [*waits, "ARMED"]
    steps = {"READY": waits, "ARMED": sent, "UNKNOWN": [*sent, "UNKNOWN"]}.get(state, [*sent, "WORKING", "FILLED"])
    made = OrderIntent.objects.create(
        account=owner,
        kind="PLACE",
        strategy="strangle",
        client_order_id=f"order-{owner.pk}-{number}",
        fingerprint="f" * 64,
        client_tag=f"t{owner.pk}x{number}",
        mode="simulated",
        trading_day=now.date(),
        exchange="NFO",
        symbol="NIFTY26NOV24500CE",
        side="BUY",
        quantity=75,
        order_type="LIMIT",
        limit_price=Decimal("112.5"),
        product="NRML",
        time_in_force="DAY",
        state=state,
        version=len(steps) - 1,
        not_before=now,
        not_after=now + timedelta(minutes=5),
        created_at=now,
        updated_at=now,
    )
    outcome = {"UNKNOWN": "UNKNOWN", "ARMED": "ARMED"}.get(state, "ACKED")
    OrderAttempt.objects.create(
        intent=made,
        number=1,
        outcome=outcome,
        match_key=f"key-{made.pk}",
        host="host",
        boot_id="boot",
        pid=4711,
        pid_start=1,
        armed_at=now + timedelta(milliseconds=4),
        send_deadline_at=now + timedelta(seconds=2),
        quiet_at=now + timedelta(seconds=20),
        sent_price=Decimal("112.5"),
        first_byte_at=WALL + timedelta(milliseconds=9),
        finished_at=None if outcome == "ARMED" else WALL + timedelta(milliseconds=37),
        http_status=200 if outcome == "ACKED" else None,
        exceptions="ReadTimeout" if outcome == "UNKNOWN" else "",
    )
    for position, step in enumerate(steps):
        OrderEvent.objects.create(
            intent=made,
            sequence=position,
            from_state=steps[position - 1] if position else "",
            to_state=step,
            actor="SENDER" if position else "CALLER",
            cause="the broker took it" if step == "WORKING" else "recorded" if not position else "sent",
            evidence={"http_status": 200, "target": "127.0.0.1/orders"} if step == "WORKING" else {},
            at=now + timedelta(milliseconds=20 * position),
            hash=f"{made.pk:060d}{position:04d}",
        )
    return made


def gtt(owner: BrokerAccount, number: int) -> GttOrder:
    """One that rests at the broker."""
    leg = {"role": "ORDER", "side": "SELL", "trigger_price": "90", "limit_price": "89.5"}
    return GttOrder.objects.create(
        account=owner,
        gtt_order_id=f"20261123{number:08d}",
        kind="SINGLE",
        origin=GttOrder.Origin.OURS,
        exchange="NFO",
        symbol="NIFTY26NOV24500CE",
        product="NRML",
        quantity=75,
        legs=[leg | {"status": "ACTIVE", "broker_status": "Ordered"}],
        status="ACTIVE",
        placed_at=NOON,
        first_seen_at=NOON,
        book_seen_at=NOON,
        last_seen_at=NOON,
    )


def book_order(owner: BrokerAccount, number: int, *, of: OrderIntent | None = None, fills: int = 2) -> BrokerOrder:
    order = BrokerOrder.objects.create(
        account=owner,
        trading_day=NOON.date(),
        broker_order_id=f"2611200000{number:04d}",
        exchange_order_id=f"13000000{number:04d}",
        attempt=of.attempts.get() if of else None,
        origin=BrokerOrder.Origin.OURS if of else BrokerOrder.Origin.EXTERNAL,
        exchange="NFO",
        symbol="NIFTY26NOV24500CE",
        side="BUY",
        order_type="LIMIT",
        product="NRML",
        quantity=75,
        filled_quantity=75,
        limit_price=Decimal("112.5"),
        average_price=Decimal("112.35"),
        status="FILLED",
        broker_status="traded",
        first_seen_at=NOON + timedelta(seconds=1),
        last_seen_at=NOON + timedelta(minutes=1),
    )
    for position in range(fills):
        TradeFill.objects.create(
            order=order,
            fill_id=f"{number}-{position}",
            quantity=25 * (position + 1),
            price=Decimal("112.35"),
            filled_at=NOON + timedelta(seconds=3 + position),
            first_seen_at=NOON + timedelta(seconds=9),
        )
    return order


def plan(owner: BrokerAccount, number: int) -> OrderPlan:
    """A basket of one leg in two slices, stopped after the first."""
    symbol = "NIFTY26NOV24500CE"
    leg = {"exchange": "NFO", "symbol": symbol, "side": "BUY", "quantity": 150, "round": 0, "line": ""}
    made = OrderPlan.objects.create(
        account=owner,
        kind="BASKET",
        client_order_id=f"basket-{number}",
        fingerprint="f" * 64,
        mode="simulated",
        trading_day=NOON.date(),
        legs=[leg],
        not_after=NOON + timedelta(hours=1),
        created_at=NOON,
        stopped_at=NOON,
        stopped_reason="slice 2 was rejected",
    )
    for slice_number, state in enumerate(["FILLED", "READY"]):
        child = intent(owner, 1000 + 2 * number + slice_number, state=state)
        OrderIntent.objects.filter(pk=child.pk).update(plan=made, leg=0, slice=slice_number)
    return made


def alert(owner: BrokerAccount, *, of: OrderIntent | None = None) -> Alert:
    return raise_alert(
        "needs_human",
        str(of.pk if of else owner.pk),
        severity=Severity.CRITICAL,
        happened=f"{of or owner} needs a decision.",
        meaning="It is not known whether it is at the broker.",
        to_do="Look in the broker's own app.",
        at=NOON,
        account=owner,
        intent=of,
    )


def snapshots(owner: BrokerAccount, *, slot_at: datetime = NOON, error: str = "") -> None:
    """A slot of every kind, its day's record and a cadence of the account's own; with ``error`` all failed."""
    common: dict[str, Any] = {
        "account": owner,
        "slot_at": slot_at,
        "status": "FAILED" if error else "OK",
        "taken_at": None if error else slot_at + timedelta(seconds=1),
        "error": error,
        "created_at": slot_at,
    }
    money = (
        {} if error else {"available": Decimal("1234567.5"), "used": Decimal("250000"), "total": Decimal("1484567.5")}
    )
    MarginSnapshot.objects.create(**common, **money, details={} if error else {"Net": "1234567.50"})
    held = PositionSnapshot.objects.create(**common, pnl=None if error else Decimal("-1875.25"))
    for book in (HoldingSnapshot, OrderBookSnapshot, TradeBookSnapshot):
        book.objects.create(**common)
    SnapshotCadence.objects.get_or_create(account=owner, kind=SnapshotKind.POSITIONS, defaults={"seconds": 30})
    DayRecord.objects.get_or_create(
        account=owner,
        day=slot_at.date(),
        defaults={"status": common["status"], "error": error, "written_at": slot_at},
    )
    if error:
        return
    for strike in (24500, 24600):
        PositionLine.objects.create(
            snapshot=held,
            symbol=f"NIFTY26NOV{strike}CE",
            exchange="NFO",
            product="NRML",
            quantity=-75,
            average_price=Decimal("112.35"),
            last_price=Decimal("120.4"),
            pnl=Decimal("-603.75"),
        )


def market() -> None:
    """Instruments of one edition, their masters, trading hours and special days."""
    edition = InstrumentEdition.objects.create(master_day=NOON.date(), started_at=NOON, is_current=True)
    for broker in specs():
        InstrumentMaster.objects.create(
            broker=broker, master_day=NOON.date(), loaded_at=NOON, row_count=20, counts={"NFO": 20}, digest="d" * 64
        )
    for strike in range(24000, 25000, 50):
        InstrumentRecord.objects.create(
            edition=edition,
            master_day=NOON.date(),
            exchange="NFO",
            symbol=f"NIFTY26NOV{strike}CE",
            kind="OPTION",
            underlying="NIFTY",
            expiry=datetime(2026, 11, 24, tzinfo=UTC).date(),
            strike=strike,
            right="CE",
            lot_size=75,
            tick_size=Decimal("0.05"),
            freeze_quantity=1800,
        )
    SessionRule.objects.update_or_create(
        exchange="NFO",
        phase="CONTINUOUS",
        valid_from=datetime(2026, 1, 1, tzinfo=UTC).date(),
        defaults={"start_time": time(9, 15), "end_time": time(15, 30), "source": "test"},
    )
    SpecialDay.objects.update_or_create(
        exchange="NFO",
        date=datetime(2026, 12, 25, tzinfo=UTC).date(),
        kind="HOLIDAY",
        defaults={"note": "Christmas", "source": "test"},
    )
