"""The checker finds each violation, and finds nothing where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import (
    VERDICTS,
    Evidence,
    Finding,
    busiest_calendar_second,
    busiest_second,
    check,
    hash_of,
    resolutions,
    summary,
)

Row = dict[str, Any]

BEGAN = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
KEY, CANCEL, PID = "intent-1", "cancel-1", 4711


def at(seconds: float) -> str:
    return (BEGAN + timedelta(seconds=seconds)).isoformat()


class World:
    """One account, one order that the broker took, and everything that the ledger says of it."""

    def __init__(self) -> None:
        self.plan: Row = {
            "accounts": [{"broker": "b", "name": "default", "user_id": "U1"}],
            "limits": {"b": {"orders_per_second": 10, "max_in_minute": 100}},
            "after_the_last_gate": ["wire.half_body"],
            "seconds_to_truth": 60.0,
            "awaits_bound": {"b": ["ABSENT"]},
            "bound": {"usual": 9.0, "floor": 6.0, "ceiling": 45.0, "spacing": 1.0},
        }
        self.account: Row = {
            "id": 1, "broker": "b", "name": "default", "orders_per_second": 8, "resend_after_absence": False,
        }  # fmt: skip
        self.intent = self.new_intent(1, KEY)
        self.attempt = self.new_attempt(11, 1)
        self.mirror: Row = {
            "id": 21, "account_id": 1, "broker_order_id": "N1", "attempt_id": 11, "filled_quantity": 0,
        }  # fmt: skip
        self.intents, self.attempts, self.mirrors = [self.intent], [self.attempt], [self.mirror]
        self.events: list[Row] = []
        self.moves(self.intent, ("", "READY"), ("READY", "ARMED"), ("ARMED", "WORKING"))
        self.truth = [self.order("N1", f"{KEY}#1#{PID}")]
        self.requests = [self.request(f"{KEY}#1#{PID}", 1.2)]
        self.journal: list[Row] = [{"what": "recorded", "key": KEY}]
        self.sabotage: list[Row] = []
        self.reads: list[Row] = []
        self.alerts: list[Row] = []
        self.decisions: list[Row] = []
        self.machine: list[Row] = []
        self.counters: dict[str, dict[str, Row]] = {
            "b": {"U1": {"calls": {"max_in_second": 3, "max_in_minute": 40, "max_in_day": 90}}}
        }

    def new_intent(self, pk: int, key: str, **changes: Any) -> Row:
        row: Row = {
            "id": pk, "account_id": 1, "kind": "PLACE", "client_order_id": key, "state": "WORKING",
            "not_after": at(30), "symbol": "SBIN", "waiting_reason": "", "reserved_rupees": "1400", "target_id": None,
        }  # fmt: skip
        return row | changes

    def new_attempt(self, pk: int, intent_id: int, number: int = 1, **changes: Any) -> Row:
        row: Row = {
            "id": pk, "intent_id": intent_id, "number": number, "outcome": "ACKED", "pid": PID,
            "armed_at": at(1), "quiet_at": at(19),
        }  # fmt: skip
        return row | changes

    def order(self, number: str, reference: str, **changes: Any) -> Row:
        row: Row = {
            "event": "accepted", "broker": "b", "account": "U1", "order_id": number, "reference": reference,
            "symbol": "SBIN", "state": "OPEN", "filled_quantity": 0, "visible_at": at(2), "market_at": at(1.3),
        }  # fmt: skip
        return row | changes

    def request(self, reference: str, seconds: float) -> Row:
        return {
            "broker": "b", "account": "U1", "endpoint": "place", "reference": reference, "fault": "",
            "wall_at": at(seconds), "market_at": at(seconds),
        }  # fmt: skip

    def moves(self, intent: Row, *steps: tuple[str, str], actor: str = "SENDER", seconds: float = 0) -> None:
        """Add events, each with the right hash."""
        for old, new in steps:
            before = [event for event in self.events if event["intent_id"] == intent["id"]]
            event: Row = {
                "intent_id": intent["id"], "sequence": len(before), "from_state": old, "to_state": new, "actor": actor,
                "cause": "because", "evidence": {"b": 1, "a": [2]}, "at": at(seconds + len(before)),
                "previous_hash": before[-1]["hash"] if before else "",
            }  # fmt: skip
            event["hash"] = hash_of(event, intent)
            self.events.append(event)
            intent["state"] = new

    def becomes(self, state: str, *path: str, actor: str = "RECONCILER") -> None:
        """Lead the order from WORKING's place over ``path`` to ``state``, as if its answer had been lost."""
        self.events = []
        self.moves(self.intent, ("", "READY"), ("READY", "ARMED"), ("ARMED", "UNKNOWN"))
        for step in (*path, state):
            if step != "UNKNOWN":
                self.moves(self.intent, (self.intent["state"], step), actor=actor, seconds=20)

    def evidence(self) -> Evidence:
        return Evidence(
            truth=self.truth,
            requests=self.requests,
            plan=self.plan,
            journal=self.journal,
            sabotage=self.sabotage,
            counters=self.counters,
            machine=self.machine,
            ledger={
                "brokeraccount": [self.account],
                "orderintent": self.intents,
                "orderattempt": self.attempts,
                "brokerorder": self.mirrors,
                "orderevent": self.events,
                "bookread": self.reads,
                "alert": self.alerts,
                "humandecision": self.decisions,
            },
        )

    def findings(self) -> list[Finding]:
        return check(self.evidence())

    def verdicts(self) -> set[str]:
        return {finding.verdict for finding in self.findings()}

    def tells(self, kind: str, seconds: float = 30) -> None:
        """Tell people of the order."""
        self.alerts.append({"intent_id": 1, "account_id": 1, "kind": kind, "first_at": at(seconds)})

    def mutation(self, kind: str, state: str) -> Row:
        """A cancel or change of the order, sent once."""
        intent = self.new_intent(2, CANCEL, kind=kind, target_id=21, reserved_rupees=None)
        self.intents.append(intent)
        self.attempts.append(self.new_attempt(12, 2))
        self.moves(intent, ("", "READY"), ("READY", "ARMED"), ("ARMED", state))
        self.requests.append(self.request(f"{CANCEL}#1#{PID}", 2))
        return intent


