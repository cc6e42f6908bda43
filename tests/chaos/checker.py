"""Holds what really happened at the simulated brokers against what the ledger says.

Shares no code with the product: the standard library, the exchange's two logs and plain rows of the database.

    python tests/chaos/checker.py FOLDER

The folder holds ``truth.jsonl`` (every order that a broker really had), ``requests.jsonl`` (every order request that
reached one), ``ledger.json`` (rows by table), ``plan.json`` (accounts and bounds), ``journal-*.jsonl`` (what the
strategies asked for), ``sabotage.jsonl`` (who was killed or frozen where) and ``counters.json`` (calls by account).
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

Row = dict[str, Any]

#: What may be wrong, and what it means.
VERDICTS = {
    "DUPLICATED": "one intent had more than one order at the broker, or changed one twice",
    "LOST": "the broker has it, and the ledger says that it is not there, or asks no question about it",
    "PHANTOM": "the ledger says that it is at the broker, and it is not",
    "WRONG_LINK": "the ledger took somebody else's order for it",
    "MISREPORTED": "the ledger's end, quantity or price is not the broker's",
    "FORGOTTEN": "neither ended nor with a person",
    "SENT_AFTER_EXPIRY": "its first byte left after not_after",
    "OVER_LIMIT": "more requests than an account may make",
    "NOT_REFUSED": "one client order id was taken for two different orders, or the same order was refused",
    "TOO_SLOW": "the truth was found later than promised",
    "I1": "more than one live attempt of an intent",
    "I2": "a byte left before its attempt was recorded",
    "I3": "an attempt was sent twice, or by another process than the one that armed it",
    "I4": "sent again from an unknown outcome without proof and permission",
    "I5": "one broker order belongs to several attempts, or one attempt to several broker orders",
    "I7": "the events of an intent are not what was written",
    "I8": "what may be at the broker reserves nothing",
}
#: The ledger says with these that the broker does not have it.
NOT_THERE = {"DENIED", "WITHDRAWN", "LAPSED", "REFUSED", "NOT_PLACED"}
#: With these, that it has, or had.
THERE = {"WORKING", "FILLED", "CANCELLED", "REJECTED", "EXPIRED"}
#: Nobody is asked, and it has not ended.
UNFINISHED = {"NEW", "READY", "AWAITING_APPROVAL", "ARMED", "UNKNOWN", "ABSENT"}
RESERVING = {"ARMED", "UNKNOWN", "ABSENT", "NEEDS_HUMAN", "WORKING", "NOT_PLACED"}
NO_LONGER_LIVE = {"NOT_SENT", "VOID"}
#: The exchange's states in the ledger's words; the others are live.
ENDS = {"FILLED": "FILLED", "CANCELLED": "CANCELLED", "REJECTED": "REJECTED", "EXPIRED": "EXPIRED"}
#: Points of those who read books and answer questions, by the first part of their names.
READERS = {"recover", "fence", "reading", "judge", "resend"}
#: How the visibility bound is learnt.
FEWEST_SAMPLES, MOST_SAMPLES, SAFETY_FACTOR = 200, 1000, 3
#: The part of a processor that is enough for every promise: a run is itself some busy processes on two processors.
#: What the machine gives less, to other work, is no time that the product had.
FAIR_SHARE = 1 / 3
#: Between a process's look at its clock and its byte's arrival lies the machine's scheduler.
SCHEDULING = timedelta(seconds=0.5)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One violation."""

    verdict: str
    key: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Who sent a request, as its hidden header says: ``client_order_id#attempt#pid``."""

    key: str
    attempt: int
    pid: int

    @classmethod
    def read(cls, text: str) -> Reference | None:
        """None for a person's own order."""
        if not text:
            return None
        key, attempt, pid = text.rsplit("#", 2)
        return cls(key=key, attempt=int(attempt), pid=int(pid))


