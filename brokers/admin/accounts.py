"""Broker accounts, their sessions, and what a person may do about them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminPasswordWidget

from brokers.admin import broker_login, pauses, switches
from brokers.admin.base import ModelAdmin, ReadOnly, StackedInlineAdmin, action, after_dialog, display, told
from brokers.admin.display import SESSION_COLOURS
from brokers.clock import configured_clock
from brokers.domain.errors import BrokerError, CredentialsNotFound, SDKMissing
from brokers.domain.redaction import scrub
from brokers.models import BrokerAccount, SessionState
from credentials.access import USE

#: What a person reads of a session; its details and lease are the system's own.
SESSION_FIELDS = (
    "status",
    "told_message",
    "version",
    "opened_at",
    "expires_at",
    "last_used_at",
    "failures",
    "retry_at",
)


class TokenForm(BaseDialogForm):  # type: ignore[misc]
    token = forms.CharField(
        max_length=4000,
        label="Token",
        help_text="What the broker's page put into the address after you logged in there.",
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
    )


LOGIN: dict[str, Any] = {
    "title": "Log in now",
    "description": "Opens a session at the broker unless there is a valid one, and forgets the pause after a refusal.",
    "form_class": None,
    "form_submit_text": "Log in",
}
AT_BROKER: dict[str, Any] = {
    "title": "Log in at the broker's page",
    "description": "Opens the broker's own page; it sends you back here, and the session is opened with what it brings.",
    "form_class": None,
    "form_submit_text": "Go there",
}
TOKEN: dict[str, Any] = {
    "title": "Give the login token",
    "description": "For a broker where a person logs in: the token is stored encrypted and the session opened.",
    "form_class": TokenForm,
    "form_submit_text": "Log in with it",
}
END: dict[str, Any] = {
    "title": "End the session",
    "description": "Ends it for every process; the next call logs in again.",
    "form_class": None,
    "form_submit_text": "End it",
}


class SessionInline(ReadOnly, StackedInlineAdmin):
    model = SessionState
    fields = readonly_fields = SESSION_FIELDS
    told_message = told("message")
    extra = 0
    can_delete = False
    verbose_name = verbose_name_plural = "session"


@admin.register(BrokerAccount)
class BrokerAccountAdmin(ModelAdmin):
    list_display = ("account", "is_active", "is_live_enabled", "session_status", "session_ends_at", "session_message")
    list_filter = ("broker", "is_active", "is_live_enabled", "session__status")
    search_fields = ("name", "broker")
    list_select_related = ("session",)
    show_full_result_count = False
    inlines = (SessionInline,)
    change_form_outer_before_template = "admin/brokers/trading.html"
    actions_detail = ("login_this", "login_at_broker", "give_token", "end_this_session")
    fieldsets = (
        (None, {"fields": ("broker", "name", "is_active", "is_live_enabled", "created_at")}),
        ("Orders", {"fields": ("default_cash_product", "default_derivative_product", "orders_per_second")}),
        ("Safety", {"fields": ("requires_approval", "manual_trading", "resend_after_absence")}),
    )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        account = self.get_object(request, object_id)
        context = {
            "trading": account and switches.standing_of(account),
            "may_halt": request.user.has_perm(switches.HALT),
            "pause": account and pauses.standing_of(account),
            "may_pause": request.user.has_perm(pauses.PERMISSION),
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **context})

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.pause)
        return [path("<int:pk>/pause/", view, name="brokers_brokeraccount_pause"), *super().get_urls()]

    def pause(self, request: HttpRequest, pk: int) -> HttpResponse:
        return pauses.pause_page(self, request, get_object_or_404(BrokerAccount, pk=pk))

    def get_readonly_fields(self, request: HttpRequest, obj: BrokerAccount | None = None) -> tuple[str, ...]:
        # The ledger and the credentials are keyed by broker and name; pausing has a page, which keeps who and why.
        return ("broker", "name", "is_active", "created_at") if obj else ("is_active", "created_at")

    def has_delete_permission(self, request: HttpRequest, obj: BrokerAccount | None = None) -> bool:
        """An account is paused, not deleted: its orders and snapshots stay."""
        return False

    def has_use_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Sessions belong to the credentials; who may change the account need not be let near them."""
        return request.user.has_perm(USE)

    @display(description="account", ordering="broker")
    def account(self, obj: BrokerAccount) -> str:
        return str(obj)

    @display(description="session", label=SESSION_COLOURS, ordering="session__status")
    def session_status(self, obj: BrokerAccount) -> tuple[str, str]:
        session = _session(obj)
        status = SessionState.Status(session.status) if session else SessionState.Status.NONE
        return status, str(status.label)

    @display(description="session ends at", ordering="session__expires_at")
    def session_ends_at(self, obj: BrokerAccount) -> datetime | None:
        session = _session(obj)
        return session.expires_at if session else None

    @display(description="message")
    def session_message(self, obj: BrokerAccount) -> str:
        session = _session(obj)
        return scrub(session.message) if session else ""

    # Dialogs, so that only a POST with its token does it.

    @action(description="Log in now", url_path="login", dialog=LOGIN, permission="use")
    def login_this(self, request: HttpRequest, _form: object, object_id: str) -> HttpResponse:
        self._try(request, get_object_or_404(BrokerAccount, pk=object_id), _log_in, "has a session")
        return _back(request, object_id)

    @action(description="Log in at the broker's page", url_path="login-at-broker", dialog=AT_BROKER, permission="use")
    def login_at_broker(self, request: HttpRequest, _form: object, object_id: str) -> HttpResponse:
        account = get_object_or_404(BrokerAccount, pk=object_id)
        try:
            page = broker_login.leave(request, account)
        except (BrokerError, CredentialsNotFound, SDKMissing) as error:
            self.message_user(request, scrub(f"{account}: {error}"), messages.ERROR)
            return _back(request, object_id)
        return after_dialog(request, page)

    @action(description="Give login token", url_path="give-token", dialog=TOKEN, permission="use")
    def give_token(self, request: HttpRequest, form: TokenForm, object_id: str) -> HttpResponse:
        token = form.cleaned_data["token"]
        account = get_object_or_404(BrokerAccount, pk=object_id)
        self._try(request, account, lambda account: _take_token(account, token), "has a session")
        return _back(request, object_id)

    @action(description="End session", url_path="end-session", dialog=END, permission="use")
    def end_this_session(self, request: HttpRequest, _form: object, object_id: str) -> HttpResponse:
        self._try(request, get_object_or_404(BrokerAccount, pk=object_id), _end_session, "has no session any more")
        return _back(request, object_id)

    def _try(
        self, request: HttpRequest, account: BrokerAccount, work: Callable[[BrokerAccount], None], result: str
    ) -> None:
        try:
            work(account)
        except (BrokerError, CredentialsNotFound, SDKMissing, ValidationError) as error:
            self.message_user(request, scrub(f"{account}: {error}"), messages.ERROR)
        else:
            self.message_user(request, f"{account} {result}.", messages.SUCCESS)


