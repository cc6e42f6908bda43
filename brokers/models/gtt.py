"""GTTs as the brokers' books show them. They live for longer than a day, unlike orders."""

from __future__ import annotations

from datetime import datetime

from django.db import models

from brokers.domain.gtt import GttKind, GttStatus, GttTrigger
from brokers.models.accounts import BrokerAccount
from brokers.models.orders import OrderAttempt, OrderIntent


class GttOrder(models.Model):
    """One GTT in a broker's book, ours or not, as last read."""

    class Origin(models.TextChoices):
        OURS = "OURS", "sent by mcube"
        EXTERNAL = "EXTERNAL", "placed elsewhere"

    account = models.ForeignKey(BrokerAccount, on_delete=models.PROTECT, related_name="gtt_orders")
    gtt_order_id = models.CharField(max_length=64)
    kind = models.CharField(max_length=12, choices=[(m.value, m.value.replace("_", " ").lower()) for m in GttKind])
    attempt = models.OneToOneField(
        OrderAttempt, on_delete=models.PROTECT, null=True, blank=True, related_name="gtt_order"
    )
    origin = models.CharField(max_length=10, choices=Origin)
    exchange = models.CharField(max_length=8)
    symbol = models.CharField(max_length=64)
    product = models.CharField(max_length=8, blank=True)
    #: Units.
    quantity = models.PositiveIntegerField()
    #: Of each trigger: role, side, trigger_price and limit_price in rupees a unit as text, status, broker_status.
    legs = models.JSONField(default=list)
    status = models.CharField(max_length=12, choices=[(m.value, m.value.lower()) for m in GttStatus])
    #: The order that a three-leg GTT entered with; empty otherwise, or while the broker names none.
    entry_order_id = models.CharField(max_length=64, blank=True)
    placed_at = models.DateTimeField(null=True, blank=True)
    first_seen_at = models.DateTimeField()
    #: When a reading of the book first showed it; null while only the acknowledgement says so.
    book_seen_at = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField()

    class Meta:
        verbose_name = "GTT"
        verbose_name_plural = "GTTs"
        constraints = [models.UniqueConstraint(fields=["account", "gtt_order_id"], name="one_row_per_gtt")]
        indexes = [
            models.Index(fields=["account", "status"], name="gtt_by_status"),
            models.Index(fields=["first_seen_at"], name="gtt_by_time"),
        ]

    def __str__(self) -> str:
        return self.gtt_order_id

    @classmethod
    def take(cls, intent: OrderIntent, attempt: OrderAttempt, gtt_order_id: str, now: datetime) -> bool:
        """Write down the GTT that the broker took for an attempt; a reading of its book may have been quicker.

        False when the broker named a GTT that another attempt has.
        """
        row, _ = cls.objects.get_or_create(
            account=intent.account,
            gtt_order_id=gtt_order_id,
            defaults={
                "kind": GttKind.SINGLE if len(intent.triggers or ()) == 1 else GttKind.THREE_LEG,
                "origin": cls.Origin.OURS,
                "exchange": intent.exchange,
                "symbol": intent.symbol,
                "product": intent.product,
                "quantity": intent.quantity,
                "legs": [each | {"status": GttStatus.ACTIVE, "broker_status": ""} for each in intent.triggers or ()],
                "status": GttStatus.ACTIVE,
                "first_seen_at": now,
                "last_seen_at": now,
            },
        )
        return row.belong_to(attempt)

    @classmethod
    def has_entered_with(cls, account: BrokerAccount, broker_order_id: str, symbol: str) -> bool:
        """Whether this order is what a GTT of ours entered with, as the GTT book says."""
        ours = cls.objects.filter(account=account, attempt__isnull=False, symbol=symbol)
        return ours.filter(entry_order_id=broker_order_id).exists()

    def shown(self) -> dict[str, list[dict[str, str]]]:
        """Its prices as the book shows them now, as JSON: what a change of them is held against."""
        return {"triggers": [GttTrigger.of(leg).plain() for leg in self.legs]}

    def belong_to(self, attempt: OrderAttempt) -> bool:
        """Make it the attempt's; False when it is another's already."""
        free = GttOrder.objects.filter(pk=self.pk, attempt__isnull=True)
        return bool(free.update(attempt=attempt, origin=self.Origin.OURS))


class GttBook(models.Model):
    """The newest reading of an account's GTT book."""

    account = models.OneToOneField(BrokerAccount, on_delete=models.CASCADE, related_name="gtt_book")
    asked_at = models.DateTimeField()
    #: When it could last be read; null before the first time.
    read_at = models.DateTimeField(null=True, blank=True)
    #: Why the newest reading failed, in one sentence; empty when it did not.
    problem = models.CharField(max_length=500, blank=True)

    class Meta:
        verbose_name = "GTT book"

    def __str__(self) -> str:
        return f"GTT book of {self.account}"
