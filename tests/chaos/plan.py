"""What a run does: how many intents, where, how fast, and under which faults. Everything follows from the seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.chaos.labels import AFTER_THE_LAST_GATE
from tests.support import call_limits

#: The file of a run's folder that says from and until which number wishes are asked for; its age is that of the storm.
WISHES = "wishes.json"
BROKERS = ("breeze", "kotakneo")
#: What a broker's published limits are, for the checker.
LIMITS = {
    broker: {"orders_per_second": call_limits.ORDERS["max_in_second"], **call_limits.CALLS[broker]}
    for broker in BROKERS
}
#: Promised from the first readable book on, beyond the visibility bound where that must pass first. No scale shortens it:
#: in it lie beat's cadence, the queue, readings that die and two busy cores.
TRUTH_SECONDS = 60.0
#: Where it must pass first: to find an order without a tag, and to prove any absent.
AWAITS_BOUND = {"breeze": ["WORKING", "ABSENT"], "kotakneo": ["ABSENT"]}
#: The bound is learnt: from 200 orders on, three times what 999 of the last 1000 took to the book, within these limits.
#: An order teaches that when the book was read no longer than this before it was shown.
FLOOR_SECONDS, CEILING_SECONDS, SPACING_SECONDS = 120.0, 900.0, 20.0

SHORT = {
    "intents": 300,
    "storm_seconds": 60.0,
    "accounts": 10,
    "children": 12,
    "kills": 6,
    "stops": 2,
    "quota": 5,
    "scale": 0.1,
    "question_seconds": 2,
}
#: A larger factor, so that books are read less often, and accounts as few as their brokers' limits of calls allow.
LONG = {
    "intents": 10_000,
    "storm_seconds": 1500.0,
    "accounts": 16,
    "children": 12,
    "kills": 106,
    "stops": 20,
    "quota": 100,
    "scale": 0.4,
    "question_seconds": 3,
}


@dataclass(frozen=True, kw_only=True)
class Account:
    """One simulated account and what is special about it."""

    broker: str
    name: str
    number: int
    user_id: str
    #: A person types look-alikes there.
    manual: bool = False
    #: What is proved absent is sent again.
    resends: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run on one database."""

    seed: int
    database: str
    intents: int
    storm_seconds: float
    #: Worker processes of each broker's queue. A worker holds the place of a killed one for a while, so they are many.
    children: int
    #: Blows that the saboteur aims at for each point, and the fewest that count.
    kills: int
    stops: int
    quota: int
    #: The factor on the visibility bound, the reading ladder and the books' delays.
    scale: float
    visibility_seconds: float
    #: How often beat has open questions looked at.
    question_seconds: int
    accounts: list[Account] = field(default_factory=list)
    break_the_ledger: bool = False

    @property
    def more(self) -> int:
        """Wishes of a strategy that are added when a point was not hit often enough."""
        return max(self.intents // 4, 1)

    @property
    def visible_within(self) -> float:
        """The scaled visibility bound in seconds: the brokers' books lag behind by less."""
        return self.visibility_seconds * self.scale

    @property
    def settle_seconds(self) -> float:
        """After the storm: the last questions wait for the bound, which with many orders is learnt, and are then answered."""
        return CEILING_SECONDS * self.scale + 210.0

    def write(self, folder: Path) -> None:
        """For the processes of the run, and for the checker."""
        content = asdict(self) | {
            "limits": LIMITS,
            "after_the_last_gate": AFTER_THE_LAST_GATE,
            "seconds_to_truth": TRUTH_SECONDS,
            "awaits_bound": AWAITS_BOUND,
            "bound": {
                "usual": self.visible_within,
                "floor": FLOOR_SECONDS * self.scale,
                "ceiling": CEILING_SECONDS * self.scale,
                "spacing": SPACING_SECONDS * self.scale,
            },
        }
        (folder / "plan.json").write_text(json.dumps(content, indent=1))

    @classmethod
    def read(cls, folder: Path) -> Plan:
        content = json.loads((folder / "plan.json").read_text())
        accounts = [Account(**row) for row in content.pop("accounts")]
        known = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        return cls(**known, accounts=accounts)

    def of(self, broker: str) -> list[Account]:
        return [account for account in self.accounts if account.broker == broker]


def accounts_of(most: int) -> list[Account]:
    """Accounts at every broker: the first is plain, the second a person's too, the others may send again."""
    from brokers.simulator.accounts import numbered

    return [
        Account(
            broker=broker,
            name="default" if number == 1 else f"chaos-{number}",
            number=number,
            user_id=numbered(broker, number).user_id,
            manual=number == 2,
            resends=number > 2,
        )
        for broker in BROKERS
        for number in range(1, most + 1)
    ]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One thing that a strategy wants done."""

    number: int
    key: str
    account: str
    #: place, cancel or modify; the last two find their order when it is their turn.
    kind: str
    #: How often it is asked for.
    copies: int
    #: It is asked for once more with another quantity, which must be refused.
    conflicts: bool = False
    #: Seconds from asking until not_after.
    lifetime: float = 45.0
    content: dict[str, Any] = field(default_factory=dict)


#: Seconds for which an order lives at the longest where it may be sent again.
LONGEST_LIFE = 200.0
#: The time in which the absence of an order is proved, beside the visibility bound.
PROVING_SECONDS = 40.0
#: Shares by (symbol, base price, tick): orders are placed below the market, some through it.
SHARES = (("RELIANCE", 1400.0, 0.1), ("INFY", 1500.0, 0.1), ("SBIN", 950.0, 0.05))


def wishes(plan: Plan, broker: str) -> Iterator[Wish]:
    """The wishes of one strategy, the same for every start of its process. They have no end."""
    rng = random.Random(f"{plan.seed}/{broker}/wishes")
    accounts = plan.of(broker)
    last: dict[str, dict[str, Any]] = {}
    burst: list[Account] = []
    for number in count():
        if number % 60 == 20:
            burst = [rng.choice(accounts)] * 14
        account = burst.pop() if burst else rng.choice(accounts)
        kind = rng.choices(["place", "cancel", "modify"], weights=[88, 8, 4])[0] if number > 30 else "place"
        content = _content(rng)
        if account.name in last and rng.random() < 0.15:
            # A look-alike on purpose: where no tag is echoed only the lock keeps them apart.
            content = last[account.name]
        last[account.name] = content
        yield Wish(
            number=number,
            key=f"{broker[0]}-{plan.seed}-{number}",
            account=account.name,
            kind=kind,
            copies=rng.choices([1, 2, 3], weights=[50, 30, 20])[0],
            conflicts=kind == "place" and rng.random() < 0.05,
            lifetime=max(
                rng.choices([4.0, 25.0, 50.0, 80.0], weights=[8, 32, 40, 20])[0], _again_until(plan, number, account)
            ),
            content=content if kind == "place" else {},
        )


def _again_until(plan: Plan, number: int, account: Account) -> float:
    """How long an order must live so that its absence can be proved before its time is over; 0 where that is no matter."""
    if not account.resends:
        return 0.0
    if number >= plan.intents:
        # The machine is slow.
        return LONGEST_LIFE
    proved = plan.visible_within + PROVING_SECONDS
    left = plan.storm_seconds * 1.1 - number * plan.storm_seconds / plan.intents
    return min(LONGEST_LIFE, max(left, 0.0) + proved)


def _content(rng: random.Random) -> dict[str, Any]:
    symbol, base, tick = rng.choice(SHARES)
    resting = base * (0.99 - 0.00025 * rng.randrange(80))
    price = base * 1.015 if rng.random() < 0.12 else resting
    return {
        "symbol": symbol,
        "exchange": "NSE",
        "action": "B",
        "quantity": rng.choice([1, 1, 1, 2, 3]),
        "order_type": "LIMIT",
        "price": f"{round(price / tick) * tick:.2f}",
    }
