"""Turns what callers write into the domain's values, once, at the boundary."""

from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from brokers.domain.enums import E, parse
from brokers.domain.errors import OrderDenied

#: No order and no column of the ledger is larger.
MOST_UNITS = 1_000_000_000

Price = Decimal | int | float | str | None


def parse_or_deny(kind: type[E], value: object) -> E:
    """Turn a caller's word into an enum member.

    :raises OrderDenied: a sentence that names the value and what is accepted.
    """
    try:
        return parse(kind, value)
    except ValueError as error:
        raise OrderDenied(str(error)) from error


def rupees(value: Price, name: str) -> Decimal | None:
    """Turn a caller's price into rupees a unit; None stays None.

    :raises OrderDenied: it is not a finite number.
    """
    if value is None:
        return None
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation as error:
        raise OrderDenied(f"{name} {value!r} is not a number; give rupees a unit.") from error
    if not amount.is_finite():
        raise OrderDenied(f"{name} {value!r} is not a finite number; give rupees a unit.")
    return amount


def units(value: object) -> int:
    """Turn a caller's quantity into whole units.

    :raises OrderDenied: it is not a whole number above zero.
    """
    if isinstance(value, bool):
        raise OrderDenied(f"Quantity {value!r} is not a number of units; give a whole number above zero.")
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation as error:
        raise OrderDenied(f"Quantity {value!r} is not a number of units; give a whole number above zero.") from error
    if not number.is_finite() or number != number.to_integral_value() or number <= 0:
        raise OrderDenied(f"Quantity {value!r} is not a whole number of units above zero.")
    if number > MOST_UNITS:
        raise OrderDenied(f"Quantity {value!r} is above {MOST_UNITS:,} units, more than any order; check it.")
    return int(number)


def moment(value: str | datetime | None, name: str) -> datetime | None:
    """Turn a caller's ISO time into a datetime; None stays None.

    :raises OrderDenied: it is no time.
    """
    if value is None or isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise OrderDenied(f"{name} {value!r} is not an ISO time, e.g. 2026-11-23T10:15:00+05:30.") from error


def day_of(value: str | date, name: str) -> date:
    """Turn a caller's ISO day into a date.

    :raises OrderDenied: it is no day.
    """
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise OrderDenied(f"{name} {value!r} is not an ISO day, e.g. 2026-11-24.") from error
