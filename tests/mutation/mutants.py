"""The bugs, each with the test that must catch it."""

from __future__ import annotations

from tests.mutation.sowing import Mutant

LEDGER = "tests/integration/test_ledger.py::"
MATRIX = "tests/integration/test_transition_matrix.py::"
RECOVERY = "tests/integration/test_reconciliation.py::"
AMBIGUITY = "tests/contract/test_ambiguity.py::"

MUTANTS = [
    # The two locks
    Mutant(
        name="drop the index of live attempts",
        index="one_live_attempt_per_intent",
        test=LEDGER + "test_the_database_refuses_a_second_live_attempt[breeze]",
    ),
    Mutant(
        name="drop the index of look-alikes",
        index="no_lookalike_while_unresolved",
        test=LEDGER + "test_a_lookalike_waits_where_the_broker_could_not_tell_them_apart[breeze]",
    ),
    Mutant(
        name="drop the compare-and-set",
        module="brokers.ledger.transitions",
        old="filter(pk=intent.pk, state=old, version=version)",
        new="filter(pk=intent.pk)",
        test=MATRIX + "test_an_allowed_move_of_a_row_that_somebody_else_moved_changes_nothing",
    ),
    Mutant(
        name="no bug: the same compare-and-set in other words",
        module="brokers.ledger.transitions",
        old="filter(pk=intent.pk, state=old, version=version)",
        new="filter(version=version).filter(state=old, pk=intent.pk)",
        test=MATRIX + "test_an_allowed_move_of_a_row_that_somebody_else_moved_changes_nothing",
        is_harmless=True,
    ),
    # The queue
    Mutant(
        name="never ring again",
        module="brokers.ledger.operations",
        old='return list(waiting.order_by("created_at")[:limit])',
        new="return []",
        test=LEDGER + "test_the_sweeper_rings_again_for_what_was_recorded_and_not_taken[breeze]",
    ),
    # What an answer means
    Mutant(
        name="502 is a failure, at Kotak",
        module="brokers.adapters.kotakneo.errors",
        old="reply.code in CODES_DUPLICATE_TAG else OrderOutcomeUnknown",
        new="reply.code in CODES_DUPLICATE_TAG else OrderRejected",
        test=AMBIGUITY
        + "test_an_answer_that_proves_nothing_is_unknown_although_it_took_effect[kotakneo-bad_gateway-place]",
    ),
    Mutant(
        name="502 is a failure, at Breeze",
        module="brokers.adapters.breeze.errors",
        old='raise OrderOutcomeUnknown(\n        f"It is not known',
        new='raise OrderRejected(\n        f"It is not known',
        test=AMBIGUITY
        + "test_an_answer_that_proves_nothing_is_unknown_although_it_took_effect[breeze-bad_gateway-place]",
    ),
    Mutant(
        name="what is not proven is a refusal",
        module="brokers.ledger.settlement",
        old="outcome, state = AttemptOutcome.UNKNOWN, IntentState.UNKNOWN\n    if",
        new="outcome, state = AttemptOutcome.REFUSED, IntentState.REFUSED\n    if",
        test=LEDGER + "test_a_lost_answer_is_unknown_and_is_never_sent_again[kotakneo]",
    ),
    Mutant(
        name="a refused tag is a refusal",
        module="brokers.ledger.settlement",
        old="isinstance(error, (SessionExpired, OrderRejected))",
        new="isinstance(error, (SessionExpired, OrderRejected, TagTaken))",
        test=RECOVERY + "test_a_refusal_of_the_tag_means_that_it_is_there[kotakneo]",
    ),
    Mutant(
        name="an acknowledgement is a fill",
        module="brokers.ledger.settlement",
        old="outcome=AttemptOutcome.ACKED,\n        state=IntentState.WORKING",
        new="outcome=AttemptOutcome.ACKED,\n        state=IntentState.FILLED",
        test=LEDGER + "test_an_accepted_order_is_working_with_its_evidence[breeze]",
    ),
    # Finding out
    Mutant(
        name="'No data' is absence",
        module="brokers.recovery.reading",
        old="    if missing:\n",
        new="    if missing and shown:\n",
        test=RECOVERY + "test_an_empty_book_proves_nothing[breeze]",
    ),
    Mutant(
        name="no wait for what the book does not show yet",
        module="brokers.recovery.visibility",
        old="return attempt.quiet_at + account_bound",
        new="return attempt.quiet_at + 0 * account_bound",
        test=RECOVERY + "test_a_look_alike_is_believed_only_when_no_second_can_come[breeze]",
    ),
    Mutant(
        name="adopt the first of two candidates",
        module="brokers.recovery.reconciliation",
        old='        if len(found) > 1:\n            ask_person(attempt, f"several orders of the book',
        new='        if len(found) > 9:\n            ask_person(attempt, f"several orders of the book',
        test=RECOVERY + "test_of_two_look_alikes_neither_is_adopted[breeze]",
    ),
    Mutant(
        name="an old session proves absence",
        module="brokers.recovery.absence",
        old="reading.session_version > attempt.session_version",
        new="reading.session_version >= attempt.session_version",
        test=RECOVERY + "test_without_a_fresh_login_nothing_is_absent_and_the_session_stays[kotakneo]",
    ),
    Mutant(
        name="an old session shows that nothing came of a cancel",
        module="brokers.recovery.reconciliation",
        old="        if self.reading.record.session_version <= attempt.session_version:\n",
        new="        if False:\n",
        test=RECOVERY + "test_a_session_from_before_does_not_show_that_nothing_came_of_it[kotakneo-CANCEL-changes0]",
    ),
    Mutant(
        name="skip the fence",
        module="brokers.recovery.fencing",
        old="fate is Fate.DEAD and _declare_unknown",
        new="fate is not Fate.ELSEWHERE and _declare_unknown",
        test="tests/integration/test_fencing.py::test_a_sender_that_overran_is_killed_before_its_order_is_judged[stopped]",
    ),
    # Sending again
    Mutant(
        name="a new tag when it is sent again",
        module="brokers.risk.operation",
        old="client_tag=intent.client_tag",
        new='client_tag=f"{intent.client_tag[:14]}{intent.version:02d}"',
        test=LEDGER + "test_what_never_left_is_tried_again_with_the_same_tag_three_times_at_most[breeze]",
    ),
    Mutant(
        name="reset UNKNOWN to READY at a start",
        module="brokers.ledger.operations",
        old="    unsent = OrderIntent.objects",
        new='    OrderIntent.objects.filter(state="UNKNOWN").update(state="READY")\n    unsent = OrderIntent.objects',
        test=LEDGER + "test_a_lost_answer_is_unknown_and_is_never_sent_again[breeze]",
    ),
    # The last gate
    Mutant(
        name="skip the send deadline",
        module="brokers.ledger.delivery",
        old="if clock.monotonic() >= deadline:",
        new="if False:",
        test=LEDGER + "test_i3_a_sender_that_froze_after_it_armed_sends_nothing[kotakneo-_send]",
    ),
    Mutant(
        name="count the send deadline from after arming",
        module="brokers.ledger.delivery",
        old="    clock = gateway.clock\n\n    def last_gate",
        new="    clock = gateway.clock\n    deadline = clock.monotonic() + SEND_SECONDS\n\n    def last_gate",
        test=LEDGER + "test_i3_a_sender_that_froze_after_it_armed_sends_nothing[kotakneo-_arm]",
    ),
    Mutant(
        name="send under a stale epoch",
        module="brokers.risk.gate",
        old="if switches.epoch() != intent.kill_epoch:",
        new="if False:",
        test="tests/integration/test_switches.py::"
        "test_a_switch_thrown_between_arming_and_the_first_byte_keeps_it_from_leaving[breeze]",
    ),
    Mutant(
        name="wall clock for deadlines",
        module="brokers.ledger.delivery",
        old="if clock.monotonic() >= deadline:",
        new="if clock.now() >= attempt.send_deadline_at:",
        # The sender stands still, and by its wall, which was set back, no time has passed.
        test=LEDGER + "test_i3_a_sender_that_froze_after_it_armed_sends_nothing[kotakneo-_send]",
    ),
    # Readings
    Mutant(
        name="publish what was read in a stale epoch",
        module="brokers.shared_reads",
        old="return is_young and landed.version == account_versions.of(account_id, trading_day(now))",
        new="return is_young",
        test="tests/integration/test_shared_reads.py::"
        "test_an_order_that_settles_while_the_broker_is_asked_drops_the_answer",
    ),
    Mutant(
        name="publish a late reading over its slot's own",
        module="brokers.snapshots",
        old="rows.filter(status=Snapshot.Status.FAILED).update(**row)",
        new="rows.update(**row)",
        test="tests/integration/test_snapshots.py::test_what_comes_late_to_a_slot_publishes_nothing",
    ),
    # Limits
    Mutant(
        name="UNKNOWN keeps no reservation",
        module="brokers.risk.exposure",
        old="    parts: Iterable[str] = _OPEN\n",
        new="    parts: Iterable[str] = [part.replace(\"'UNKNOWN'\", \"'NOTHING'\") for part in _OPEN]\n",
        test="tests/integration/test_risk.py::test_open_orders_and_rupees_are_counted_with_what_is_unknown[breeze]",
    ),
    Mutant(
        name="trust the positions right after a fill",
        module="brokers.risk.exposure",
        old="held.asked_at - SETTLING",
        new="held.asked_at",
        test="tests/integration/test_risk.py::test_a_second_exit_waits_until_the_positions_must_show_the_first[breeze]",
    ),
    Mutant(
        name="the rate's token outside of the arming transaction",
        module="brokers.ledger.delivery",
        old="        with transaction.atomic(durable=True):\n            now, kill_epoch = gate.check_while_arming(intent, clearance, now)\n",
        new="        now, kill_epoch = gate.check_while_arming(intent, clearance, now)\n        with transaction.atomic(durable=True):\n",
        test=LEDGER + "test_an_order_that_another_process_took_costs_no_token_of_the_rate[kotakneo]",
    ),
]
