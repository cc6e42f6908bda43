"""What a person must know: what happened, what it means, what to do. Sent by a task of its own."""

from django.db import models
from django.db.models import Q

from brokers.models.accounts import BrokerAccount
from brokers.models.orders import OrderIntent
from credentials.fields import EncryptedField


class Severity(models.IntegerChoices):
    INFO = 10, "to know"
    WARNING = 20, "look soon"
    CRITICAL = 30, "act now"


class Alert(models.Model):
    """One event, however often it is seen, until somebody acknowledges it."""

    kind = models.CharField(max_length=40)
    #: What makes two of them the same, e.g. ``unknown:42``.
    key = models.CharField(max_length=160)
    severity = models.PositiveSmallIntegerField(choices=Severity)
    account = models.ForeignKey(BrokerAccount, on_delete=models.CASCADE, null=True, blank=True, related_name="alerts")
    intent = models.ForeignKey(OrderIntent, on_delete=models.PROTECT, null=True, blank=True, related_name="alerts")
    happened = models.CharField(max_length=500)
    meaning = models.CharField(max_length=500)
    to_do = models.CharField(max_length=500)
    #: How often it was seen, from when to when.
    count = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=150, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["key"], condition=Q(acknowledged_at__isnull=True), name="one_open_alert_per_key"
            )
        ]
        indexes = [models.Index(fields=["-last_at"], name="alert_newest")]
        permissions = [("acknowledge_alert", "Can acknowledge alerts")]

    def __str__(self) -> str:
        return self.happened[:80]


class AlertChannel(models.Model):
    """Where alerts go: an address in Apprise's notation, e.g. ``tgram://``, ``mailto://``, ``ntfy://``, ``json://``."""

    name = models.CharField(max_length=64, unique=True)
    #: Holds the channel's secrets, so it is encrypted like a credential.
    address = EncryptedField(
        bound_by=["name"], help_text="An Apprise address, e.g. tgram://token/chat or ntfy://topic."
    )
    minimum_severity = models.PositiveSmallIntegerField(choices=Severity, default=Severity.WARNING)
    is_active = models.BooleanField(default=True)
    repeat_minutes = models.PositiveSmallIntegerField(
        default=15,
        help_text="An alert to act on now is sent again so often until somebody acknowledges it; 0 is never.",
    )
    #: Nothing is sent before: somebody is sending to it, or it failed just now.
    rest_until = models.DateTimeField(null=True, blank=True)
    last_sent_at = models.DateTimeField(null=True, blank=True)
    #: One sentence, without the address; empty when the last one went.
    last_problem = models.CharField(max_length=500, blank=True)

    def __str__(self) -> str:
        return self.name


class AlertDelivery(models.Model):
    """One alert on its way to one channel."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    channel = models.ForeignKey(AlertChannel, on_delete=models.CASCADE, related_name="deliveries")
    #: When it is to be sent, or sent again; null when there is nothing left to do.
    due_at = models.DateTimeField(null=True, blank=True)
    #: When it last went.
    sent_at = models.DateTimeField(null=True, blank=True)
    #: Failures in a row.
    failures = models.PositiveIntegerField(default=0)
    #: What failed, without the channel's address; empty when it went.
    problem = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["alert", "channel"], name="one_delivery_per_alert_and_channel")]
        indexes = [
            models.Index(fields=["channel", "due_at"], condition=Q(due_at__isnull=False), name="delivery_due"),
        ]
        verbose_name_plural = "alert deliveries"

    def __str__(self) -> str:
        return f"{self.alert} to {self.channel}"
