"""When the exchanges trade: rules with a start date, and the days that differ."""

from django.db import models


class SessionRule(models.Model):
    """The phases of an ordinary trading day of one exchange, from a date on."""

    exchange = models.CharField(max_length=8)
    phase = models.CharField(max_length=16)
    #: IST.
    start_time = models.TimeField()
    end_time = models.TimeField()
    valid_from = models.DateField()
    #: Last day, inclusive; null while it holds.
    valid_until = models.DateField(null=True, blank=True)
    source = models.CharField(max_length=300)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["exchange", "phase", "valid_from"], name="one_rule_per_phase_and_start")
        ]

    def __str__(self) -> str:
        return f"{self.exchange} {self.phase} from {self.valid_from}"


class SpecialDay(models.Model):
    """A holiday, or a session on other hours than the rule's."""

    class Kind(models.TextChoices):
        HOLIDAY = "HOLIDAY", "closed"
        SESSION = "SESSION", "open at special hours"

    exchange = models.CharField(max_length=8)
    date = models.DateField()
    kind = models.CharField(max_length=8, choices=Kind)
    #: IST; null on a holiday.
    start_time = models.TimeField(null=True, blank=True)
    end_time = models.TimeField(null=True, blank=True)
    note = models.CharField(max_length=200, blank=True)
    source = models.CharField(max_length=300)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["exchange", "date", "kind"], name="one_special_day_per_exchange_date_kind")
        ]

    def __str__(self) -> str:
        return f"{self.exchange} {self.date} {self.kind}"
