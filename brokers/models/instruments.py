"""The instrument masters as the brokers served them, and the book of instruments merged from them."""

from django.db import models
from django.db.models import Q


class InstrumentMaster(models.Model):
    """One day's load of one broker's master: when, how many rows, what was refused."""

    broker = models.CharField(max_length=32)
    #: IST day of the download; a token means nothing on another day.
    master_day = models.DateField()
    loaded_at = models.DateTimeField()
    row_count = models.PositiveIntegerField()
    #: Good rows of each exchange, so that the next load can be told from a torn one.
    counts = models.JSONField(default=dict, blank=True)
    #: SHA-256 of the good rows, hex; the same master loaded twice changes nothing.
    digest = models.CharField(max_length=64)
    #: Rows refused, and disagreements with the other brokers' masters.
    problem_count = models.PositiveIntegerField(default=0)
    #: The first problems: [{"source", "line", "reason"}].
    problems = models.JSONField(default=list, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["broker", "master_day"], name="one_master_per_broker_and_day")]

    def __str__(self) -> str:
        return f"{self.broker} {self.master_day}"


class InstrumentMasterRows(models.Model):
    """The good rows of a master, kept apart so that listing masters does not read megabytes."""

    master = models.OneToOneField(InstrumentMaster, on_delete=models.CASCADE, related_name="rows")
    #: zlib over one JSON array a line.
    content = models.BinaryField()

    def __str__(self) -> str:
        return f"rows of {self.master}"


class InstrumentEdition(models.Model):
    """One merge of all masters at hand. Readers see the current edition, whole, or the one before it."""

    #: IST day it is meant for.
    master_day = models.DateField()
    #: {broker: [day of its master, digest]}
    built_from = models.JSONField(default=dict)
    row_count = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField()
    published_at = models.DateTimeField(null=True, blank=True)
    is_current = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["is_current"], condition=Q(is_current=True), name="one_current_instrument_edition"
            )
        ]

    def __str__(self) -> str:
        return f"edition {self.pk} of {self.master_day}"


class InstrumentRecord(models.Model):
    """One contract of one edition, merged from the brokers' masters."""

    edition = models.ForeignKey(InstrumentEdition, on_delete=models.CASCADE, related_name="records", db_index=False)
    #: The newest day among the masters that list it.
    master_day = models.DateField()
    exchange = models.CharField(max_length=8)
    symbol = models.CharField(max_length=64)
    kind = models.CharField(max_length=8)
    underlying = models.CharField(max_length=64)
    expiry = models.DateField(null=True, blank=True)
    #: Rupees.
    strike = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    right = models.CharField(max_length=2, blank=True)
    #: Units; null when no master of the day states it, or two disagree. So for the next four.
    lot_size = models.PositiveIntegerField(null=True, blank=True)
    #: Rupees.
    tick_size = models.DecimalField(max_digits=10, decimal_places=4, null=True, blank=True)
    #: Units, inclusive.
    freeze_quantity = models.PositiveIntegerField(null=True, blank=True)
    lower_band = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    upper_band = models.DecimalField(max_digits=14, decimal_places=4, null=True, blank=True)
    name = models.CharField(max_length=128, blank=True)
    #: {broker: {identifiers}}
    identifiers = models.JSONField(default=dict)

    class Meta:
        # Not unique: two contracts that claim one symbol are both kept, and the symbol is refused as ambiguous.
        # The operator class lets PostgreSQL use it for prefixes as well.
        indexes = [
            models.Index(
                fields=["edition", "symbol"], name="instrument_by_symbol", opclasses=["int8_ops", "varchar_pattern_ops"]
            ),
            # A search by contract and the list of expiries are answered from it without a look at the rows.
            models.Index(
                fields=["edition", "underlying", "kind", "expiry", "exchange", "strike"], name="instrument_by_contract"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.exchange}:{self.symbol}"


class InstrumentListing(models.Model):
    """Under which key one broker's master of an edition lists an instrument."""

    edition = models.ForeignKey(InstrumentEdition, on_delete=models.CASCADE, related_name="listings", db_index=False)
    instrument = models.ForeignKey(
        InstrumentRecord, on_delete=models.DO_NOTHING, related_name="listings", db_index=False, db_constraint=False
    )
    broker = models.CharField(max_length=32)
    key = models.CharField(max_length=128)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["edition", "broker", "key"], name="one_instrument_per_broker_and_key")
        ]

    def __str__(self) -> str:
        return f"{self.broker} {self.key}"
