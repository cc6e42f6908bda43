"""What a trading day ended with, one row an account and day, kept for ever."""

from django.db import models

from brokers.models.accounts import BrokerAccount
from brokers.models.snapshots import HoldingSnapshot, MarginSnapshot, PositionSnapshot


class DayRecord(models.Model):
    """Written after the last close. The readings it was made of are kept as long as it is."""

    class Status(models.TextChoices):
        OK = "OK", "written"
        FAILED = "FAILED", "could not be written yet"

    account = models.ForeignKey(BrokerAccount, on_delete=models.CASCADE, related_name="days")
    #: IST.
    day = models.DateField()
    status = models.CharField(max_length=8, choices=Status)
    #: One sentence on what could not be read; empty when all was.
    error = models.CharField(max_length=500, blank=True)
    #: When it was last written or tried.
    written_at = models.DateTimeField()
    margin = models.ForeignKey(MarginSnapshot, on_delete=models.RESTRICT, null=True, blank=True, related_name="days")
    positions = models.ForeignKey(
        PositionSnapshot, on_delete=models.RESTRICT, null=True, blank=True, related_name="days"
    )
    holdings = models.ForeignKey(HoldingSnapshot, on_delete=models.RESTRICT, null=True, blank=True, related_name="days")
    # Rupees; null when the broker does not state what they are made of.
    #: Quantity times last price over the open positions, negative when short.
    positions_value = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)
    #: Result of the positions that ended flat.
    closed_pnl = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)
    #: Result of the positions that stayed open, the part of them closed on the day included.
    open_pnl = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)
    #: Of the ledger: everybody's orders at the broker on the day, and their fills.
    orders = models.PositiveIntegerField(null=True, blank=True)
    fills = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "day"], name="one_record_per_account_and_day")]
        indexes = [models.Index(fields=["-day", "account"], name="day_record_newest")]

    def __str__(self) -> str:
        return f"{self.account} {self.day} {self.status}"
