"""Margins and positions as the broker stated them, one row a schedule slot, failures included."""

from django.db import models

from brokers.models.accounts import BrokerAccount


class Snapshot(models.Model):
    """One slot of one account. Running a slot twice writes once."""

    class Status(models.TextChoices):
        OK = "OK", "taken"
        FAILED = "FAILED", "could not be taken"

    account = models.ForeignKey(BrokerAccount, on_delete=models.CASCADE)
    #: Start of the schedule slot, in the market's time.
    slot_at = models.DateTimeField()
    status = models.CharField(max_length=8, choices=Status)
    #: When the broker answered; null on failure.
    taken_at = models.DateTimeField(null=True, blank=True)
    #: One sentence on what failed; empty on success.
    error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        abstract = True
        constraints = [models.UniqueConstraint(fields=["account", "slot_at"], name="%(class)s_once_per_slot")]
        indexes = [models.Index(fields=["account", "-slot_at"], name="%(class)s_newest")]

    def __str__(self) -> str:
        return f"{self.account} {self.slot_at:%Y-%m-%d %H:%M:%S} {self.status}"


class MarginSnapshot(Snapshot):
    """Rupees, as the broker states them. Null when the slot failed or the broker states no such figure."""

    available = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)
    used = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)
    total = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)
    cash = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)
    collateral = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)
    details = models.JSONField(default=dict, blank=True)


class PositionSnapshot(Snapshot):
    """One reading of all positions; its lines are the positions."""

    #: Rupees over all lines; null when it failed or a line has no price.
    pnl = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)


class PositionLine(models.Model):
    """One position of one snapshot."""

    snapshot = models.ForeignKey(PositionSnapshot, on_delete=models.CASCADE, related_name="lines")
    symbol = models.CharField(max_length=64)
    exchange = models.CharField(max_length=8)
    product = models.CharField(max_length=8, blank=True)
    underlying = models.CharField(max_length=64, blank=True)
    expiry = models.DateField(null=True, blank=True)
    strike = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    right = models.CharField(max_length=2, blank=True)
    #: Units, negative when short.
    quantity = models.IntegerField()
    buy_quantity = models.IntegerField(default=0)
    sell_quantity = models.IntegerField(default=0)
    #: Rupees.
    buy_amount = models.DecimalField(max_digits=18, decimal_places=4, default=0)
    sell_amount = models.DecimalField(max_digits=18, decimal_places=4, default=0)
    average_price = models.DecimalField(max_digits=14, decimal_places=4)
    last_price = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    pnl = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["snapshot", "exchange", "symbol", "product"], name="one_line_per_position")
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.quantity}"
