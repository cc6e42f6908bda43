"""The ledger: intents, attempts, the mirror of the broker's book, and append-only events.

Every change of ``OrderIntent.state`` and ``OrderAttempt.outcome`` is made by
``brokers.ledger.operations``; nothing else writes these tables.
"""

from django.db import models
from django.db.models import Q

from brokers.domain.order_states import UNSETTLED_STATES, AttemptOutcome, IntentKind, IntentState
from brokers.models.accounts import BrokerAccount


class OrderIntent(models.Model):
    """What somebody wants done at a broker, recorded before anything is sent."""

    account = models.ForeignKey(BrokerAccount, on_delete=models.PROTECT, related_name="intents")
    kind = models.CharField(max_length=8, choices=[(m.value, m.value.lower()) for m in IntentKind])
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
    #: The order to cancel or modify.
    target = models.ForeignKey("BrokerOrder", on_delete=models.PROTECT, null=True, blank=True, related_name="mutations")
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
            models.CheckConstraint(condition=Q(state__in=list(IntentState)), name="intent_state_is_known"),
            models.CheckConstraint(condition=Q(kind__in=list(IntentKind)), name="intent_kind_is_known"),
            models.CheckConstraint(
                condition=~Q(kind=IntentKind.PLACE) | (Q(quantity__gt=0) & Q(side__in=["BUY", "SELL"])),
                name="place_has_side_and_quantity",
            ),
            models.CheckConstraint(
                condition=Q(kind=IntentKind.PLACE) | Q(target__isnull=False), name="mutation_has_target"
            ),
        ]
        indexes = [
            models.Index(fields=["state", "not_before"], name="intent_by_state"),
            models.Index(fields=["account", "-created_at"], name="intent_by_account"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.client_order_id}"


class OrderAttempt(models.Model):
    """One try to send an intent, committed before its first byte."""

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
    #: Start of that process in clock ticks since boot, so that a reused pid is not mistaken for it.
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
    last_seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "trading_day", "broker_order_id"], name="one_row_per_broker_order"
            )
        ]
        indexes = [models.Index(fields=["account", "trading_day", "status"], name="broker_order_by_status")]

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


class OrderRateGate(models.Model):
    """The last order requests of an account, so that no second carries more than it may."""

    account = models.OneToOneField(BrokerAccount, on_delete=models.CASCADE, related_name="order_rate")
    #: Epoch milliseconds of the newest requests, oldest first, at most the account's limit.
    recent_ms = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"order rate of {self.account}"
