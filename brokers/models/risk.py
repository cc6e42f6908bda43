"""What limits trading: switches and limits by scope, their history, and the start-up barrier."""

from enum import StrEnum

from django.db import models
from django.db.models import Q

from brokers.models.accounts import BrokerAccount


class Scope(models.TextChoices):
    """What a switch or a limit is about."""

    EVERYTHING = "EVERYTHING", "everything"
    ACCOUNT = "ACCOUNT", "an account"
    STRATEGY = "STRATEGY", "a strategy"
    SYMBOL = "SYMBOL", "a symbol"


class ChangeOf(StrEnum):
    """What the rows of the history are about."""

    KILL_SWITCH = "kill switch"
    LIMITS = "limits"
    CANCELS = "cancel of open orders"
    PAUSE = "pause"


def _scope_constraints(prefix: str) -> list[models.BaseConstraint]:
    return [
        models.UniqueConstraint(fields=["scope", "scope_key"], name=f"one_{prefix}_per_scope"),
        models.CheckConstraint(
            condition=(Q(scope=Scope.EVERYTHING) & Q(scope_key="")) | (~Q(scope=Scope.EVERYTHING) & ~Q(scope_key="")),
            name=f"{prefix}_scope_has_key",
        ),
    ]


class KillSwitch(models.Model):
    """Whether orders may go: in everything, an account, a strategy or a symbol. The strictest that applies holds."""

    class State(models.TextChoices):
        ACTIVE = "ACTIVE", "orders may go"
        REDUCING = "REDUCING", "only what reduces a position, and cancels"
        HALTED = "HALTED", "only cancels"

    scope = models.CharField(max_length=12, choices=Scope)
    #: ``broker/name`` of an account, a strategy's name or a symbol; empty for everything.
    scope_key = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.ACTIVE)
    #: Of the row of everything: grows with every change of any switch.
    epoch = models.PositiveIntegerField(default=0)
    reason = models.CharField(max_length=500, blank=True)
    changed_by = models.CharField(max_length=150, blank=True)
    changed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = _scope_constraints("switch")
        verbose_name_plural = "kill switches"
        permissions = [("halt_trading", "Can halt trading"), ("resume_trading", "Can let trading go on")]

    def __str__(self) -> str:
        return f"{self.scope_key or 'everything'} {self.state}"


class RiskLimit(models.Model):
    """Limits of a scope; the strictest that applies holds. An empty one leaves it to the wider scope."""

    scope = models.CharField(max_length=12, choices=Scope)
    scope_key = models.CharField(
        max_length=100, blank=True, help_text="broker/name of an account, a strategy's name, or a symbol."
    )
    max_quantity = models.PositiveIntegerField(null=True, blank=True, help_text="Units in one order.")
    max_lots = models.PositiveIntegerField(null=True, blank=True, help_text="Lots in one order of a derivative.")
    max_notional_rupees = models.DecimalField(
        max_digits=18, decimal_places=2, null=True, blank=True, help_text="Rupees: price times units of one order."
    )
    max_open_rupees = models.DecimalField(
        max_digits=18,
        decimal_places=2,
        null=True,
        blank=True,
        help_text="Rupees: price times units over all orders that are working or whose outcome is not known.",
    )
    price_collar_percent = models.DecimalField(
        max_digits=6,
        decimal_places=2,
        null=True,
        blank=True,
        help_text="How far a limit price may be from a fresh quote, as a percentage of it.",
    )
    max_orders_per_day = models.PositiveIntegerField(null=True, blank=True)
    max_orders_per_second = models.PositiveIntegerField(null=True, blank=True)
    max_orders_per_minute = models.PositiveIntegerField(null=True, blank=True)
    max_open_orders = models.PositiveIntegerField(
        null=True, blank=True, help_text="Orders working, or whose outcome is not known, at one time."
    )
    max_loss_per_day_rupees = models.DecimalField(
        max_digits=18,
        decimal_places=2,
        null=True,
        blank=True,
        help_text="Rupees lost on the day's positions after which only exits go.",
    )
    repeat_cooldown_seconds = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="An order with the same content and no client order id of its own within so many seconds is a second "
        "click, and is refused.",
    )
    max_margin_age_seconds = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="An opening order needs a reading of the margin no older than this, which covers it.",
    )
    changed_by = models.CharField(max_length=150, blank=True)
    changed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = _scope_constraints("limit")

    def __str__(self) -> str:
        return f"limits of {self.scope_key or 'everything'}"


class RiskChange(models.Model):
    """One change of a switch or a limit: who, when, why. The database refuses to change or delete it."""

    #: One of :class:`ChangeOf`.
    what = models.CharField(max_length=40)
    scope = models.CharField(max_length=12, choices=Scope)
    scope_key = models.CharField(max_length=100, blank=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    changed_by = models.CharField(max_length=150)
    reason = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["-at"], name="risk_change_newest")]

    def __str__(self) -> str:
        return f"{self.what} of {self.scope_key or 'everything'} at {self.at:%Y-%m-%d %H:%M:%S}"


class StartupBarrier(models.Model):
    """What was checked before live orders of an account may go, on one day and since the last start."""

    account = models.OneToOneField(BrokerAccount, on_delete=models.CASCADE, related_name="barrier")
    #: IST date it holds for.
    trading_day = models.DateField(null=True, blank=True)
    #: When every check was green; null while one is not, and after every start.
    passed_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    #: Each check's name, whether it is green, and a sentence.
    checks = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"barrier of {self.account}"