@dataclass(kw_only=True)
class Evidence:
    """Everything that is compared. Rows are as the database gave them."""

    truth: list[Row]
    ledger: dict[str, list[Row]]
    plan: Row
    requests: list[Row] = field(default_factory=list)
    journal: list[Row] = field(default_factory=list)
    sabotage: list[Row] = field(default_factory=list)
    counters: dict[str, dict[str, Row]] = field(default_factory=dict)
    #: What the machine gave, a moment after another.
    machine: list[Row] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Evidence:
        return cls(
            truth=_lines(folder / "truth.jsonl"),
            requests=_lines(folder / "requests.jsonl"),
            ledger=json.loads((folder / "ledger.json").read_text()),
            plan=json.loads((folder / "plan.json").read_text()),
            journal=[line for path in sorted(folder.glob("journal-*.jsonl")) for line in _lines(path)],
            sabotage=_lines(folder / "sabotage.jsonl"),
            counters=json.loads((folder / "counters.json").read_text()),
            machine=_lines(folder / "machine.jsonl"),
        )

    @cached_property
    def accounts(self) -> dict[int, Row]:
        """The ledger's accounts by id."""
        return {row["id"]: row for row in self.ledger["brokeraccount"]}

    @cached_property
    def user_ids(self) -> dict[tuple[str, str], str]:
        """The broker's user id of each account, by broker and name."""
        return {(row["broker"], row["name"]): row["user_id"] for row in self.plan["accounts"]}

    @cached_property
    def intents(self) -> dict[str, Row]:
        """By client order id; the strategies use each only once."""
        return {row["client_order_id"]: row for row in self.ledger["orderintent"]}

    @cached_property
    def attempts(self) -> dict[int, list[Row]]:
        """Of each intent, in order."""
        found: defaultdict[int, list[Row]] = defaultdict(list)
        for row in sorted(self.ledger["orderattempt"], key=lambda row: row["number"]):
            found[row["intent_id"]].append(row)
        return found

    @cached_property
    def events(self) -> dict[int, list[Row]]:
        """Of each intent, in order."""
        found: defaultdict[int, list[Row]] = defaultdict(list)
        for row in sorted(self.ledger["orderevent"], key=lambda row: row["sequence"]):
            found[row["intent_id"]].append(row)
        return found

    @cached_property
    def delays(self) -> dict[int, list[tuple[datetime, float]]]:
        """What is known of how long each account's book took to show acknowledged orders: when, and seconds; in order.

        A reading that came long after the one before it shows only that the one before missed the order.
        """
        armed = {
            row["id"]: row["armed_at"] for rows in self.attempts.values() for row in rows if row["outcome"] == "ACKED"
        }
        readings: defaultdict[int, list[tuple[datetime, datetime]]] = defaultdict(list)
        for row in self.ledger.get("bookread", []):
            if row["ok"]:
                readings[row["account_id"]].append((moment(row["finished_at"]), moment(row["started_at"])))
        for row in self.ledger.get("orderbooksnapshot", []):
            if row["status"] == "OK":
                readings[row["account_id"]].append((moment(row["taken_at"]), moment(row["taken_at"])))
        found: defaultdict[int, list[tuple[datetime, float]]] = defaultdict(list)
        for row in self.ledger["brokerorder"]:
            if row["attempt_id"] not in armed or not row.get("book_seen_at"):
                continue
            seen_at, armed_at = moment(row["book_seen_at"]), moment(armed[row["attempt_id"]])
            missed_at = max([armed_at, *(began for ended, began in readings[row["account_id"]] if ended < seen_at)])
            is_near = (seen_at - missed_at).total_seconds() <= self.plan["bound"]["spacing"]
            if is_near or missed_at > armed_at:
                delay = (seen_at if is_near else missed_at) - armed_at
                found[row["account_id"]].append((seen_at, delay.total_seconds()))
        return {account_id: sorted(delays) for account_id, delays in found.items()}

    @cached_property
    def decided(self) -> set[int]:
        """Intents about which a person decided."""
        return {row["intent_id"] for row in self.ledger.get("humandecision", [])}

    @cached_property
    def accepted(self) -> dict[str, list[Row]]:
        """Orders that a broker took, by client order id."""
        found: defaultdict[str, list[Row]] = defaultdict(list)
        for line in self.truth:
            reference = Reference.read(line.get("reference", "")) if line["event"] == "accepted" else None
            if reference:
                found[reference.key].append(line)
        return found

    @cached_property
    def effects(self) -> dict[str, list[Row]]:
        """Changes and cancellations that a broker made, by the client order id that asked for it."""
        found: defaultdict[str, list[Row]] = defaultdict(list)
        for line in self.truth:
            reference = Reference.read(line.get("by", ""))
            if reference:
                found[reference.key].append(line)
        return found

    @cached_property
    def orders(self) -> dict[tuple[str, str, str], Row]:
        """The last that the truth log says of each order, by broker, user id and order id."""
        return {(line["broker"], line["account"], line["order_id"]): line for line in self.truth if "order_id" in line}

    @cached_property
    def market_offset(self) -> timedelta:
        """What the market's clock is ahead of the machine's."""
        line = next(iter(self.requests), None)
        return moment(line["market_at"]) - moment(line["wall_at"]) if line else timedelta(0)

    def not_given(self, began: datetime, ended: datetime) -> timedelta:
        """The part of a stretch of market time that the machine gave to other work, beyond a fair share."""
        first, last = (each - self.market_offset for each in (began, ended))
        lost = 0.0
        for line in self.machine:
            since = datetime.fromtimestamp(line["wall_at"], UTC)
            until = since + timedelta(seconds=line["seconds"])
            seconds = (min(until, last) - max(since, first)).total_seconds()
            lost += max(seconds, 0.0) * max(1 - line["share"] / FAIR_SHARE, 0.0)
        return timedelta(seconds=lost)

    def account_of(self, row: Row) -> tuple[str, str]:
        """Broker and user id of an intent or a broker order of the ledger."""
        account = self.accounts[row["account_id"]]
        return account["broker"], self.user_ids.get((account["broker"], account["name"]), "")

    def order_of(self, row: Row) -> Row | None:
        """What the truth log says of a row of the mirror."""
        return self.orders.get((*self.account_of(row), row["broker_order_id"]))


