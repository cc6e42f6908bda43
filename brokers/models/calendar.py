"""When the exchanges trade: rules with a start date, and the days that differ."""

from django.db import models


class SessionRule(models.Model):
    """One phase of an ordinary trading day of one exchange, from a date on.

    Of several rules for one phase that hold on a day, those with the newest start date count.
    """

    class ShareClass(models.TextChoices):
        DERIVATIVES = "FNO", "shares that have derivatives"
        OTHER = "OTHER", "all other shares"

    exchange = models.CharField(max_length=8)
    phase = models.CharField(max_length=16)
    #: Empty when the phase is the same for everything the exchange trades.
    share_class = models.CharField(max_length=8, choices=ShareClass, blank=True)
    #: IST; the end is the first moment after it.
    start_time = models.TimeField()
    end_time = models.TimeField()
    valid_from = models.DateField()
    #: Last day, inclusive; null while it holds.
    valid_until = models.DateField(null=True, blank=True)
    source = models.CharField(max_length=300)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["exchange", "phase", "share_class", "valid_from"], name="one_rule_per_phase_class_and_start"
            ),
            models.CheckConstraint(condition=models.Q(start_time__lt=models.F("end_time")), name="rule_starts_first"),
        ]

    def __str__(self) -> str:
        return f"{self.exchange} {self.phase} from {self.valid_from}"


class SpecialDay(models.Model):
    """A holiday, or a session on other hours or another day than the rules'.

    On a day that has both rows the session counts: the exchange opens for it alone.
    """

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