@pytest.fixture
def world() -> World:
    return World()


def test_an_order_that_is_what_the_ledger_says_is_no_finding(world: World) -> None:
    assert world.findings() == []


# Each takes a world that is right and makes it wrong in one way.


def _twice(world: World) -> None:
    world.truth.append(world.order("N2", f"{KEY}#1#{PID}"))


def _changed_twice(world: World) -> None:
    world.mutation("MODIFY", "DONE")
    change = world.order("N1", f"{KEY}#1#{PID}", event="modified", by=f"{CANCEL}#1#{PID}")
    world.truth += [change, change]


def _refused_and_there(world: World) -> None:
    world.events = []
    world.mirrors.clear()
    world.moves(world.intent, ("", "READY"), ("READY", "ARMED"), ("ARMED", "REFUSED"))


def _absent_and_there(world: World) -> None:
    world.mirrors.clear()
    world.attempt["outcome"] = "VOID"
    world.becomes("NOT_PLACED", "ABSENT")


def _there_without_intent(world: World) -> None:
    world.truth.append(world.order("N9", f"nobody#1#{PID}"))


def _there_without_link(world: World) -> None:
    world.mirror["attempt_id"] = None


def _cancelled_and_said_refused(world: World) -> None:
    world.mutation("CANCEL", "REFUSED")
    world.truth.append(
        world.order("N1", f"{KEY}#1#{PID}", event="cancelled", state="CANCELLED", by=f"{CANCEL}#1#{PID}")
    )
    world.moves(world.intent, ("WORKING", "CANCELLED"), actor="BOOK")


def _never_there(world: World) -> None:
    world.truth.clear()
    world.mirrors.clear()


def _linked_to_nothing(world: World) -> None:
    world.mirror["broker_order_id"] = "N77"


def _done_and_not(world: World) -> None:
    world.mutation("CANCEL", "DONE")


def _changed_and_not(world: World) -> None:
    world.mutation("MODIFY", "DONE")


def _a_persons_order(world: World) -> None:
    world.truth.append(world.order("N2", ""))
    world.mirror["broker_order_id"] = "N2"