def check(evidence: Evidence) -> list[Finding]:
    """Every violation."""
    rules = (
        _placements,
        _mutations,
        _alarms,
        _without_intent,
        _links,
        _sent,
        _rates,
        _calls,
        _promises,
        _live_attempts,
        _chains,
        _again,
        _reservations,
        _speed,
    )
    return [finding for rule in rules for finding in rule(evidence)]


# Orders


def _placements(evidence: Evidence) -> Iterator[Finding]:
    links = _links_of(evidence)
    for key, intent in evidence.intents.items():
        state, orders = intent["state"], evidence.accepted.get(key, [])
        if intent["kind"] != "PLACE":
            continue
        if len(orders) > 1:
            numbers = ", ".join(line["order_id"] for line in orders)
            yield Finding(verdict="DUPLICATED", key=key, sentence=f"The broker took it as {numbers}.")
        if orders and state in NOT_THERE:
            yield Finding(verdict="LOST", key=key, sentence=f"It is {state}, and the broker has {_ids(orders)}.")
        yield from _unfinished(evidence, key, intent)
        if state in THERE:
            yield from _there(evidence, key, intent, orders, links.get(intent["id"], []))


def _there(evidence: Evidence, key: str, intent: Row, orders: list[Row], linked: list[Row]) -> Iterator[Finding]:
    """What the ledger says is at the broker."""
    state = intent["state"]
    if not orders:
        yield Finding(verdict="PHANTOM", key=key, sentence=f"It is {state}, and the broker never had it.")
        return
    if not linked:
        yield Finding(verdict="LOST", key=key, sentence=f"It is {state} without a link to {_ids(orders)}.")
        return
    order = evidence.order_of(linked[0])
    if order is None:
        return  # _links says it
    end = ENDS.get(order["state"])
    if state == "WORKING" and end:
        yield Finding(verdict="FORGOTTEN", key=key, sentence=f"It is WORKING, and its order ended as {end}.")
    elif state != "WORKING" and end != state:
        yield Finding(verdict="MISREPORTED", key=key, sentence=f"It is {state}, and its order is {order['state']}.")
    elif state == "FILLED" and linked[0]["filled_quantity"] != order["filled_quantity"]:
        sentence = (
            f"{linked[0]['filled_quantity']} units are filled by the ledger, {order['filled_quantity']} in truth."
        )
        yield Finding(verdict="MISREPORTED", key=key, sentence=sentence)


