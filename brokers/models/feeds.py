"""Which instruments an account's live feed carries, and for whom."""

from django.db import models

from brokers.models.accounts import BrokerAccount


class FeedSubscription(models.Model):
    """One subscriber's wish for one instrument's ticks. The feed carries it while anybody wishes it."""

    account = models.ForeignKey(BrokerAccount, on_delete=models.CASCADE)
    exchange = models.CharField(max_length=8)
    symbol = models.CharField(max_length=64)
    #: Last trading day; null for shares and indices.
    expiry = models.DateField(null=True, blank=True)
    #: A strategy's name; empty for those who give none.
    subscriber = models.CharField(max_length=64, blank=True)
    #: The best prices on both sides are wished for, too.
    depth = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "exchange", "symbol", "subscriber"], name="one_wish_per_subscriber_and_instrument"
            )
        ]

    def __str__(self) -> str:
        return f"{self.account} {self.exchange}:{self.symbol}"
