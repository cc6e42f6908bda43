"""The page on which a person pauses an account, or lets it go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from brokers.admin.base import ModelAdmin
from brokers.admin.deeds import Deed, ReasonForm, page, person, typed_word
from brokers.clock import configured_clock
from brokers.domain.redaction import scrub
from brokers.models import BrokerAccount
from brokers.risk import pausing

PERMISSION = "brokers.change_brokeraccount"
PAUSE = (
    "Every order of this account is refused, exits included; only cancels go out, and what is on its way already. What is "
    "at the broker stays there and may fill unseen: the account's books, positions, margin and live feed are not read by "
    "schedule until you resume. The order book is read only while a plan waits for it or the fate of an order is not "
    "known. The next slice of a plan is refused, which stops the plan. To stop orders only, use Halt: the account is "
    "still read then."
)
RESUME = (
    "The account is read by schedule again, and its orders may go as far as no kill switch forbids them. What was refused "
    "meanwhile is not sent, and a plan that was stopped waits for you."
)


class PauseForm(ReasonForm):
    word = typed_word("PAUSE")


class ResumeForm(ReasonForm):
    word = typed_word("RESUME")


def pause_page(admin_page: ModelAdmin, request: HttpRequest, account: BrokerAccount) -> HttpResponse:
    """What pausing means, and the one of both that can be done now."""
    return page(
        admin_page,
        request,
        [_pause(account) if account.is_active else _resume(account)],
        template="admin/brokers/pause.html",
        title=str(account),
        context={"account": account, "pause": standing_of(account)},
        back=reverse("admin:brokers_brokeraccount_change", args=(account.pk,)),
    )


def standing_of(account: BrokerAccount) -> dict[str, str]:
    """Whether it is paused, and by whom and why if that is known."""
    if account.is_active:
        return {"state": "active", "colour": "success", "reason": ""}
    change = pausing.last_change(account)
    reason = f"{scrub(change.reason)} ({change.changed_by})" if change else ""
    return {"state": "paused", "colour": "warning", "reason": reason}


def _pause(account: BrokerAccount) -> Deed:
    return Deed(
        name="pause",
        title="Pause",
        description=PAUSE,
        permission=PERMISSION,
        form=PauseForm,
        perform=_performing(account, pausing.pause, "is paused: only cancels go out, and it is not read by schedule"),
        variant="danger",
    )


def _resume(account: BrokerAccount) -> Deed:
    return Deed(
        name="resume",
        title="Resume",
        description=RESUME,
        permission=PERMISSION,
        form=ResumeForm,
        perform=_performing(account, pausing.resume, "is active again"),
    )


def _performing(
    account: BrokerAccount, change: Callable[..., bool], result: str
) -> Callable[[HttpRequest, Mapping[str, Any]], str]:
    def perform(request: HttpRequest, given: Mapping[str, Any]) -> str:
        is_new = change(account, by=person(request), reason=given["reason"], at=configured_clock().now())
        return f"{account} {result}." if is_new else f"Somebody was faster: {account} {result}."

    return perform