def _unfinished(evidence: Evidence, key: str, intent: Row) -> Iterator[Finding]:
    state = intent["state"]
    if state in UNFINISHED:
        yield Finding(verdict="FORGOTTEN", key=key, sentence=f"It is still {state}: {intent['waiting_reason']}")
    alerts = {row["intent_id"] for row in evidence.ledger.get("alert", [])}
    if state == "NEEDS_HUMAN" and intent["id"] not in alerts:
        yield Finding(verdict="FORGOTTEN", key=key, sentence="It needs a person, and nobody was alerted.")


def _alarms(evidence: Evidence) -> Iterator[Finding]:
    """People are told of two orders for one only where the broker has two, or one of a person may be the second."""
    of_people = {
        (line["broker"], line["account"], line["symbol"])
        for line in evidence.truth
        if line["event"] == "accepted" and not line.get("reference")
    }
    told = {row["intent_id"] for row in evidence.ledger.get("alert", []) if row["kind"] == "sent_twice"}
    for key, intent in evidence.intents.items():
        may_be_a_person_s = (*evidence.account_of(intent), intent["symbol"]) in of_people
        if intent["id"] in told and len(evidence.accepted.get(key, [])) < 2 and not may_be_a_person_s:
            yield Finding(verdict="MISREPORTED", key=key, sentence="People were told that the broker has it twice.")


def _mutations(evidence: Evidence) -> Iterator[Finding]:
    """Cancels and changes, by their effect."""
    mirror = {row["id"]: row for row in evidence.ledger["brokerorder"]}
    for key, intent in evidence.intents.items():
        if intent["kind"] == "PLACE":
            continue
        state, effects = intent["state"], evidence.effects.get(key, [])
        if len(effects) > 1:
            yield Finding(verdict="DUPLICATED", key=key, sentence=f"It took effect {len(effects)} times.")
        if effects and state in NOT_THERE:
            yield Finding(verdict="LOST", key=key, sentence=f"It is {state}, and the broker did it.")
        yield from _unfinished(evidence, key, intent)
        order = evidence.order_of(mirror[intent["target_id"]])
        if order is None:
            yield Finding(verdict="WRONG_LINK", key=key, sentence="Its target is no order of the broker's.")
        elif state == "DONE" and intent["kind"] == "CANCEL" and order["state"] != "CANCELLED":
            yield Finding(verdict="PHANTOM", key=key, sentence=f"It is DONE, and the order is {order['state']}.")
        elif state == "DONE" and intent["kind"] == "MODIFY" and not effects and not _is_so(evidence, intent):
            yield Finding(verdict="PHANTOM", key=key, sentence="It is DONE, and the broker never changed the order.")
        elif state == "WORKING" and order["state"] in ENDS:
            sentence = f"It is WORKING, and the order it is about ended as {order['state']}."
            yield Finding(verdict="FORGOTTEN", key=key, sentence=sentence)


def _is_so(evidence: Evidence, intent: Row) -> bool:
    """Whether another change took effect that asked for the same of the same order."""
    asked = ("kind", "target_id", "quantity", "limit_price", "trigger_price")
    return any(
        evidence.effects.get(key) and all(other.get(name) == intent.get(name) for name in asked)
        for key, other in evidence.intents.items()
    )


def _without_intent(evidence: Evidence) -> Iterator[Finding]:
    """What was sent and the ledger knows nothing of."""
    for key in {*evidence.accepted, *evidence.effects}:
        if key not in evidence.intents:
            yield Finding(verdict="LOST", key=key, sentence="The broker has it, and the ledger has no such intent.")


def _links_of(evidence: Evidence) -> dict[int, list[Row]]:
    """The rows of the mirror that belong to each intent."""
    owner = {row["id"]: row["intent_id"] for row in evidence.ledger["orderattempt"]}
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for row in evidence.ledger["brokerorder"]:
        if row["attempt_id"] is not None:
            found[owner[row["attempt_id"]]].append(row)
    return found


