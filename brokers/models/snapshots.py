"""What was read of an account, one row a kind and schedule slot, failures included; and how often it is read."""

from django.core.exceptions import ValidationError
from django.db import models

from brokers.models.accounts import BrokerAccount

#: Seconds between two ticks of the schedule; every cadence is a multiple.
STEP_SECONDS = 10
#: The longest cadence: trading lasts a little longer, so that each reading is made once a day at least.
LONGEST_SECONDS = 21_600


class SnapshotKind(models.TextChoices):
    MARGIN = "MARGIN", "margin"
    POSITIONS = "POSITIONS", "positions"
    HOLDINGS = "HOLDINGS", "holdings"
    ORDERS = "ORDERS", "orders"
    TRADES = "TRADES", "trades"


def check_cadence(seconds: int) -> None:
    """:raises ValidationError: it is no multiple of the schedule's step, or longer than a day's trading."""
    if seconds % STEP_SECONDS or seconds > LONGEST_SECONDS:
        raise ValidationError(
            f"{seconds} s is no cadence; give a multiple of {STEP_SECONDS} s up to {LONGEST_SECONDS} s, six hours, "
            "or 0 for never."
        )


class SnapshotCadence(models.Model):
    """How often one kind is read of one account, where that is not what :mod:`brokers.cadences` has for all."""

    account = models.ForeignKey(BrokerAccount, on_delete=models.CASCADE, related_name="cadences")
    kind = models.CharField(max_length=10, choices=SnapshotKind)
    seconds = models.PositiveIntegerField(
        validators=[check_cadence],
        help_text="A multiple of 10; 0 is never. Orders: while nothing is open; what is open is followed at its own pace. "
        "Positions and margins seldom read make orders wait where a limit needs a young reading.",
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "kind"], name="one_cadence_per_account_and_kind")]
        verbose_name = "cadence"

    def __str__(self) -> str:
        return f"{self.account} {self.kind} every {self.seconds} s"


class Snapshot(models.Model):
    """One slot of one account. Running a slot twice writes once."""

    class Status(models.TextChoices):
        OK = "OK", "taken"
        FAILED = "FAILED", "could not be taken"

    # The constraint's index begins with it, and is read from either end.
    account = models.ForeignKey(BrokerAccount, on_delete=models.CASCADE, db_index=False)
    #: Start of the schedule slot, in the market's time.
    slot_at = models.DateTimeField()
    status = models.CharField(max_length=8, choices=Status)
    #: When the broker answered; null on failure.
    taken_at = models.DateTimeField(null=True, blank=True)
    #: One sentence on what failed; empty on success.
    error = models.CharField(max_length=500, blank=True)
    #: Seconds to the account's next slot of this kind when the reading was asked for; null when it was not by schedule.
    cadence_seconds = models.PositiveIntegerField(null=True, blank=True)
    #: Taken when the next slot had begun, so that it tells of that one.
    is_late = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    class Meta:
        abstract = True
        constraints = [models.UniqueConstraint(fields=["account", "slot_at"], name="%(class)s_once_per_slot")]
        # The pages of what failed and of what was late do not read all that went well.
        indexes = [
            models.Index(fields=["status", "-id"], name="%(class)s_status"),
            models.Index(fields=["-id"], condition=models.Q(is_late=True), name="%(class)s_late"),
        ]

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

    # The constraint's index begins with it.
    snapshot = models.ForeignKey(PositionSnapshot, on_delete=models.CASCADE, related_name="lines", db_index=False)
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


class HoldingSnapshot(Snapshot):
    """One reading of the shares held in delivery; its lines are the holdings."""

    #: Rupees over all lines at their last prices; null when it failed or a line has no price.
    value = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)
    #: Rupees over all lines; null when it failed, or a line has no price or no cost.
    pnl = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)


class HoldingLine(models.Model):
    """One share of one snapshot."""

    snapshot = models.ForeignKey(HoldingSnapshot, on_delete=models.CASCADE, related_name="lines")
    symbol = models.CharField(max_length=64)
    exchange = models.CharField(max_length=8)
    isin = models.CharField(max_length=16, blank=True)
    #: Units.
    quantity = models.IntegerField()
    sellable_quantity = models.IntegerField(null=True, blank=True)
    blocked_quantity = models.IntegerField(null=True, blank=True)
    #: Rupees.
    average_price = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    last_price = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    pnl = models.DecimalField(max_digits=18, decimal_places=4, null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.symbol} {self.quantity}"


class OrderBookSnapshot(Snapshot):
    """That the order book was read. The orders themselves are the ledger's: :class:`brokers.models.BrokerOrder`."""

    #: Orders that the book showed; null when it failed.
    orders = models.PositiveIntegerField(null=True, blank=True)


class TradeBookSnapshot(Snapshot):
    """That the trades were read. The trades themselves are the ledger's: :class:`brokers.models.TradeFill`."""

    #: Fills that the book showed; null when it failed.
    fills = models.PositiveIntegerField(null=True, blank=True)


class ThinningMark(models.Model):
    """How far the snapshots of one table were thinned to one a minute."""

    #: The model's name.
    table = models.CharField(max_length=32, unique=True)
    #: Of slots before it, one a minute is left.
    thinned_until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.table} until {self.thinned_until:%Y-%m-%d %H:%M}"
