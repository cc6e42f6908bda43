"""How the exchanges name what they list. Used to build a symbol, never to read a contract out of one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from brokers.domain.enums import Exchange, OptionRight

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
#: One character a month, as weekly contracts are named.
_WEEKLY_MONTHS = "123456789OND"
#: The series in which a share of NSE trades normally; its symbol is written without it.
MAIN_SERIES = "EQ"
#: NSE's other series of shares: trade for trade, and the two of small companies.
OTHER_SERIES = ("BE", "BZ", "SM", "ST")


def monthly_expiries(expiries: Iterable[date]) -> frozenset[date]:
    """The last expiry of each calendar month; the others are weekly."""
    last: dict[tuple[int, int], date] = {}
    for expiry in expiries:
        month = (expiry.year, expiry.month)
        last[month] = max(expiry, last.get(month, expiry))
    return frozenset(last.values())


def derivative_symbol(
    underlying: str, expiry: date, *, is_monthly: bool, strike: Decimal | None, right: OptionRight | None
) -> str:
    """``NIFTY26AUG22250CE`` monthly, ``NIFTY2680422250CE`` weekly, ``NIFTY26AUGFUT`` for a future.

    NSE's convention; all 30,439 contracts of 30 July 2026 that were compared follow it. BSE's is the same
    as the brokers write it.
    """
    if strike is None or right is None:
        return f"{underlying}{expiry:%y}{_MONTHS[expiry.month - 1]}FUT"
    if is_monthly:
        day = f"{expiry:%y}{_MONTHS[expiry.month - 1]}"
    else:
        day = f"{expiry:%y}{_WEEKLY_MONTHS[expiry.month - 1]}{expiry:%d}"
    return f"{underlying}{day}{plain(strike)}{right.value}"


def share_base(symbol: str, series: str) -> str:
    """The share's name without its series: ``RELIANCE`` for ``RELIANCE-EQ``, ``BAJAJ-AUTO`` stays."""
    return symbol.removesuffix(f"-{series or MAIN_SERIES}")


def share_symbol(exchange: Exchange, base: str, series: str) -> str:
    """``RELIANCE`` in NSE's main series and on BSE, ``RELIANCE-BE`` in another series of NSE."""
    return base if exchange is Exchange.BSE or series in ("", MAIN_SERIES) else f"{base}-{series}"


def plain(number: Decimal) -> str:
    """Digits without exponent or trailing zeros: ``22250``, ``132.5``."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