def _links(evidence: Evidence) -> Iterator[Finding]:
    by_id = {row["id"]: row for row in evidence.ledger["orderintent"]}
    for intent_id, rows in _links_of(evidence).items():
        intent = by_id[intent_id]
        key = intent["client_order_id"]
        if len(rows) > 1:
            yield Finding(verdict="I5", key=key, sentence=f"It is linked to {len(rows)} broker orders.")
        for row in rows:
            order = evidence.order_of(row)
            if order is None:
                sentence = f"It is linked to {row['broker_order_id']}, which the broker never had."
                yield Finding(verdict="PHANTOM", key=key, sentence=sentence)
                continue
            owner = Reference.read(order.get("reference", ""))
            if (owner.key if owner else "") != key:
                whose = owner.key if owner else "a person's"
                sentence = f"It is linked to {row['broker_order_id']}, which is {whose}."
                yield Finding(verdict="WRONG_LINK", key=key, sentence=sentence)
    counted = Counter(row["attempt_id"] for row in evidence.ledger["brokerorder"] if row["attempt_id"] is not None)
    for attempt_id, count in counted.items():
        if count > 1:
            yield Finding(verdict="I5", key=str(attempt_id), sentence=f"One attempt has {count} broker orders.")


# Requests


def _sent(evidence: Evidence) -> Iterator[Finding]:
    """Every order request against the attempt that it says it is of."""
    frozen_at_the_gate = {
        (line["key"], line["attempt"])
        for line in evidence.sabotage
        if line["what"] == "stop" and line["label"] in evidence.plan["after_the_last_gate"]
    }
    seen: Counter[tuple[str, int]] = Counter()
    for line in evidence.requests:
        reference = Reference.read(line["reference"])
        if reference is None:
            continue
        key, number = reference.key, reference.attempt
        intent = evidence.intents.get(key)
        attempt = (
            next((row for row in evidence.attempts[intent["id"]] if row["number"] == number), None) if intent else None
        )
        if intent is None or attempt is None:
            yield Finding(verdict="I2", key=key, sentence=f"Attempt {number} was sent and is not on record.")
            continue
        seen[key, number] += 1
        if seen[key, number] == 2:
            yield Finding(verdict="I3", key=key, sentence=f"Attempt {number} was sent more than once.")
        if attempt["pid"] != reference.pid:
            sentence = f"Attempt {number} was armed by {attempt['pid']} and sent by {reference.pid}."
            yield Finding(verdict="I3", key=key, sentence=sentence)
        first_byte = moment(line["market_at"])
        if first_byte < moment(attempt["armed_at"]):
            yield Finding(verdict="I2", key=key, sentence=f"Attempt {number} was sent before it was armed.")
        late = first_byte - moment(intent["not_after"])
        if (key, number) in frozen_at_the_gate or late <= SCHEDULING:
            continue
        if late - evidence.not_given(moment(intent["not_after"]), first_byte) > SCHEDULING:
            sentence = f"Attempt {number} left {late.total_seconds():.2f} s after its time."
            yield Finding(verdict="SENT_AFTER_EXPIRY", key=key, sentence=sentence)


def _rates(evidence: Evidence) -> Iterator[Finding]:
    """Order requests of an account in any one second: as armed, and as they reached the broker."""
    armed: defaultdict[int, list[float]] = defaultdict(list)
    accounts = {row["id"]: row["account_id"] for row in evidence.ledger["orderintent"]}
    for row in evidence.ledger["orderattempt"]:
        armed[accounts[row["intent_id"]]].append(moment(row["armed_at"]).timestamp())
    for account_id, times in armed.items():
        account = evidence.accounts[account_id]
        most = busiest_second(times)
        if most > account["orders_per_second"]:
            sentence = f"{most} orders were armed within a second; {account['orders_per_second']} are allowed."
            yield Finding(verdict="OVER_LIMIT", key=f"{account['broker']}/{account['name']}", sentence=sentence)
    arrived: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for line in evidence.requests:
        arrived[line["broker"], line["account"]].append(moment(line["wall_at"]).timestamp())
    for (broker, user_id), times in arrived.items():
        limit = evidence.plan["limits"][broker]["orders_per_second"]
        for most, where in ((busiest_second(times), "a second"), (busiest_calendar_second(times), "a calendar second")):
            if most > limit:
                sentence = f"{most} order requests reached the broker within {where}; it takes {limit}."
                yield Finding(verdict="OVER_LIMIT", key=f"{broker}/{user_id}", sentence=sentence)


