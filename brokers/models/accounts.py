"""Broker accounts and the state of their sessions."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from django.core.exceptions import ValidationError
from django.db import models

from brokers.discovery import broker_choices, specs
from brokers.domain.enums import Product, parse

if TYPE_CHECKING:
    from brokers.interfaces import AdapterSpec


class BrokerAccount(models.Model):
    """One account at one broker. Its secrets are the credential of the same service and name."""

    class ManualTrading(models.TextChoices):
        NONE = "NONE", "nobody places orders by hand"
        POSSIBLE = "POSSIBLE", "people may place orders by hand"

    broker = models.CharField(max_length=32, choices=broker_choices)
    name = models.CharField(max_length=64, default="default", help_text="How strategies name the account.")
    is_active = models.BooleanField(default=True, help_text="Polled and allowed to trade.")
    is_live_enabled = models.BooleanField(
        default=False, help_text="May send real orders when the installation runs live as well."
    )
    default_cash_product = models.CharField(max_length=8, default="CNC")
    default_derivative_product = models.CharField(max_length=8, default="NRML")
    orders_per_second = models.PositiveSmallIntegerField(
        default=8, help_text="Order requests in any one second; the exchanges take 10 from one client."
    )
    manual_trading = models.CharField(
        max_length=8,
        choices=ManualTrading,
        default=ManualTrading.POSSIBLE,
        help_text="Whether people also place orders in this account. Where the broker echoes no tag, an order that was "
        "possibly sent can then only be told from a person's by a person.",
    )
    requires_approval = models.BooleanField(
        default=False, help_text="Every order waits for a person's approval; cancels and exits do not."
    )
    resend_after_absence = models.BooleanField(
        default=False,
        help_text="Send an order once more when it is proved that the broker does not have it, within its lifetime, "
        "where the broker refuses a second order with the same tag.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["broker", "name"], name="one_account_per_broker_and_name")]

    def __str__(self) -> str:
        return f"{self.broker}/{self.name}"

    def clean(self) -> None:
        """:raises ValidationError: its orders would be more or other than its broker takes."""
        super().clean()
        # One that there is not is told of at its own field.
        if spec := specs().get(self.broker):
            problems = self._rate_problems(spec) | self._product_problems(spec)
            if problems:
                raise ValidationError(problems)

    def _rate_problems(self, spec: AdapterSpec) -> dict[str, str]:
        most = spec.capabilities.order_requests_per_second
        if 1 <= self.orders_per_second <= most:
            return {}
        return {
            "orders_per_second": f"{spec.verbose_name} takes at most {most} order requests a second; write 1 to {most}."
        }

    def _product_problems(self, spec: AdapterSpec) -> dict[str, str]:
        """Orders that name no product have one of these, so that a slip of the pen would have each of them denied."""
        problems = {}
        for column in ("default_cash_product", "default_derivative_product"):
            written = getattr(self, column)
            with suppress(ValueError):
                setattr(self, column, parse(Product, written).value)
            if getattr(self, column) not in spec.capabilities.products:
                problems[column] = (
                    f"{spec.verbose_name} does not offer product {written!r} through its API; write one of "
                    f"{', '.join(sorted(spec.capabilities.products))}."
                )
        return problems


class SessionState(models.Model):
    """Where an account's session stands. The tokens themselves are in the credential store."""

    class Status(models.TextChoices):
        NONE = "NONE", "no session"
        LOGGING_IN = "LOGGING_IN", "logging in"
        VALID = "VALID", "valid"
        EXPIRED = "EXPIRED", "expired"
        FAILED = "FAILED", "login failed"
        NEEDS_PERSON = "NEEDS_PERSON", "waiting for a person"

    account = models.OneToOneField(BrokerAccount, on_delete=models.CASCADE, related_name="session")
    status = models.CharField(max_length=16, choices=Status, default=Status.NONE)
    #: Grows with every login; a process that holds an older one re-reads before it complains.
    version = models.PositiveIntegerField(default=0)
    #: Not secret: what a rehydrated client needs besides the tokens.
    details = models.JSONField(default=dict, blank=True)
    opened_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    #: One sentence for a person; empty when all is well.
    message = models.CharField(max_length=500, blank=True)
    #: Failed logins in a row, and when the next may be tried.
    failures = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(null=True, blank=True)
    #: Who is logging in now, until when; taken by compare-and-set.
    lease_holder = models.CharField(max_length=64, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.account} {self.status}"


class DayCalls(models.Model):
    """How many calls an account had made of its day when that was last noted: Redis counts them, and may lose its counts."""

    account = models.OneToOneField(BrokerAccount, on_delete=models.CASCADE, related_name="day_calls")
    #: The market's.
    day = models.DateField()
    calls = models.PositiveIntegerField()
    #: Of the counts that said so, in the server's milliseconds.
    birth = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.account} {self.day} {self.calls}"
