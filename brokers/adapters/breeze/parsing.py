"""Payloads of Breeze turned into domain values. Pure: no SDK, no clock, no network.

Numbers come as text, as JSON numbers or as null, in one row together; rows of different segments differ.
A row that cannot be read makes the whole read fail: half a book is no book.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from brokers.adapters.breeze import tables
from brokers.clock import IST
from brokers.domain.enums import Exchange, OptionRight, Side
from brokers.domain.errors import UnreadableReply
from brokers.domain.instruments import Instrument

T = TypeVar("T")

Row = Mapping[str, object]
#: Finds today's instrument by its master key, or None.
Find = Callable[[str], Instrument | None]

_TIMES = ("%d-%b-%Y %H:%M:%S", "%d-%b-%Y %H:%M")
_DATES = ("%d-%b-%Y", "%d-%b-%y")


def rows(value: object, what: str) -> list[Row]:
    """The rows of a list answer; None, the answer "there is nothing", has none.

    :raises UnreadableReply: it is no list of objects.
    """
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise UnreadableReply(f"Breeze sent the {what} in a shape this version does not know; ask again.")
    return value


def record(value: object, what: str) -> Row:
    """The object of a single answer.

    :raises UnreadableReply: it is no object.
    """
    if not isinstance(value, dict):
        raise UnreadableReply(f"Breeze sent the {what} in a shape this version does not know; ask again.")
    return value


def cash_key(exchange: str, stock_code: str) -> str:
    """The master key of a share or an index."""
    return f"{exchange}|{stock_code}"


def contract_key(exchange: str, stock_code: str, expiry: date, right: OptionRight | None, strike: Decimal) -> str:
    """The master key of a derivative; a future has right ``XX`` and strike ``0``."""
    number = format(strike.normalize(), "f") if strike else "0"
    return f"{exchange}|{stock_code}|{expiry.isoformat()}|{right.value if right else 'XX'}|{number}"


def decimal(row: Row, name: str) -> Decimal | None:
    """A number of the row; None when it is null, blank or absent.

    :raises UnreadableReply: it is something else.
    """
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        number = Decimal(str(value).strip().replace(",", ""))
    except InvalidOperation as error:
        raise UnreadableReply(f"Breeze sent {value!r} as {name}, which is no number; ask again.") from error
    # Beyond these nothing is a price or a quantity, and writing it out would fill the memory.
    if not number.is_finite() or not -20 <= number.adjusted() <= 15:
        raise UnreadableReply(f"Breeze sent {value!r} as {name}, which is no number; ask again.")
    return number


def needed(row: Row, name: str) -> Decimal:
    """A number that the row must have.

    :raises UnreadableReply: it has none.
    """
    number = decimal(row, name)
    if number is None:
        raise UnreadableReply(f"Breeze sent a row without {name}; ask again.")
    return number


def positive(row: Row, name: str) -> Decimal | None:
    """A price of the row; None when it is absent, zero or below."""
    number = decimal(row, name)
    return number if number is not None and number > 0 else None


def units(row: Row, name: str) -> int:
    """A quantity that the row must have.

    :raises UnreadableReply: it is absent, negative or no whole number.
    """
    number = needed(row, name)
    if number != number.to_integral_value() or number < 0:
        raise UnreadableReply(f"Breeze sent {number} as {name}, which is no quantity; ask again.")
    return int(number)


def text(row: Row, name: str) -> str:
    """A text of the row; empty when it is null or absent. Codes come padded with spaces at times."""
    value = row.get(name)
    return "" if value is None else str(value).strip()


def moment(value: str) -> datetime | None:
    """A time of Breeze, which is IST with or without seconds, as UTC; None when it is none."""
    for form in _TIMES:
        try:
            return datetime.strptime(value, form).replace(tzinfo=IST).astimezone(UTC)
        except ValueError:
            continue
    return None


def day(value: str) -> date | None:
    """A date of Breeze; None when it is none."""
    for form in _DATES:
        try:
            return datetime.strptime(value, form).replace(tzinfo=IST).date()
        except ValueError:
            continue
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """What a row says it is about, and today's instrument for it."""

    exchange: str
    stock_code: str
    expiry: date | None
    strike: Decimal | None
    right: OptionRight | None
    instrument: Instrument | None

    @property
    def symbol(self) -> str:
        """The trading symbol; Breeze's own words in brackets when no instrument answers."""
        if self.instrument is not None:
            return self.instrument.symbol
        parts = [self.exchange, self.stock_code, self.expiry.isoformat() if self.expiry else ""]
        if self.right is not None and self.strike is not None:
            parts += [format(self.strike.normalize(), "f"), self.right.value]
        return f"[{' '.join(part for part in parts if part)}]"

    @property
    def underlying(self) -> str:
        if self.instrument is not None:
            return self.instrument.underlying
        return tables.INDEX_UNDERLYINGS.get(self.stock_code, "")


def contract(row: Row, find: Find) -> Contract:
    """Read which contract a row of a book, a position or a trade is about.

    :raises UnreadableReply: it does not say so, or only half of it.
    """
    exchange, code = text(row, "exchange_code").upper(), text(row, "stock_code")
    if not exchange or not code:
        raise UnreadableReply("Breeze sent a row without exchange_code or stock_code; ask again.")
    written = text(row, "expiry_date")
    expiry = day(written)
    if expiry is None and (written or exchange in (Exchange.NFO, Exchange.BFO)):
        raise UnreadableReply(f"Breeze sent {written!r} as expiry_date of {exchange} {code}; ask again.")
    if expiry is None:
        found = find(cash_key(exchange, code))
        return Contract(exchange=exchange, stock_code=code, expiry=None, strike=None, right=None, instrument=found)
    right = known(tables.RIGHT_FROM_WIRE, row, "right")
    strike = decimal(row, "strike_price") or Decimal(0)
    if right is None and (strike > 0 or text(row, "product_type").lower().startswith("option")):
        raise UnreadableReply(f"Breeze sent an option of {exchange} {code} without its right; ask again.")
    if right is not None and strike <= 0:
        raise UnreadableReply(f"Breeze sent an option of {exchange} {code} with strike {strike}; ask again.")
    return Contract(
        exchange=exchange,
        stock_code=code,
        expiry=expiry,
        strike=strike if right else None,
        right=right,
        instrument=find(contract_key(exchange, code, expiry, right, strike if right else Decimal(0))),
    )


def count(row: Row, name: str) -> int | None:
    """A quantity of the row; None when it is absent.

    :raises UnreadableReply: it is negative or no whole number.
    """
    return None if decimal(row, name) is None else units(row, name)


def side(row: Row) -> Side:
    """:raises UnreadableReply: ``action`` is neither a purchase nor a sale."""
    return known(tables.SIDE_FROM_WIRE, row, "action")


def known(words: Mapping[str, T], row: Row, name: str) -> T:
    """What one of Breeze's words means.

    :raises UnreadableReply: this version does not know the word.
    """
    value = text(row, name).lower()
    if value not in words:
        raise UnreadableReply(f"Breeze sent {value!r} as {name}, which this version does not know; ask again.")
    return words[value]