def _calls(evidence: Evidence) -> Iterator[Finding]:
    """Calls of any kind as the broker counted them."""
    for broker, accounts in evidence.counters.items():
        limits = evidence.plan["limits"][broker]
        for user_id, counted in accounts.items():
            for name in ("max_in_second", "max_in_minute", "max_in_day"):
                limit, most = limits.get(name), counted["calls"][name]
                if limit is not None and most > limit:
                    sentence = f"{most} calls by {name.replace('_', ' ')}; the broker takes {limit}."
                    yield Finding(verdict="OVER_LIMIT", key=f"{broker}/{user_id}", sentence=sentence)


def busiest_second(times: Iterable[float]) -> int:
    """The most moments (epochs) in any half-open rolling second, by whole milliseconds."""
    stamps, most, start = sorted(int(each * 1000) for each in times), 0, 0
    for end, stamp in enumerate(stamps):
        while stamps[start] <= stamp - 1000:
            start += 1
        most = max(most, end - start + 1)
    return most


def busiest_calendar_second(times: Iterable[float]) -> int:
    """The most moments (epochs) in any second of the clock."""
    return max(Counter(int(each) for each in times).values(), default=0)


def _promises(evidence: Evidence) -> Iterator[Finding]:
    """What the strategies were told and what became of it."""
    for line in evidence.journal:
        if line["what"] == "not refused":
            yield Finding(verdict="NOT_REFUSED", key=line["key"], sentence="It was taken again with other content.")
        elif line["what"] == "conflict":
            yield Finding(verdict="NOT_REFUSED", key=line["key"], sentence=f"The same was refused: {line['message']}")
        elif line["what"] == "recorded" and line["key"] not in evidence.intents:
            yield Finding(verdict="FORGOTTEN", key=line["key"], sentence="It was recorded, and the ledger has no row.")


# Invariants of the rows


def _live_attempts(evidence: Evidence) -> Iterator[Finding]:
    for key, intent in evidence.intents.items():
        live = [row for row in evidence.attempts.get(intent["id"], []) if row["outcome"] not in NO_LONGER_LIVE]
        if len(live) > 1:
            yield Finding(verdict="I1", key=key, sentence=f"{len(live)} attempts of it are live.")


def _chains(evidence: Evidence) -> Iterator[Finding]:
    for key, intent in evidence.intents.items():
        events = evidence.events.get(intent["id"], [])
        if not events or events[-1]["to_state"] != intent["state"]:
            yield Finding(verdict="I7", key=key, sentence=f"It is {intent['state']}, and no event says so.")
            continue
        if events[0]["previous_hash"] or events[0]["sequence"] != 0:
            yield Finding(verdict="I7", key=key, sentence="Its first event is missing.")
        for event in events:
            if event["hash"] != hash_of(event, intent):
                yield Finding(verdict="I7", key=key, sentence=f"Event {event['sequence']} was changed.")
        for earlier, later in pairwise(events):
            if (later["previous_hash"], later["sequence"]) != (earlier["hash"], earlier["sequence"] + 1):
                yield Finding(verdict="I7", key=key, sentence=f"The event before {later['sequence']} is missing.")


def hash_of(event: Row, intent: Row) -> str:
    """What an event's hash must be: SHA-256 over canonical JSON of the one before it and its own content."""
    content = [
        event["previous_hash"],
        [intent["account_id"], intent["client_order_id"]],
        event["sequence"],
        event["from_state"],
        event["to_state"],
        event["actor"],
        event["cause"],
        event["evidence"],
        moment(event["at"]).isoformat(),
    ]
    return hashlib.sha256(json.dumps(content, separators=(",", ":"), sort_keys=True).encode()).hexdigest()


