"""Merges the brokers' masters into one list of contracts. Pure: rows in, contracts and problems out.

Rows are one contract when everything that makes the contract agrees: exchange, underlying, expiry, strike
and right, or exchange, share and series. The exchange's token only helps to find that two brokers name one
underlying differently, and is compared as a check: nearly every derivative's token is given to another
contract within months.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from brokers.adapter_interface import MasterProblem
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.instruments.rows import StoredRow
from brokers.instruments.symbols import derivative_symbol, monthly_expiries, share_base, share_symbol

_NSE = frozenset({Exchange.NSE, Exchange.NFO})
#: Of the contracts whose token two masters share, how many must pair two names to make them one underlying.
_ALIAS_SHARE = 0.9
_FIGURES = ("lot_size", "tick_size", "freeze_quantity", "lower_band", "upper_band")


@dataclass(frozen=True, kw_only=True, slots=True)
class Master:
    """One broker's good rows and the IST day they were read."""

    broker: str
    day: date
    rows: Sequence[StoredRow]


class ContractKey(NamedTuple):
    """What makes two rows one contract."""

    exchange: Exchange
    kind: InstrumentKind
    underlying: str
    expiry: date | None = None
    strike: Decimal | None = None
    right: OptionRight | None = None
    #: Series of a share on NSE; on BSE its token, since brokers name BSE's groups differently.
    series: str = ""

    def __str__(self) -> str:
        parts = (self.exchange, self.underlying, self.expiry, self.strike, self.right, self.series)
        return " ".join(str(part) for part in parts if part)


class Listed(NamedTuple):
    """A contract's row in one broker's master."""

    broker: str
    #: The master is of the day that is being merged, so that its figures count.
    is_fresh: bool
    day: date
    row: StoredRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """One contract of the merged book."""

    key: ContractKey
    symbol: str
    #: In the order of the brokers' names, at least one.
    listed: Sequence[Listed]
    #: None where no fresh master states it, or two disagree.
    lot_size: int | None
    tick_size: Decimal | None
    freeze_quantity: int | None
    lower_band: Decimal | None
    upper_band: Decimal | None


def merge(masters: Sequence[Master], *, day: date) -> tuple[list[Contract], list[MasterProblem]]:
    """Merge masters, one a broker, into the contracts of ``day`` (IST)."""
    masters = sorted(masters, key=lambda master: master.broker)
    problems = _stale_masters(masters, day)
    aliases = _aliases(masters, problems)
    groups = _group(masters, day, aliases, problems)
    problems += _token_clashes(groups)
    monthly = _monthly(groups)
    contracts = []
    for key, listed in groups.items():
        symbol = _symbol(key, listed, monthly, problems)
        contracts.append(Contract(key=key, symbol=symbol, listed=listed, **_figures(symbol, listed, problems)))
    return contracts, problems


def problem(reason: str) -> MasterProblem:
    """A disagreement between masters; no line of a file is to blame."""
    return MasterProblem(source="merge", line=0, reason=reason)


def _stale_masters(masters: Sequence[Master], day: date) -> list[MasterProblem]:
    found = []
    for master in masters:
        if master.day != day:
            found.append(
                problem(
                    f"The master of {master.broker} is of {master.day}, not {day}: its contracts are merged by what "
                    "they are, without its lots, ticks, freeze quantities and bands; refresh it."
                )
            )
        expired = sum(1 for row in master.rows if row.expiry is not None and row.expiry < day)
        if expired and master.day == day:
            found.append(problem(f"{expired} contracts of {master.broker} expired before {day}; its master looks old."))
    return found


def _aliases(masters: Sequence[Master], problems: list[MasterProblem]) -> dict[tuple[bool, str], str]:
    """(of NSE's family?, name in a master without symbols) -> the exchange's name of that underlying."""
    named: dict[tuple[Any, ...], str] = {}
    for master in masters:
        named |= {_token_identity(row): row.underlying for row in master.rows if row.expiry and row.symbol}
    votes: defaultdict[tuple[bool, str], Counter[str]] = defaultdict(Counter)
    for master in masters:
        for row in master.rows:
            if row.expiry and not row.symbol and (name := named.get(_token_identity(row))):
                votes[row.exchange in _NSE, row.underlying][name] += 1
    aliases = {}
    for (is_nse, alias), names in votes.items():
        name, count = names.most_common(1)[0]
        if count >= _ALIAS_SHARE * names.total():
            aliases[is_nse, alias] = name
        else:
            problems.append(problem(f"Underlying {alias} shares tokens with {', '.join(names)}; it is kept apart."))
    return aliases


