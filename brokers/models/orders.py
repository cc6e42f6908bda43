"""The ledger: intents, attempts, the mirror of the broker's book, and append-only events.

``OrderIntent.state`` changes through ``brokers.ledger.transitions`` alone, which writes the event with it.
``OrderAttempt.outcome`` is ARMED by ``brokers.ledger.delivery``, then judged by ``brokers.ledger.settlement``, or by
``brokers.recovery`` where no answer was written; each compares with what it was before.
"""

from django.db import models
from django.db.models import Q

from brokers.domain.order_states import (
    CANCEL_KINDS,
    PLACING_KINDS,
    RESERVING_STATES,
    UNSETTLED_STATES,
    AttemptOutcome,
    IntentKind,
    IntentState,
)
from brokers.models.accounts import BrokerAccount


class OrderIntent(models.Model):
    """What somebody wants done at a broker, recorded before anything is sent."""

    account = models.ForeignKey(BrokerAccount, on_delete=models.PROTECT, related_name="intents")
    kind = models.CharField(max_length=10, choices=[(m.value, m.value.replace("_", " ").lower()) for m in IntentKind])
    strategy = models.CharField(max_length=64, blank=True)
    #: The caller's key, unique per account for ever.
    client_order_id = models.CharField(max_length=64)
    #: SHA-256 of the order's content; the same key with another fingerprint is refused.
    fingerprint = models.CharField(max_length=64)
    #: What goes to a broker that has a field for it.
    client_tag = models.CharField(max_length=16)
    mode = models.CharField(max_length=10)
    #: IST date on which the order is to be executed.
    trading_day = models.DateField()
    exchange = models.CharField(max_length=8, blank=True)
    symbol = models.CharField(max_length=64)
    side = models.CharField(max_length=4, blank=True)
    #: Units.
    quantity = models.PositiveIntegerField(default=0)
    #: As the caller asked; MARKET is sent as a protected LIMIT.
    order_type = models.CharField(max_length=12, blank=True)
    #: Rupees a unit; null for MARKET until it is priced.
    limit_price = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    trigger_price = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    product = models.CharField(max_length=8, blank=True)
    time_in_force = models.CharField(max_length=8, blank=True)
    reduce_only = models.BooleanField(default=False)
    #: The caller gave the client order id. Without one, a repetition is taken for a second click.
    has_own_key = models.BooleanField(default=True)
    #: The plan that this is a part of, its leg and slice there, from 0.
    plan = models.ForeignKey("OrderPlan", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    leg = models.PositiveSmallIntegerField(null=True, blank=True)
    slice = models.PositiveSmallIntegerField(null=True, blank=True)
    #: The order to cancel or modify.
    target = models.ForeignKey("BrokerOrder", on_delete=models.PROTECT, null=True, blank=True, related_name="mutations")
    #: The GTT to cancel or modify.
    gtt = models.ForeignKey("GttOrder", on_delete=models.PROTECT, null=True, blank=True, related_name="mutations")
    #: Of a GTT or its change: role, side, trigger_price and limit_price of each trigger, prices in rupees as text.
    triggers = models.JSONField(null=True, blank=True)
    state = models.CharField(
        max_length=20, choices=[(m.value, m.value.lower()) for m in IntentState], default=IntentState.READY
    )
    #: Grows with every change of state.
    version = models.PositiveIntegerField(default=0)
    last_event_hash = models.CharField(max_length=64, blank=True)
    #: Not sent before; moves when a rate limit makes it wait.
    not_before = models.DateTimeField()
    #: Never sent after.
    not_after = models.DateTimeField()
    #: The order or GTT to cancel or modify as the book showed it when this was recorded.
    target_before = models.JSONField(null=True, blank=True)
    #: Worst-case rupees that the order may cost, set when it is armed and kept while it may be at the broker.
    reserved_rupees = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)
    #: The kill switches' epoch at arming; nothing is sent under another one that forbids it.
    kill_epoch = models.PositiveIntegerField(default=0)
    #: Why it is not sent yet, in one sentence.
    waiting_reason = models.CharField(max_length=500, blank=True)
    closed_reason = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "client_order_id"], name="one_intent_per_client_order_id"),
            models.UniqueConstraint(fields=["account", "trading_day", "client_tag"], name="one_intent_per_tag_and_day"),
            models.UniqueConstraint(
                # By kind, so that a cancel never has to wait for a change whose outcome is unknown.
                fields=["target", "kind"],
                condition=Q(kind__in=[IntentKind.CANCEL, IntentKind.MODIFY]) & Q(state__in=sorted(UNSETTLED_STATES)),
                name="one_open_mutation_per_order_and_kind",
            ),
            models.UniqueConstraint(
                fields=["gtt", "kind"],
                condition=Q(kind__in=[IntentKind.GTT_CANCEL, IntentKind.GTT_MODIFY])
                & Q(state__in=sorted(UNSETTLED_STATES)),
                name="one_open_mutation_per_gtt_and_kind",
            ),
            models.UniqueConstraint(fields=["plan", "leg", "slice"], name="slices_are_written_once"),
            models.CheckConstraint(condition=Q(state__in=list(IntentState)), name="intent_state_is_known"),
            models.CheckConstraint(condition=Q(kind__in=list(IntentKind)), name="intent_kind_is_known"),
            models.CheckConstraint(
                condition=~Q(kind__in=sorted(PLACING_KINDS)) | (Q(quantity__gt=0) & Q(side__in=["BUY", "SELL"])),
                name="place_has_side_and_quantity",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=sorted(PLACING_KINDS)) | Q(target__isnull=False) | Q(gtt__isnull=False),
                name="mutation_has_target",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "account"], name="intent_by_state"),
            models.Index(fields=["account", "-created_at"], name="intent_by_account"),
            models.Index(
                # Every column that summing up what is open reads, which each order does while it is armed.
                fields=["account", "trading_day", "kind", "reserved_rupees"],
                condition=Q(state__in=sorted(RESERVING_STATES)),
                name="intent_reserving",
            ),
            models.Index(fields=["account", "fingerprint", "-created_at"], name="intent_repeated"),
            # What people ask of all accounts at once: a day's orders by state, and the one that a tag belongs to.
            models.Index(fields=["trading_day", "state"], name="intent_by_day"),
            models.Index(fields=["client_tag"], name="intent_by_tag"),
        ]
        permissions = [
            ("decide_order", "Can decide what became of an order"),
            ("approve_order", "Can approve or decline an order"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.client_order_id}"

    def called_absent(self) -> "OrderAttempt | None":
        """The newest attempt that was lost and judged to be without effect, whatever became of the intent then."""
        judged = self.attempts.filter(outcome=AttemptOutcome.VOID).exclude(reply_code=OrderAttempt.SESSION_REFUSED)
        return judged.order_by("-number").first()

    def lost_cancel(self) -> "OrderAttempt | None":
        """The newest attempt of a cancel that was judged without effect, so that it be sent again; None for all else.

        A book that lags is enough for that judgement: the attempt may have been taken.
        """
        return self.called_absent() if self.kind in CANCEL_KINDS else None


class OrderAttempt(models.Model):
    """One try to send an intent, committed before its first byte."""

    #: ``reply_code`` of a refusal that only says that the session is not valid.
    SESSION_REFUSED = "session"

    intent = models.ForeignKey(OrderIntent, on_delete=models.PROTECT, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    outcome = models.CharField(
        max_length=10, choices=[(m.value, m.value.lower()) for m in AttemptOutcome], default=AttemptOutcome.ARMED
    )
    #: What makes two orders look alike at a broker that echoes no tag; the tag itself elsewhere.
    match_key = models.CharField(max_length=64)
    host = models.CharField(max_length=64)
    boot_id = models.CharField(max_length=64)
    pid = models.PositiveIntegerField()
    #: Start of that process in clock ticks since boot, so that a reused pid is not mistaken for it; without /proc,
    #: in milliseconds since the epoch.
    pid_start = models.BigIntegerField()
    session_version = models.PositiveIntegerField(default=0)
    armed_at = models.DateTimeField()
    #: Market time after which the sender may not write its first byte.
    send_deadline_at = models.DateTimeField()
    #: Market time by which every timeout of the attempt has passed.
    quiet_at = models.DateTimeField()
    #: Price actually sent, in rupees: the protected limit of a market order.
    sent_price = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    first_byte_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    exceptions = models.CharField(max_length=300, blank=True)
    body_sha256 = models.CharField(max_length=64, blank=True)
    #: The broker's code and words, redacted.
    reply_code = models.CharField(max_length=32, blank=True)
    reply_text = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["intent", "number"], name="attempts_are_numbered"),
            models.UniqueConstraint(
                fields=["intent"],
                condition=~Q(outcome__in=[AttemptOutcome.NOT_SENT, AttemptOutcome.VOID]),
                name="one_live_attempt_per_intent",
            ),
            models.UniqueConstraint(
                fields=["match_key"],
                condition=Q(outcome__in=[AttemptOutcome.ARMED, AttemptOutcome.UNKNOWN]),
                name="no_lookalike_while_unresolved",
            ),
            models.CheckConstraint(condition=Q(outcome__in=list(AttemptOutcome)), name="attempt_outcome_is_known"),
        ]
        indexes = [
            models.Index(
                # Few of many, and each look for open questions asks for today's.
                fields=["armed_at"],
                condition=Q(outcome=AttemptOutcome.VOID),
                name="attempt_called_absent",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.intent} attempt {self.number}"


class BrokerOrder(models.Model):
    """One order in a broker's book, ours or not, as last read."""

    class Origin(models.TextChoices):
        OURS = "OURS", "sent by mcube"
        EXTERNAL = "EXTERNAL", "placed elsewhere"
        SUSPECT = "SUSPECT", "carries our tag, unknown to the ledger"

    account = models.ForeignKey(BrokerAccount, on_delete=models.PROTECT, related_name="broker_orders")
    trading_day = models.DateField()
    broker_order_id = models.CharField(max_length=64)
    exchange_order_id = models.CharField(max_length=64, blank=True)
    attempt = models.OneToOneField(
        OrderAttempt, on_delete=models.PROTECT, null=True, blank=True, related_name="broker_order"
    )
    origin = models.CharField(max_length=10, choices=Origin)
    client_tag = models.CharField(max_length=80, blank=True)
    #: Every tag in its history, once that was read; null before.
    history_tags = models.JSONField(null=True, blank=True)
    exchange = models.CharField(max_length=8)
    symbol = models.CharField(max_length=64)
    side = models.CharField(max_length=4)
    order_type = models.CharField(max_length=12)
    product = models.CharField(max_length=8, blank=True)
    quantity = models.PositiveIntegerField()
    filled_quantity = models.PositiveIntegerField(default=0)
    limit_price = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    trigger_price = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    average_price = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    status = models.CharField(max_length=20)
    #: The broker's own word.
    broker_status = models.CharField(max_length=64, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    placed_at = models.DateTimeField(null=True, blank=True)
    first_seen_at = models.DateTimeField()
    #: When a reading of the book first showed it; null while only the acknowledgement says so.
    book_seen_at = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField()
    #: When a reading of the book first showed as much of it filled as now; null while nothing is.
    fill_seen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "trading_day", "broker_order_id"], name="one_row_per_broker_order"
            )
        ]
        indexes = [
            models.Index(fields=["account", "trading_day", "status"], name="broker_order_by_status"),
            # What people ask of all accounts at once.
            models.Index(fields=["trading_day"], name="broker_order_by_day"),
            models.Index(fields=["broker_order_id"], name="broker_order_by_id"),
        ]

    def __str__(self) -> str:
        return self.broker_order_id


