"""Limits of what may be ordered: one row a scope in the admin, the strictest that applies holds.

A row of everything or of an account says what that account may do; what neither says, the defaults of the
mode say. A row of a strategy or a symbol can only tighten that, and its counts are of that strategy's or
symbol's orders in the account. Cancels and what reduces a position pass all of these but the price collar.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from brokers.domain.enums import Mode
from brokers.domain.errors import OrderDenied
from brokers.models import BrokerAccount, ChangeOf, RiskChange, RiskLimit, Scope
from brokers.risk import switches

#: How long a process keeps to the rows it has read.
MAX_AGE_SECONDS = 1.0
NAMES = tuple(
    field.name
    for field in RiskLimit._meta.get_fields()
    if field.name not in ("id", "scope", "scope_key", "changed_by", "changed_at")
)
#: Of these a larger value is the stricter one.
LARGER_IS_STRICTER = frozenset({"repeat_cooldown_seconds"})
#: A broker's profit and loss knows no strategy.
OF_THE_ACCOUNT_ONLY = frozenset({"max_loss_per_day_rupees", "max_margin_age_seconds"})

Value = int | Decimal

DEFAULTS: Mapping[Mode, Mapping[str, Value]] = {
    Mode.SIMULATED: {
        "max_notional_rupees": Decimal(100_000_000),
        "price_collar_percent": Decimal(25),
        "repeat_cooldown_seconds": 3,
    },
    Mode.PAPER: {
        "max_notional_rupees": Decimal(100_000_000),
        "price_collar_percent": Decimal(25),
        "repeat_cooldown_seconds": 3,
    },
    Mode.LIVE: {
        "max_lots": 1,
        "max_notional_rupees": Decimal(500_000),
        "max_open_rupees": Decimal(1_000_000),
        "price_collar_percent": Decimal(10),
        "max_orders_per_day": 20,
        "max_orders_per_second": 5,
        "max_orders_per_minute": 60,
        "max_open_orders": 10,
        "max_loss_per_day_rupees": Decimal(25_000),
        "repeat_cooldown_seconds": 10,
        "max_margin_age_seconds": 180,
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """One limit of one scope. ``scope`` is empty for a default."""

    name: str
    value: Value
    scope: str
    scope_key: str = ""

    @property
    def of(self) -> str:
        """Whose it is, in a sentence."""
        return switches.name_of(self.scope, self.scope_key) if self.scope else "the installation's defaults"

    @property
    def strictness(self) -> Value:
        """Of two of one name the stricter has the smaller one."""
        return -self.value if self.name in LARGER_IS_STRICTER else self.value


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that apply to an order of one account, strategy and symbol."""

    applying: tuple[Limit, ...] = ()

    def strictest(self, name: str) -> Limit | None:
        """The one that a single order is held against; None when there is none."""
        return min(self.counted(name), key=lambda limit: limit.strictness, default=None)

    def of_account(self, name: str) -> Limit | None:
        """The one of the account as a whole."""
        narrow = (Scope.STRATEGY, Scope.SYMBOL)
        return next((limit for limit in self.counted(name) if limit.scope not in narrow), None)

    def counted(self, name: str) -> list[Limit]:
        """Those that are held against counts of their own: at most one of the account, the strategy, the symbol."""
        return [limit for limit in self.applying if limit.name == name]


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that an order does not keep, and the order's own figure in words."""

    limit: Limit
    words: str

    def __str__(self) -> str:
        return f"The limit {self.limit.name} of {self.limit.of} is {self.limit.value}, but {self.words}"


class LimitReached(OrderDenied):
    """An order does not keep one or more limits; the message says which, their values and the order's."""

    def __init__(self, breaches: list[Breach]) -> None:
        told = ". ".join(map(str, breaches))
        super().__init__(f"{told}. Nothing was sent; change the order, or the limit in the admin.")
        self.breaches = tuple(breaches)


