"""The instrument master of each day."""

from django.db import models


class InstrumentMaster(models.Model):
    """One day's load of one broker's master: when, how many rows, what was refused."""

    broker = models.CharField(max_length=32)
    master_day = models.DateField()
    loaded_at = models.DateTimeField()
    row_count = models.PositiveIntegerField()
    problem_count = models.PositiveIntegerField(default=0)
    #: The first problems: [{"source", "line", "reason"}].
    problems = models.JSONField(default=list, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["broker", "master_day"], name="one_master_per_broker_and_day")]

    def __str__(self) -> str:
        return f"{self.broker} {self.master_day}"


class InstrumentRecord(models.Model):
    """One contract on one day, merged from the brokers' masters."""

    master_day = models.DateField()
    exchange = models.CharField(max_length=8)
    symbol = models.CharField(max_length=64)
    kind = models.CharField(max_length=8)
    underlying = models.CharField(max_length=64)
    expiry = models.DateField(null=True, blank=True)
    strike = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    right = models.CharField(max_length=2, blank=True)
    #: Units.
    lot_size = models.PositiveIntegerField(null=True, blank=True)
    #: Rupees.
    tick_size = models.DecimalField(max_digits=10, decimal_places=4, null=True, blank=True)
    #: Units, inclusive.
    freeze_quantity = models.PositiveIntegerField(null=True, blank=True)
    lower_band = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    upper_band = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    name = models.CharField(max_length=128, blank=True)
    #: {broker: {"key": ..., identifiers...}}
    identifiers = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["master_day", "exchange", "symbol"], name="one_instrument_per_symbol_and_day"
            )
        ]

    def __str__(self) -> str:
        return f"{self.exchange}:{self.symbol}"