class TradeFill(models.Model):
    """One execution of one order."""

    order = models.ForeignKey(BrokerOrder, on_delete=models.PROTECT, related_name="fills")
    fill_id = models.CharField(max_length=96)
    quantity = models.PositiveIntegerField()
    price = models.DecimalField(max_digits=14, decimal_places=4)
    filled_at = models.DateTimeField(null=True, blank=True)
    first_seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["order", "fill_id"], name="one_row_per_fill")]
        indexes = [models.Index(fields=["filled_at"], name="fill_by_time")]

    def __str__(self) -> str:
        return f"{self.quantity} @ {self.price}"


class OrderEvent(models.Model):
    """One change of an intent's state, with its evidence. The database refuses to change or delete it."""

    intent = models.ForeignKey(OrderIntent, on_delete=models.PROTECT, related_name="events")
    sequence = models.PositiveIntegerField()
    from_state = models.CharField(max_length=20, blank=True)
    to_state = models.CharField(max_length=20)
    actor = models.CharField(max_length=32)
    cause = models.CharField(max_length=300)
    evidence = models.JSONField(default=dict)
    at = models.DateTimeField()
    previous_hash = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["intent", "sequence"], name="events_are_numbered")]

    def __str__(self) -> str:
        return f"{self.intent} #{self.sequence} {self.to_state}"