def _again(evidence: Evidence) -> Iterator[Finding]:
    """I4: nothing leaves UNKNOWN for another send but through proof, and with somebody's leave.

    A cancel needs no leave: its goal is the same however often it is sent. Leave that was taken back was given before.
    """
    taken_back = {
        row["account_id"]: moment(row["first_at"])
        for row in evidence.ledger.get("alert", [])
        if row["kind"] == "resend_off"
    }
    for key, intent in evidence.intents.items():
        account = evidence.accounts[intent["account_id"]]
        for event in evidence.events.get(intent["id"], []):
            step = (event["from_state"], event["to_state"])
            if event["to_state"] != "READY" or event["from_state"] in ("", "NEW", "ARMED", "AWAITING_APPROVAL"):
                continue
            off_at = taken_back.get(account["id"])
            was_on = account["resend_after_absence"] or (off_at is not None and moment(event["at"]) <= off_at)
            allowed = intent["kind"] == "CANCEL" or was_on
            by_policy = event["actor"] == "POLICY" and step[0] == "ABSENT" and allowed
            by_person = event["actor"] == "PERSON" and intent["id"] in evidence.decided
            if not (by_policy or by_person):
                yield Finding(verdict="I4", key=key, sentence=f"{event['actor']} made it READY from {step[0]}.")


def _reservations(evidence: Evidence) -> Iterator[Finding]:
    for key, intent in evidence.intents.items():
        if intent["kind"] == "PLACE" and intent["state"] in RESERVING and intent["reserved_rupees"] is None:
            yield Finding(verdict="I8", key=key, sentence=f"It is {intent['state']} and reserves nothing.")


# Time


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """How an open question ended."""

    key: str
    broker: str
    account_id: int
    #: WORKING when it was found, ABSENT when proved away, NEEDS_HUMAN when a person was asked.
    state: str
    #: Seconds from the moment at which the attempt was over for sure until the state was known.
    seconds: float
    #: The same from the first reading of the book after that which could be read.
    from_readable: float | None
    #: When that was.
    readable_at: datetime | None
    at: datetime


def resolutions(evidence: Evidence) -> list[Resolution]:
    """Every question about an order that was open and is not any more.

    A reading that somebody kills or freezes is no readable book: the clock begins anew with each blow at those who read.
    """
    blows = _blows_at_readers(evidence)
    reads: defaultdict[int, list[datetime]] = defaultdict(list)
    for row in evidence.ledger.get("bookread", []):
        if row["ok"]:
            reads[row["account_id"]].append(moment(row["started_at"]))
    for times in reads.values():
        times.sort()
    found = []
    for key, intent in evidence.intents.items():
        attempts = {row["number"]: row for row in evidence.attempts.get(intent["id"], [])}
        number = 0
        for event in evidence.events.get(intent["id"], []):
            number += event["to_state"] == "ARMED"
            if event["from_state"] != "UNKNOWN" or intent["kind"] != "PLACE":
                continue
            at, over = moment(event["at"]), moment(attempts[number]["quiet_at"])
            visible = _visible_at(evidence, key, number)
            blow = max(
                (each for each in blows[evidence.accounts[intent["account_id"]]["broker"]] if each < at), default=over
            )
            since = max(over, visible or over, blow)
            readable = next((each for each in reads[intent["account_id"]] if each >= since), None)
            found.append(
                Resolution(
                    key=key,
                    broker=evidence.accounts[intent["account_id"]]["broker"],
                    account_id=intent["account_id"],
                    state=event["to_state"],
                    seconds=max((at - over).total_seconds(), 0.0),
                    from_readable=max((at - readable).total_seconds(), 0.0) if readable else None,
                    readable_at=readable,
                    at=at,
                )
            )
    return found


def _blows_at_readers(evidence: Evidence) -> defaultdict[str, list[datetime]]:
    """When a process that reads books was struck, by broker, in market time."""
    found: defaultdict[str, list[datetime]] = defaultdict(list)
    for blow in evidence.sabotage:
        if blow["label"].partition(".")[0] in READERS:
            found[blow["queue"]].append(datetime.fromtimestamp(blow["wall_at"], UTC) + evidence.market_offset)
    return found


def _visible_at(evidence: Evidence, key: str, number: int) -> datetime | None:
    for line in evidence.accepted.get(key, []):
        reference = Reference.read(line["reference"])
        if reference and reference.attempt == number:
            return moment(line["visible_at"])
    return None


