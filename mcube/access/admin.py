"""Pages on second factors, logins and failed logins, and the page on which a person enrols."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from axes.models import AccessAttempt, AccessLog
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.debug import sensitive_post_parameters
from django_otp.models import Device
from unfold.widgets import UnfoldAdminTextInputWidget

from brokers.admin.base import LongTableAdmin, ModelAdmin
from mcube.access import second_factor
from mcube.access.devices import Authenticator
from mcube.access.second_factor import CodeCheck

log = logging.getLogger("mcube.access")


class CodeForm(CodeCheck, forms.Form):
    """A code of the second factor that counts, for what changes it."""

    otp_token = forms.CharField(
        max_length=16,
        label="Code",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code", "spellcheck": "false"}),
    )

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if "otp_token" in cleaned:
            self.clean_otp(self.user)
        return cleaned


class FirstCodeForm(CodeForm):
    """The first code of a key that was begun."""

    def _chosen_device(self, user: Any) -> Device | None:
        device: Device | None = Authenticator.objects.select_for_update().filter(user=user, confirmed=False).first()
        return device


@admin.register(Authenticator)
class SecondFactorAdmin(ModelAdmin):
    """Who has enrolled. Keys are not shown; deleting a row lets its person enrol anew."""

    list_display = ("user", "confirmed", "created_at", "last_used_at")
    list_select_related = ("user",)
    search_fields = ("user__username",)
    fields = ("user", "confirmed", "created_at", "last_used_at", "throttling_failure_count")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(sensitive_post_parameters()(self.enrol))
        return [path("enrol/", view, name="mcube_authenticator_enrol"), *super().get_urls()]

    def enrol(self, request: HttpRequest) -> HttpResponse:
        """A person's own second factor: begin, confirm, new recovery codes, take it away. All but the first need a code."""
        deed = request.POST.get("deed", "") if request.method == "POST" else ""
        if deed not in _DEEDS:
            return self._show(request, None, ())
        form = _form_for(request, deed)
        if not form.is_valid():
            return self._show(request, form, ())
        log.info("a second factor was changed", extra={"user": str(request.user), "what": deed})
        if codes := _DEEDS[deed](request):
            return self._show(request, None, codes)
        return redirect(second_factor.ENROL)

    def _show(self, request: HttpRequest, form: forms.Form | None, codes: Sequence[str]) -> HttpResponse:
        begun = None if codes else second_factor.begun(request.user)
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": "Your second factor",
            "enrolled": second_factor.is_enrolled(request.user),
            "required": settings.REQUIRE_SECOND_FACTOR,
            "begun": begun and {"picture": second_factor.picture(begun), "key": second_factor.spelled(begun)},
            "form": form if form is not None and form.fields else CodeForm(request.user),
            "codes": codes,
            "codes_left": second_factor.codes_left(request.user),
        }
        return TemplateResponse(request, "admin/second_factor.html", context)


def _form_for(request: HttpRequest, deed: str) -> forms.Form:
    if deed == "confirm":
        return FirstCodeForm(request.user, request.POST)
    if deed == "begin" and not second_factor.is_enrolled(request.user):
        return forms.Form(request.POST)
    return CodeForm(request.user, request.POST)


def _begin(request: HttpRequest) -> list[str]:
    second_factor.begin(request.user)
    return []


def _confirm(request: HttpRequest) -> list[str]:
    device = second_factor.begun(request.user)
    if device is None:
        return []
    codes = second_factor.confirm(device)
    second_factor.count_as_verified(request, device)
    return codes


def _codes(request: HttpRequest) -> list[str]:
    return second_factor.new_recovery_codes(request.user)


def _remove(request: HttpRequest) -> list[str]:
    if settings.REQUIRE_SECOND_FACTOR:
        raise PermissionDenied
    second_factor.remove(request.user)
    messages.success(request, "The second factor is removed; the password alone lets you in.")
    return []


#: What can be done about one's own second factor; each returns the recovery codes to show, if there are new ones.
_DEEDS: dict[str, Callable[[HttpRequest], list[str]]] = {
    "begin": _begin,
    "confirm": _confirm,
    "codes": _codes,
    "remove": _remove,
}


@admin.register(AccessLog)
class LoginAdmin(LongTableAdmin):
    """Who logged in, when and from where."""

    list_display = ("attempt_time", "username", "ip_address", "logout_time")
    search_fields = ("username", "ip_address")
    fields = ("attempt_time", "username", "ip_address", "user_agent", "logout_time")


@admin.register(AccessAttempt)
class FailedLoginAdmin(ModelAdmin):
    """Failures that still count; deleting a row unlocks."""

    list_display = ("attempt_time", "username", "ip_address", "failures_since_start")
    search_fields = ("username", "ip_address")
    fields = ("attempt_time", "username", "ip_address", "user_agent", "failures_since_start")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
