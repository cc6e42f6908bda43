"""Plans of many orders. A plan's state is computed from its children and never written by a worker."""

from django.db import models

from brokers.models.accounts import BrokerAccount


class OrderPlan(models.Model):
    """A basket, written with all of its children in one transaction, or a closing of positions.

    A closing's children are written round by round, each round in one transaction, after the positions were read.
    """

    class Kind(models.TextChoices):
        BASKET = "BASKET", "basket"
        CLOSE = "CLOSE", "closing of a position"

    account = models.ForeignKey(BrokerAccount, on_delete=models.PROTECT, related_name="plans")
    kind = models.CharField(max_length=8, choices=Kind)
    strategy = models.CharField(max_length=64, blank=True)
    #: The caller's key, unique per account for ever; the children's are made from it.
    client_order_id = models.CharField(max_length=64)
    fingerprint = models.CharField(max_length=64)
    mode = models.CharField(max_length=10)
    #: IST date on which it is to be executed.
    trading_day = models.DateField()
    #: The legs as asked for, with the lot and freeze sizes of that day.
    legs = models.JSONField(default=list)
    #: What a closing is about: ``exchange|symbol|product``; an empty part stands for any.
    subject = models.CharField(max_length=100, blank=True)
    #: Seconds between two slices of one leg.
    pace_seconds = models.PositiveIntegerField(default=20)
    #: No slice is sent after.
    not_after = models.DateTimeField()
    created_at = models.DateTimeField()
    #: A person's yes, where the account asks for one; it counts for every slice.
    approved_at = models.DateTimeField(null=True, blank=True)
    approved_by = models.CharField(max_length=150, blank=True)
    #: Somebody stopped it: no further slice is sent.
    cancelled_at = models.DateTimeField(null=True, blank=True)
    cancelled_by = models.CharField(max_length=150, blank=True)
    #: Its orders that are working are to be cancelled as well.
    cancels_working = models.BooleanField(default=False)
    #: A guard stopped the line, and why; a person lets it go on or cancels it.
    stopped_at = models.DateTimeField(null=True, blank=True)
    stopped_reason = models.CharField(max_length=500, blank=True)
    #: Somebody let it go on: what had failed before does not stop it again.
    resumed_at = models.DateTimeField(null=True, blank=True)
    resumed_by = models.CharField(max_length=150, blank=True)
    #: Since when one leg is further than another by more than it may be.
    imbalanced_at = models.DateTimeField(null=True, blank=True)
    #: Nothing of it is to be done any more.
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "client_order_id"], name="one_plan_per_client_order_id"),
            models.UniqueConstraint(
                fields=["account", "subject"],
                condition=models.Q(finished_at__isnull=True) & ~models.Q(subject=""),
                name="one_unfinished_closing_per_subject",
            ),
        ]
        indexes = [
            models.Index(fields=["created_at"], condition=models.Q(finished_at__isnull=True), name="plan_unfinished")
        ]
        permissions = [("steer_plan", "Can cancel a plan or let it go on")]

    def __str__(self) -> str:
        return f"{self.kind} {self.client_order_id}"