def _another_intents_order(world: World) -> None:
    world.intents.append(world.new_intent(3, "intent-3"))
    world.attempts.append(world.new_attempt(13, 3))
    world.moves(world.intents[-1], ("", "READY"), ("READY", "ARMED"), ("ARMED", "WORKING"))
    world.truth.append(world.order("N3", f"intent-3#1#{PID}"))
    world.mirrors.append(world.mirror | {"id": 23, "broker_order_id": "N1", "attempt_id": 13})
    world.mirror["broker_order_id"] = "N3"


def _filled_and_cancelled(world: World) -> None:
    world.moves(world.intent, ("WORKING", "CANCELLED"), actor="BOOK")
    world.truth.append(world.order("N1", f"{KEY}#1#{PID}", event="filled", state="FILLED", filled_quantity=1))


def _filled_less(world: World) -> None:
    world.moves(world.intent, ("WORKING", "FILLED"), actor="BOOK")
    world.truth.append(world.order("N1", f"{KEY}#1#{PID}", event="filled", state="FILLED", filled_quantity=2))
    world.mirror["filled_quantity"] = 1


def _told_of_two(world: World) -> None:
    world.tells("sent_twice")


def _unknown_for_ever(world: World) -> None:
    world.becomes("UNKNOWN")


def _working_and_ended(world: World) -> None:
    world.truth.append(world.order("N1", f"{KEY}#1#{PID}", event="cancelled", state="CANCELLED", by=""))


def _nobody_told(world: World) -> None:
    world.becomes("NEEDS_HUMAN")


def _recorded_and_gone(world: World) -> None:
    world.journal.append({"what": "recorded", "key": "intent-9"})


def _too_late(world: World) -> None:
    world.requests = [world.request(f"{KEY}#1#{PID}", 31)]


def _too_many_armed(world: World) -> None:
    for number in range(9):
        world.intents.append(world.new_intent(30 + number, f"intent-3{number}", state="LAPSED"))
        world.attempts.append(world.new_attempt(130 + number, 30 + number, outcome="NOT_SENT", armed_at=at(1.5)))
        world.moves(world.intents[-1], ("", "READY"), ("READY", "LAPSED"))


def _too_many_sent(world: World) -> None:
    world.requests += [world.request("", 5.5) for _ in range(11)]


def _too_many_calls(world: World) -> None:
    world.counters["b"]["U1"]["calls"]["max_in_minute"] = 101


def _not_refused(world: World) -> None:
    world.journal.append({"what": "not refused", "key": KEY})


def _refused_the_same(world: World) -> None:
    world.journal.append({"what": "conflict", "key": KEY, "message": "no"})


def _slow(world: World) -> None:
    world.becomes("WORKING")
    world.events[-1]["at"] = at(100)
    world.events[-1]["hash"] = hash_of(world.events[-1], world.intent)
    world.reads.append({"account_id": 1, "ok": True, "started_at": at(25)})


def _two_live_attempts(world: World) -> None:
    world.attempts.append(world.new_attempt(12, 1, 2, outcome="UNKNOWN"))


def _unrecorded(world: World) -> None:
    world.requests.append(world.request(f"{KEY}#2#{PID}", 4))


def _before_it_was_armed(world: World) -> None:
    world.requests = [world.request(f"{KEY}#1#{PID}", 0.5)]


def _sent_twice(world: World) -> None:
    world.requests.append(world.request(f"{KEY}#1#{PID}", 4))


def _sent_by_another(world: World) -> None:
    world.requests = [world.request(f"{KEY}#1#{PID + 1}", 1.2)]


def _sent_again(world: World) -> None:
    world.attempt["outcome"] = "VOID"
    world.attempts.append(world.new_attempt(12, 1, 2))
    world.mirror["attempt_id"] = 12
    world.truth = [world.order("N1", f"{KEY}#2#{PID}")]
    world.becomes("READY", "ABSENT", actor="POLICY")
    world.moves(world.intent, ("READY", "ARMED"), ("ARMED", "WORKING"), seconds=20)


def _reset(world: World) -> None:
    _sent_again(world)
    world.account["resend_after_absence"] = True
    world.becomes("READY", actor="POLICY")
    world.moves(world.intent, ("READY", "ARMED"), ("ARMED", "WORKING"), seconds=20)


def _two_orders_linked(world: World) -> None:
    world.mirrors.append(world.mirror | {"id": 22})


def _event_changed(world: World) -> None:
    world.events[1]["cause"] = "something else"