def _token_identity(row: StoredRow) -> tuple[Any, ...]:
    return row.exchange, row.token, row.expiry, row.strike, row.right


def _group(
    masters: Sequence[Master], day: date, aliases: dict[tuple[bool, str], str], problems: list[MasterProblem]
) -> dict[ContractKey, list[Listed]]:
    groups: dict[ContractKey, list[Listed]] = {}
    for master in masters:
        is_fresh = master.day == day
        for row in master.rows:
            if not is_fresh and row.expiry is not None and row.expiry < day:
                continue
            key = _contract_key(row, aliases)
            listed = groups.setdefault(key, [])
            if listed and listed[-1].broker == master.broker:
                problems.append(problem(f"{master.broker} lists {key} twice; {row.key!r} is left out."))
            else:
                listed.append(Listed(master.broker, is_fresh, master.day, row))
    return groups


def _contract_key(row: StoredRow, aliases: dict[tuple[bool, str], str]) -> ContractKey:
    is_nse = row.exchange in _NSE
    if row.kind is InstrumentKind.EQUITY:
        series = row.series if is_nse else row.token
        return ContractKey(row.exchange, row.kind, share_base(row.symbol, row.series), series=series)
    name = row.underlying or row.symbol
    if row.kind is InstrumentKind.INDEX or not row.symbol:
        name = aliases.get((is_nse, name), name)
    return ContractKey(row.exchange, row.kind, name, row.expiry, row.strike, row.right)


def _token_clashes(groups: dict[ContractKey, list[Listed]]) -> Iterator[MasterProblem]:
    """Fresh masters that give one token to two contracts, or one contract two tokens. All are kept."""
    owners: dict[tuple[Exchange, str], tuple[ContractKey, str]] = {}
    for key, listed in groups.items():
        if key.kind is InstrumentKind.INDEX:  # brokers invent tokens for indices
            continue
        tokens = {each.row.token: each.broker for each in listed if each.is_fresh and each.row.token.strip("0")}
        if len(tokens) > 1:
            stated = ", ".join(f"{token} at {broker}" for token, broker in tokens.items())
            yield problem(f"{key} has more than one token: {stated}.")
        for token, broker in tokens.items():
            owner, at = owners.setdefault((key.exchange, token), (key, broker))
            if owner != key:
                yield problem(f"Token {token} is {owner} at {at} and {key} at {broker}; they are kept apart.")


def _monthly(groups: dict[ContractKey, list[Listed]]) -> dict[tuple[Exchange, str], frozenset[date]]:
    expiries: defaultdict[tuple[Exchange, str], set[date]] = defaultdict(set)
    for key in groups:
        if key.expiry is not None:
            expiries[key.exchange, key.underlying].add(key.expiry)
    return {underlying: monthly_expiries(days) for underlying, days in expiries.items()}


def _symbol(
    key: ContractKey,
    listed: Sequence[Listed],
    monthly: dict[tuple[Exchange, str], frozenset[date]],
    problems: list[MasterProblem],
) -> str:
    """The exchange's symbol: a master's own word for a derivative, else built by the exchange's convention."""
    if key.kind is InstrumentKind.EQUITY:
        return share_symbol(key.exchange, key.underlying, key.series)
    if key.expiry is None:
        return key.underlying
    stated = {each.row.symbol: each.broker for each in reversed(listed) if each.row.symbol}
    if len(stated) > 1:
        words = ", ".join(f"{symbol} at {broker}" for symbol, broker in stated.items())
        problems.append(problem(f"{key} has more than one symbol: {words}; the last is taken."))
    for each in listed:
        if each.row.symbol:
            return each.row.symbol
    is_monthly = key.expiry in monthly[key.exchange, key.underlying]
    return derivative_symbol(key.underlying, key.expiry, is_monthly=is_monthly, strike=key.strike, right=key.right)


def _figures(symbol: str, listed: Sequence[Listed], problems: list[MasterProblem]) -> dict[str, Any]:
    fresh = [each for each in listed if each.is_fresh]
    figures: dict[str, Any] = {}
    for name in _FIGURES:
        stated = [(each.broker, value) for each in fresh if (value := getattr(each.row, name)) is not None]
        agreed = len(stated) == 1 or (bool(stated) and all(value == stated[0][1] for _, value in stated))
        figures[name] = stated[0][1] if agreed else None
        if stated and not agreed:
            words = ", ".join(f"{value} at {broker}" for broker, value in stated)
            problems.append(problem(f"{name} of {symbol} is {words}; none is taken."))
    return figures
