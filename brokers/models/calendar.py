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
    #: Held against the exchange's own circular or a faithful account of it; without, doctor asks for it.
    is_verified = models.BooleanField("verified", default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["exchange", "phase", "share_class", "valid_from"], name="one_rule_per_phase_class_and_start"
            ),
            models.CheckConstraint(condition=models.Q(start_time__lt=models.F("end_time")), name="rule_starts_first"),
        ]

    def __str__(self) -> str:
        return f"{self.exchange} {self.phase} from {self.valid_from}"


class HolidayList(models.Model):
    """That all holidays of one exchange and year are entered.

    Without it every day of the year is unknown, whatever holidays are there, and an unknown day is closed.
    """

    exchange = models.CharField(max_length=8)
    year = models.PositiveSmallIntegerField()
    source = models.CharField(max_length=300)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["exchange", "year"], name="one_holiday_list_per_exchange_and_year")
        ]

    def __str__(self) -> str:
        return f"{self.exchange} {self.year}"


class SpecialDay(models.Model):
    """A holiday, or one phase of a day with other hours than the rules', e.g. a session on a Sunday.

    A day with sessions has these alone, also where it is a holiday. One phase may come twice a day, as when
    an exchange trades from its second site for an hour.
    """

    class Kind(models.TextChoices):
        HOLIDAY = "HOLIDAY", "closed"
        SESSION = "SESSION", "open at special hours"

    exchange = models.CharField(max_length=8)
    date = models.DateField()
    kind = models.CharField(max_length=8, choices=Kind)
    #: Empty on a holiday.
    phase = models.CharField(max_length=16, blank=True)
    #: Empty when the phase is the same for everything the exchange trades.
    share_class = models.CharField(max_length=8, choices=SessionRule.ShareClass, blank=True)
    #: IST, the end is the first moment after it; null on a holiday.
    start_time = models.TimeField(null=True, blank=True)
    end_time = models.TimeField(null=True, blank=True)
    note = models.CharField(max_length=200, blank=True)
    source = models.CharField(max_length=300)
    is_verified = models.BooleanField("verified", default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["exchange", "date"],
                condition=models.Q(kind="HOLIDAY"),
                name="one_holiday_per_exchange_and_date",
            ),
            models.UniqueConstraint(
                fields=["exchange", "date", "phase", "share_class", "start_time"],
                condition=models.Q(kind="SESSION"),
                name="one_special_phase_per_date_class_and_start",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="HOLIDAY", phase="", share_class="", start_time=None, end_time=None)
                | (models.Q(kind="SESSION", start_time__lt=models.F("end_time")) & ~models.Q(phase="")),
                name="a_holiday_has_no_hours_and_a_session_has",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.exchange} {self.date} {self.phase or self.kind}"