def _event_gone(world: World) -> None:
    del world.events[1]


def _last_event_gone(world: World) -> None:
    del world.events[2]


def _reserves_nothing(world: World) -> None:
    world.intent["reserved_rupees"] = None


WRONGS: tuple[tuple[str, Callable[[World], None]], ...] = (
    ("DUPLICATED", _twice),
    ("DUPLICATED", _changed_twice),
    ("LOST", _refused_and_there),
    ("LOST", _absent_and_there),
    ("LOST", _there_without_intent),
    ("LOST", _there_without_link),
    ("LOST", _cancelled_and_said_refused),
    ("PHANTOM", _never_there),
    ("PHANTOM", _linked_to_nothing),
    ("PHANTOM", _done_and_not),
    ("PHANTOM", _changed_and_not),
    ("WRONG_LINK", _a_persons_order),
    ("WRONG_LINK", _another_intents_order),
    ("MISREPORTED", _filled_and_cancelled),
    ("MISREPORTED", _filled_less),
    ("MISREPORTED", _told_of_two),
    ("FORGOTTEN", _unknown_for_ever),
    ("FORGOTTEN", _working_and_ended),
    ("FORGOTTEN", _nobody_told),
    ("FORGOTTEN", _recorded_and_gone),
    ("SENT_AFTER_EXPIRY", _too_late),
    ("OVER_LIMIT", _too_many_armed),
    ("OVER_LIMIT", _too_many_sent),
    ("OVER_LIMIT", _too_many_calls),
    ("NOT_REFUSED", _not_refused),
    ("NOT_REFUSED", _refused_the_same),
    ("TOO_SLOW", _slow),
    ("I1", _two_live_attempts),
    ("I2", _unrecorded),
    ("I2", _before_it_was_armed),
    ("I3", _sent_twice),
    ("I3", _sent_by_another),
    ("I4", _sent_again),
    ("I4", _reset),
    ("I5", _two_orders_linked),
    ("I7", _event_changed),
    ("I7", _event_gone),
    ("I7", _last_event_gone),
    ("I8", _reserves_nothing),
)


@pytest.mark.parametrize(("verdict", "make_wrong"), WRONGS, ids=[make.__name__[1:] for _, make in WRONGS])
def test_each_wrong_is_found(world: World, verdict: str, make_wrong: Callable[[World], None]) -> None:
    make_wrong(world)

    assert verdict in world.verdicts()


def test_every_verdict_has_a_wrong_that_it_is_found_by() -> None:
    assert {verdict for verdict, _ in WRONGS} == set(VERDICTS)


# What is right and looks odd


def test_an_order_found_later_is_no_finding(world: World) -> None:
    world.attempt["outcome"] = "ADOPTED"
    world.becomes("WORKING")

    assert world.findings() == []


def test_a_question_before_a_person_is_no_finding_once_somebody_was_told(world: World) -> None:
    world.becomes("NEEDS_HUMAN")
    world.attempt["outcome"] = "UNKNOWN"
    world.mirror["attempt_id"] = None
    world.tells("needs_human")

    assert world.findings() == []
    assert summary(world.evidence())["brokers"]["b"]["human_share"] == 1


@pytest.mark.parametrize("quantity", [2, 3])
def test_a_change_without_effect_is_done_only_where_its_twin_took_effect(world: World, quantity: int) -> None:
    world.mutation("MODIFY", "DONE")["quantity"] = 2
    twin = world.new_intent(
        4, "twin", kind="MODIFY", target_id=21, reserved_rupees=None, state="DONE", quantity=quantity
    )
    world.intents.append(twin)
    world.attempts.append(world.new_attempt(14, 4))
    world.moves(twin, ("", "READY"), ("READY", "ARMED"), ("ARMED", "DONE"))
    world.requests.append(world.request(f"twin#1#{PID}", 2))
    world.truth.append(world.order("N1", f"{KEY}#1#{PID}", event="modified", by=f"twin#1#{PID}"))

    assert world.verdicts() == (set() if quantity == 2 else {"PHANTOM"})


def test_what_is_proved_absent_may_be_sent_again_where_that_is_switched_on(world: World) -> None:
    world.account["resend_after_absence"] = True
    _sent_again(world)
    world.requests.append(world.request(f"{KEY}#2#{PID}", 24))

    assert world.findings() == []


