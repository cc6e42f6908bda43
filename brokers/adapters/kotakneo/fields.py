"""Reading one field of a row of Kotak's: text, number, price, quantity, time.

Rows mix ints and numeric text, write "nothing" in five ways and name one thing differently in each book
(answers in the SDK's docs and clients' tests, read 2026-11-22). What is there and cannot be understood raises
``UnreadableReply``; what is not there is None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from brokers.adapters.kotakneo.tables import BLANKS
from brokers.clock import IST
from brokers.domain.errors import UnreadableReply

Row = Mapping[str, Any]
T = TypeVar("T")

#: Persons' identities in a row; ``usrId`` has been seen to hold a PAN.
PRIVATE = frozenset({"actId", "usrId", "brkClnt", "locId", "EntityId", "mfdBy"})

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
#: No amount, price or quantity is larger, or has more decimals than that.
_LARGEST_EXPONENT, _SMALLEST_EXPONENT = 15, -12
#: Epoch seconds of the year 2100.
_LAST_EPOCH = 4_102_444_800


def mapping(row: Row, name: str) -> Row:
    """A part of a row; empty when it is not there."""
    value = row.get(name)
    return value if isinstance(value, Mapping) else {}


def text(row: Row, name: str) -> str:
    """The words of a field; empty where Kotak writes nothing in one of its ways."""
    value = row.get(name)
    words = "" if value is None or isinstance(value, (Mapping, list)) else str(value).strip()
    return "" if words in BLANKS else words


def required(row: Row, name: str) -> str:
    words = text(row, name)
    if not words:
        raise UnreadableReply(f"A row of Kotak's answer has no {name}; nothing of the answer is used. Try again.")
    return words


def word(row: Row, name: str, words: Mapping[str, T]) -> T:
    """What a word of Kotak's means, out of those that are known."""
    found = text(row, name)
    if found not in words:
        raise UnreadableReply(
            f"A row of Kotak's answer ({text(row, 'nOrdNo') or 'no order id'}) has {name} {found!r}, which is none of "
            f"{', '.join(words)}; nothing of the answer is used."
        )
    return words[found]


def number(row: Row, name: str) -> Decimal | None:
    words = text(row, name)
    if not words:
        return None
    value = Decimal(words) if _NUMBER.fullmatch(words) else None
    if value is None or (value and not _SMALLEST_EXPONENT <= value.adjusted() <= _LARGEST_EXPONENT):
        raise UnreadableReply(
            f"A row of Kotak's answer has {name} {words[:40]!r}, which is no number; nothing of it is used."
        )
    return value


def required_number(row: Row, name: str) -> Decimal:
    value = number(row, name)
    if value is None:
        raise UnreadableReply(f"A row of Kotak's answer has no {name}; nothing of the answer is used. Try again.")
    return value


def price(row: Row, name: str) -> Decimal | None:
    """Rupees; zero and less mean that Kotak states none."""
    value = number(row, name)
    return value if value is not None and value > 0 else None


def required_price(row: Row, name: str) -> Decimal:
    """Rupees above zero."""
    value = price(row, name)
    if value is None:
        raise UnreadableReply(f"A row of Kotak's answer states no {name}; nothing of the answer is used. Try again.")
    return value


def whole(row: Row, name: str) -> int | None:
    """A whole number, negative ones included."""
    value = number(row, name)
    if value is None:
        return None
    if value != value.to_integral_value():
        raise UnreadableReply(f"A row of Kotak's answer has {name} {value}, which is not whole; nothing of it is used.")
    return int(value)


def units(row: Row, name: str) -> int | None:
    """A quantity in units, not lots."""
    value = whole(row, name)
    if value is not None and value < 0:
        raise UnreadableReply(
            f"A row of Kotak's answer has {name} {value}, which is no quantity; nothing of it is used."
        )
    return value


def required_units(row: Row, name: str) -> int:
    value = units(row, name)
    if value is None:
        raise UnreadableReply(f"A row of Kotak's answer has no {name}; nothing of the answer is used. Try again.")
    return value


def moment(words: str) -> datetime | None:
    """``22-Nov-2026 10:28:01`` in IST; blanks around the colons occur. None when it says no such time."""
    try:
        local = datetime.strptime(re.sub(r"\s*:\s*", ":", words), "%d-%b-%Y %H:%M:%S")  # noqa: DTZ007
        return local.replace(tzinfo=IST).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def epoch(row: Row, name: str) -> datetime | None:
    """A time in epoch seconds; zero means that Kotak states none."""
    value = number(row, name)
    if not value:
        return None
    if not 0 < value < _LAST_EPOCH:
        raise UnreadableReply(f"A row of Kotak's answer has {name} {value}, which is no time; nothing of it is used.")
    return datetime.fromtimestamp(int(value), UTC)