class BookRead(models.Model):
    """One reading of a broker's book while a question was open: what absence is proved with."""

    account = models.ForeignKey(BrokerAccount, on_delete=models.CASCADE, related_name="book_reads")
    #: Version of the session it was made with; a later one than an attempt's is a fresh login.
    session_version = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField()
    #: Null while it is under way, and for ever when its process died.
    finished_at = models.DateTimeField(null=True, blank=True)
    #: The broker answered with a book that could be read.
    ok = models.BooleanField(default=False)
    #: Every order known to be there was in it, and there was one: the positive control.
    complete = models.BooleanField(default=False)
    rows = models.PositiveIntegerField(default=0)
    #: Net units by symbol as the positions read with it said; null when they were not read.
    positions = models.JSONField(null=True, blank=True)
    #: SHA-256 of what was read.
    sha256 = models.CharField(max_length=64, blank=True)
    #: One sentence on why it proves nothing; empty when it is complete.
    problem = models.CharField(max_length=500, blank=True)

    class Meta:
        indexes = [models.Index(fields=["account", "-started_at"], name="book_read_newest")]

    def __str__(self) -> str:
        return f"{self.account} {self.started_at:%H:%M:%S} {'complete' if self.complete else 'proves nothing'}"


class HumanDecision(models.Model):
    """What a person decided about an intent, with what they saw. The database refuses to change or delete it."""

    class Kind(models.TextChoices):
        APPROVE = "APPROVE", "send it"
        DECLINE = "DECLINE", "do not send it"
        ADOPT = "ADOPT", "it is this broker order"
        NOT_PLACED = "NOT_PLACED", "the broker does not have it"
        RESEND = "RESEND", "send it once more"
        DEAD = "DEAD", "its sender is gone"

    intent = models.ForeignKey(OrderIntent, on_delete=models.PROTECT, related_name="decisions")
    #: The attempt it is about; null for an approval.
    attempt = models.ForeignKey(OrderAttempt, on_delete=models.PROTECT, null=True, blank=True, related_name="decisions")
    kind = models.CharField(max_length=10, choices=Kind)
    decided_by = models.CharField(max_length=150)
    reason = models.CharField(max_length=500, blank=True)
    #: What was on the page when it was decided.
    evidence = models.JSONField(default=dict)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.intent} {self.kind} by {self.decided_by}"


class OrderRateGate(models.Model):
    """The last order requests of an account, so that no second carries more than it may."""

    account = models.OneToOneField(BrokerAccount, on_delete=models.CASCADE, related_name="order_rate")
    #: Epoch milliseconds of the newest requests, oldest first, at most a minute's.
    recent_ms = models.JSONField(default=list)
    #: IST date that ``day_count`` counts the requests of.
    day = models.DateField(null=True, blank=True)
    day_count = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"order rate of {self.account}"