@pytest.mark.parametrize(("off_at", "verdicts"), [(40, set()), (15, {"I4"})])
def test_leave_to_send_again_may_be_taken_back_later(world: World, off_at: float, verdicts: set[str]) -> None:
    _sent_again(world)
    world.requests.append(world.request(f"{KEY}#2#{PID}", 24))
    world.tells("resend_off", off_at)

    assert world.verdicts() == verdicts


def test_an_order_of_a_person_may_be_taken_for_a_second(world: World) -> None:
    world.truth.append(world.order("N9", ""))
    world.tells("sent_twice")

    assert world.findings() == []


def test_a_cancel_may_be_sent_again_while_the_book_shows_the_order_open(world: World) -> None:
    cancel = world.mutation("CANCEL", "UNKNOWN")
    world.moves(cancel, ("UNKNOWN", "ABSENT"), actor="RECONCILER")
    world.moves(cancel, ("ABSENT", "READY"), actor="POLICY")
    world.moves(cancel, ("READY", "ARMED"), ("ARMED", "DONE"))
    world.truth.append(
        world.order("N1", f"{KEY}#1#{PID}", event="cancelled", state="CANCELLED", by=f"{CANCEL}#2#{PID}")
    )
    world.moves(world.intent, ("WORKING", "CANCELLED"), actor="BOOK")

    assert world.findings() == []


def test_a_process_frozen_after_its_last_gate_is_not_blamed_for_the_bytes_it_then_writes(world: World) -> None:
    world.requests = [world.request(f"{KEY}#1#{PID}", 33)]
    world.sabotage = [{"what": "stop", "label": "wire.half_body", "key": KEY, "attempt": 1}]

    assert world.findings() == []


def test_a_persons_order_that_nothing_is_linked_to_is_no_finding(world: World) -> None:
    world.truth.append(world.order("N5", ""))

    assert world.findings() == []


def test_a_second_is_counted_as_it_rolls_and_as_the_clock_has_it() -> None:
    times = [10.5, 10.9, 11.1, 11.4999, 11.5, 12.0]

    assert busiest_second(times) == 4
    assert busiest_calendar_second(times) == 3
    assert busiest_calendar_second([]) == 0


def test_the_time_to_the_truth_begins_when_the_book_could_show_it(world: World) -> None:
    world.becomes("WORKING")
    world.truth = [world.order("N1", f"{KEY}#1#{PID}", visible_at=at(22.5))]
    world.reads = [
        {"account_id": 1, "ok": ok, "started_at": at(when)} for ok, when in ((True, 21), (False, 22.8), (True, 23))
    ]

    (found,) = resolutions(world.evidence())

    assert (found.state, found.seconds, found.from_readable) == ("WORKING", 4.0, 0.0)


def test_a_blow_at_a_reader_begins_the_time_to_the_truth_anew(world: World) -> None:
    world.becomes("WORKING")
    world.events[-1]["at"] = at(100)
    world.events[-1]["hash"] = hash_of(world.events[-1], world.intent)
    world.reads = [{"account_id": 1, "ok": True, "started_at": at(when)} for when in (25, 70)]
    blow = (BEGAN + timedelta(seconds=60)).timestamp()
    world.sabotage = [
        {"what": "kill", "label": "judge.committed", "queue": "b", "wall_at": blow, "key": "", "attempt": None}
    ]

    (found,) = resolutions(world.evidence())

    assert (found.seconds, found.from_readable) == (81.0, 30.0)
    assert world.findings() == []