@admin.register(SessionState)
class SessionStateAdmin(ReadOnly, ModelAdmin):
    list_display = ("account", "status_label", "opened_at", "expires_at", "failures", "retry_at", "told_message")
    told_message = told("message")
    list_filter = ("status", "account__broker")
    search_fields = ("account__name", "account__broker")
    list_select_related = ("account",)
    fields = ("account", *SESSION_FIELDS)
    show_full_result_count = False

    @display(description="status", label=SESSION_COLOURS, ordering="status")
    def status_label(self, obj: SessionState) -> tuple[str, str]:
        return obj.status, obj.get_status_display()


def _session(account: BrokerAccount) -> SessionState | None:
    try:
        return account.session
    except SessionState.DoesNotExist:
        return None


def _log_in(account: BrokerAccount) -> None:
    from brokers import sessions

    # The person who asks says that the cause of an earlier refusal is gone.
    sessions.try_again(account)
    sessions.ensure(account, clock=configured_clock())


def _take_token(account: BrokerAccount, token: str) -> None:
    from brokers import sessions

    sessions.give_token(account, token)
    sessions.ensure(account, clock=configured_clock())


def _end_session(account: BrokerAccount) -> None:
    from brokers import sessions

    sessions.end(account, clock=configured_clock())


def _back(request: HttpRequest, object_id: str) -> HttpResponse:
    return after_dialog(request, reverse("admin:brokers_brokeraccount_change", args=(object_id,)))