_rows: tuple[float, tuple[RiskLimit, ...]] | None = None


def of(account: BrokerAccount, strategy: str, symbol: str) -> Limits:
    """The limits of an order; reads the rows at most once a second."""
    return effective(_read(), Mode(settings.MODE), str(account), strategy, symbol)


def effective(rows: Iterable[RiskLimit], mode: Mode, account: str, strategy: str, symbol: str) -> Limits:
    """What holds of ``rows`` for an order: at most one limit of each name for account, strategy and symbol."""
    groups: list[dict[str, Limit]] = [{}, {}, {}]
    place = {
        (Scope.EVERYTHING, ""): 0,
        (Scope.ACCOUNT, account): 0,
        (Scope.STRATEGY, strategy): 1,
        (Scope.SYMBOL, symbol): 2,
    }
    for row in rows:
        number = place.get((Scope(row.scope), row.scope_key))
        if number is None:
            continue
        for name in NAMES:
            if (value := getattr(row, name)) is not None:
                _tighten(groups[number], Limit(name=name, value=value, scope=row.scope, scope_key=row.scope_key))
    defaults = {name: Limit(name=name, value=value, scope="") for name, value in DEFAULTS[mode].items()}
    groups[0] = defaults | groups[0]
    return Limits(tuple(limit for group in groups for limit in group.values()))


def change(
    scope: Scope, scope_key: str, values: Mapping[str, Value | None], *, by: str, reason: str, at: datetime
) -> RiskLimit:
    """Set the limits named in ``values`` (None leaves one to the wider scope), with a row of history.

    :raises ValidationError: there is no such account or limit, or a value is none of its kind.
    """
    scope, scope_key = Scope(scope), switches.checked_key(scope, scope_key)
    check(scope, values)
    with transaction.atomic():
        row, _ = RiskLimit.objects.get_or_create(scope=scope, scope_key=scope_key)
        before = {name: _plain(getattr(row, name)) for name in values}
        for name, value in values.items():
            setattr(row, name, value)
        row.changed_by, row.changed_at = by[:150], at
        row.full_clean(validate_unique=False, validate_constraints=False)
        row.save()
        RiskChange.objects.create(
            what=ChangeOf.LIMITS,
            scope=scope,
            scope_key=scope_key,
            before=before,
            after={name: _plain(getattr(row, name)) for name in values},
            changed_by=by[:150],
            reason=reason[:500],
            at=at,
        )
    forget()
    return row


def forget() -> None:
    """Read the rows again at the next order of this process."""
    global _rows
    _rows = None


def _read() -> tuple[RiskLimit, ...]:
    global _rows
    now = time.monotonic()
    if _rows is None or now - _rows[0] >= MAX_AGE_SECONDS:
        _rows = (now, tuple(RiskLimit.objects.all()))
    return _rows[1]


def _tighten(group: dict[str, Limit], limit: Limit) -> None:
    known = group.get(limit.name)
    if known is None or limit.strictness < known.strictness:
        group[limit.name] = limit


def check(scope: Scope, values: Mapping[str, Value | None]) -> None:
    """:raises ValidationError: there is no such limit, it is none of this scope, or a value is below zero."""
    if unknown := sorted(set(values) - set(NAMES)):
        raise ValidationError(f"There is no limit {unknown[0]!r}; name one of {', '.join(NAMES)}.")
    narrow = [name for name in OF_THE_ACCOUNT_ONLY.intersection(values) if values[name] is not None]
    if narrow and scope in (Scope.STRATEGY, Scope.SYMBOL):
        raise ValidationError(f"{narrow[0]} is kept for an account or for everything, not for a {scope.lower()}.")
    for name, value in values.items():
        if value is not None and value < 0:
            raise ValidationError(f"{name} {value} is below zero.")


def _plain(value: Any) -> str | int | None:
    return str(value) if isinstance(value, Decimal) else value