@pytest.mark.parametrize(
    ("orders", "delay", "gaps", "proved_after", "is_slow"),
    [
        pytest.param(199, 20, (0.5,), 70, True, id="too few orders"),
        pytest.param(200, 1, (), 67, True, id="never below the floor, broken"),
        pytest.param(200, 1, (), 65, False, id="never below the floor"),
        pytest.param(200, 5, (0.5,), 74, False, id="learnt"),
        pytest.param(200, 5, (0.5,), 76, True, id="learnt, broken"),
        pytest.param(200, 8, (3,), 74, False, id="missed long before"),
        pytest.param(200, 8, (3,), 76, True, id="missed long before, broken"),
        pytest.param(200, 8, (), 70, True, id="read too seldom to teach anything"),
        pytest.param(200, 90, (0.5,), 104, False, id="never above the ceiling"),
    ],
)
def test_a_proof_may_take_as_long_as_the_bound_that_the_book_taught(
    world: World, orders: int, delay: int, gaps: tuple[float, ...], proved_after: int, *, is_slow: bool
) -> None:
    world.intents, world.truth, world.mirrors, world.requests = [world.intent], [], [], []
    world.intent["state"], world.attempt["outcome"] = "NOT_PLACED", "VOID"
    world.events = []
    world.moves(
        world.intent,
        *(("", "READY"), ("READY", "ARMED"), ("ARMED", "UNKNOWN"), ("UNKNOWN", "ABSENT"), ("ABSENT", "NOT_PLACED")),
    )
    for event in world.events[-2:]:
        event["at"] = at(19 + proved_after)
    for event in world.events:
        event["hash"] = hash_of(event, world.intent)
    world.reads = [{"account_id": 1, "ok": True, "started_at": at(19), "finished_at": at(19)}]
    world.mirrors = [
        {
            "id": 100 + number, "account_id": 1, "broker_order_id": f"M{number}", "attempt_id": 1000 + number,
            "filled_quantity": 0, "book_seen_at": at(1 + delay),
        }
        for number in range(orders)
    ]  # fmt: skip
    world.attempts += [world.new_attempt(1000 + number, 1, 2) for number in range(orders)]
    evidence = world.evidence()
    evidence.ledger["bookread"] = world.reads + [
        {"account_id": 1, "ok": True, "started_at": at(1 + delay - gap), "finished_at": at(1 + delay - gap)}
        for gap in gaps
    ]

    assert ("TOO_SLOW" in {each.verdict for each in check(evidence)}) is is_slow


def test_readings_by_schedule_teach_how_late_a_book_is(world: World) -> None:
    world.attempts = [world.new_attempt(1000, 1, 2)]
    world.mirrors = [
        {
            "id": 100,
            "account_id": 1,
            "broker_order_id": "M",
            "attempt_id": 1000,
            "filled_quantity": 0,
            "book_seen_at": at(9),
        }
    ]
    evidence = world.evidence()
    evidence.ledger["orderbooksnapshot"] = [
        {"account_id": 1, "status": "OK", "taken_at": at(6)},
        {"account_id": 1, "status": "FAILED", "taken_at": None},
        {"account_id": 1, "status": "OK", "taken_at": at(9.5)},
    ]

    assert [seconds for _, seconds in evidence.delays[1]] == [5]


@pytest.mark.parametrize(
    ("make_wrong", "verdict"), [(_slow, "TOO_SLOW"), (_too_late, "SENT_AFTER_EXPIRY")], ids=["slow", "late"]
)
@pytest.mark.parametrize(("share", "is_found"), [(1.0, True), (0.34, True), (0.1, False)])
def test_time_that_the_machine_gave_to_other_work_is_not_held_against_the_ledger(
    world: World, make_wrong: Callable[[World], None], verdict: str, share: float, *, is_found: bool
) -> None:
    make_wrong(world)
    world.machine = [
        {"wall_at": (BEGAN + timedelta(seconds=second)).timestamp(), "seconds": 1.0, "share": share}
        for second in range(120)
    ]

    assert (verdict in world.verdicts()) is is_found


def test_a_machine_that_was_busy_at_another_time_excuses_nothing(world: World) -> None:
    _slow(world)
    world.machine = [{"wall_at": BEGAN.timestamp() + 200, "seconds": 60.0, "share": 0.01}]

    assert "TOO_SLOW" in world.verdicts()


def test_evidence_is_read_from_a_folder_as_the_databases_give_it(world: World, tmp_path: Path) -> None:
    evidence = world.evidence()
    # SQLite's times have a blank and no zone.
    for row in evidence.ledger["orderevent"]:
        row["at"] = row["at"].replace("T", " ").removesuffix("+00:00")
    (tmp_path / "ledger.json").write_text(json.dumps(evidence.ledger))
    (tmp_path / "plan.json").write_text(json.dumps(evidence.plan))
    (tmp_path / "counters.json").write_text(json.dumps(evidence.counters))
    for name, lines in (("truth", world.truth), ("requests", world.requests), ("journal-b", world.journal)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text + '{"torn": ')

    assert check(Evidence.read(tmp_path)) == []
