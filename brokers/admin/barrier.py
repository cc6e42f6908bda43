"""The start-up checks of every account: what stands between a start and the first live order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from brokers import barrier
from brokers.admin.base import ModelAdmin, ReadOnly
from brokers.admin.deeds import Deed, page
from brokers.admin.display import age
from brokers.clock import configured_clock
from brokers.domain.enums import Mode
from brokers.domain.redaction import scrub
from brokers.factory import BrokerFactory
from brokers.gateway import no_waiting
from brokers.ledger import book
from brokers.models import BrokerAccount, StartupBarrier


class AccountForm(forms.Form):
    account = forms.ModelChoiceField(BrokerAccount.objects.all(), widget=forms.HiddenInput)


@admin.register(StartupBarrier)
class StartupBarrierAdmin(ReadOnly, ModelAdmin):
    """One page with every account, checked or not."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        check_now = Deed(
            name="check",
            title="Check now",
            description="",
            permission="brokers.change_brokeraccount",
            form=AccountForm,
            perform=_check,
            variant="default",
            prefix="row",
        )
        return page(
            self,
            request,
            [check_now],
            template="admin/brokers/barrier.html",
            title="Start-up checks",
            context={"accounts": _standing(), "is_live": settings.MODE is Mode.LIVE, "mode": settings.MODE},
            back=reverse("admin:brokers_startupbarrier_changelist"),
        )


def _check(request: HttpRequest, given: Mapping[str, Any]) -> str:
    """Asks the broker what the checks need; sends no order."""
    account: BrokerAccount = given["account"]
    gateway = BrokerFactory.get_broker(account.broker, account.name)
    with no_waiting():
        checks = barrier.run(
            account, gateway, configured_clock().now(), sync_book=lambda account: book.sync_orders(account.pk)
        )
    red = [each for each in checks if not each.is_green]
    return f"{account}: {len(red)} of {len(checks)} checks are red." if red else f"{account}: every check is green."


def _standing() -> list[dict[str, Any]]:
    now = configured_clock().now()
    rows = {row.account_id: row for row in StartupBarrier.objects.all()}
    return [
        _described(account, rows.get(account.pk), now) for account in BrokerAccount.objects.order_by("broker", "name")
    ]


def _described(account: BrokerAccount, row: StartupBarrier | None, now: Any) -> dict[str, Any]:
    checks = [
        {"name": each["name"], "is_green": each["is_green"], "sentence": scrub(each["sentence"])}
        for each in (row.checks if row else [])
    ]
    red = sum(not each["is_green"] for each in checks)
    passed = barrier.has_passed(account, now)
    verdict = "green" if passed else f"{red} red" if red else "not of today" if checks else "not checked"
    return {
        "account": account,
        "verdict": verdict,
        "colour": "success" if passed else "danger" if red else "warning",
        "checks": checks,
        "checked": age(row.checked_at, now) if row and row.checked_at else "never",
    }