def _bound(evidence: Evidence, account_id: int, at: datetime) -> float:
    """The visibility bound in seconds as the rule has it: learnt from what the account's book took to show orders."""
    limits: dict[str, float] = evidence.plan["bound"]
    known = [delay for seen_at, delay in evidence.delays.get(account_id, []) if seen_at <= at][-MOST_SAMPLES:]
    if len(known) < FEWEST_SAMPLES:
        return limits["usual"]
    slowest = sorted(known)[int(len(known) * 0.999)]
    return min(max(slowest * SAFETY_FACTOR, limits["floor"]), limits["ceiling"])


def _speed(evidence: Evidence) -> Iterator[Finding]:
    for found in resolutions(evidence):
        if found.from_readable is None or found.readable_at is None or found.state not in ("WORKING", "ABSENT"):
            continue
        bound: float = evidence.plan["seconds_to_truth"]
        if found.state in evidence.plan["awaits_bound"][found.broker]:
            bound += _bound(evidence, found.account_id, found.at)
        if found.from_readable <= bound:
            continue
        lost = evidence.not_given(found.readable_at, found.at).total_seconds()
        if found.from_readable - lost > bound:
            sentence = (
                f"{found.state} was found {found.from_readable:.1f} s after a readable book, for {lost:.1f} s of which "
                f"the machine was busy otherwise; {bound:g} s are promised."
            )
            yield Finding(verdict="TOO_SLOW", key=found.key, sentence=sentence)


# The report


def summary(evidence: Evidence) -> dict[str, Any]:
    """Figures of the run."""
    findings = check(evidence)
    by_broker: dict[str, Any] = {}
    found = resolutions(evidence)
    for broker in sorted({row["broker"] for row in evidence.accounts.values()}):
        mine = [row for row in evidence.intents.values() if evidence.accounts[row["account_id"]]["broker"] == broker]
        requests = [line for line in evidence.requests if line["broker"] == broker]
        by_broker[broker] = {
            "intents": len(mine),
            "kinds": dict(Counter(row["kind"] for row in mine)),
            "states": dict(sorted(Counter(row["state"] for row in mine).items())),
            "attempts": sum(len(evidence.attempts.get(row["id"], [])) for row in mine),
            "requests": len(requests),
            "requests_spoiled": sum(1 for line in requests if line["fault"]),
            "orders_at_broker": sum(
                1 for line in evidence.truth if line["event"] == "accepted" and line["broker"] == broker
            ),
            "orders_of_people": sum(
                1
                for line in evidence.truth
                if line["event"] == "accepted" and line["broker"] == broker and not line.get("reference")
            ),
            "human_share": round(sum(row["state"] == "NEEDS_HUMAN" for row in mine) / max(len(mine), 1), 4),
            "seconds_to_truth": {
                state: _spread([each for each in found if each.broker == broker and each.state == state])
                for state in ("WORKING", "ABSENT", "NEEDS_HUMAN")
            },
        }
    return {
        "violations": {name: sum(1 for each in findings if each.verdict == name) for name in VERDICTS},
        "findings": [vars(each) for each in findings],
        "brokers": by_broker,
        "processor_share": round(median(line["share"] for line in evidence.machine), 3) if evidence.machine else 1.0,
    }


def _spread(found: list[Resolution]) -> dict[str, float]:
    if not found:
        return {"count": 0}
    after = [each.seconds for each in found]
    readable = [each.from_readable for each in found if each.from_readable is not None]
    return {
        "count": len(found),
        "p50": round(median(after), 1),
        "p99": round(_p99(after), 1),
        **({"readable_p50": round(median(readable), 1), "readable_p99": round(_p99(readable), 1)} if readable else {}),
    }


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98] if len(values) > 1 else values[0]


# Reading


def moment(value: str) -> datetime:
    """An aware time of any of the logs or databases; one without a zone is UTC."""
    found = datetime.fromisoformat(value)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _ids(orders: Iterable[Row]) -> str:
    return ", ".join(line["order_id"] for line in orders)


def _lines(path: Path) -> list[Row]:
    """Every complete line of a log; the torn end of a killed process is passed over."""
    found = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


def main() -> int:
    """Print the figures and every violation; 1 when there is one."""
    result = summary(Evidence.read(Path(sys.argv[1])))
    for each in result.pop("findings"):
        sys.stdout.write(f"{each['verdict']}: {each['key']}: {each['sentence']}\n")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 1 if any(result["violations"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
