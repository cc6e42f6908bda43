"""Logging in: password, the second factor of who has one, and a lock after repeated failures."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_cool_off, get_credentials
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextInputWidget

from mcube.access.second_factor import CodeCheck, is_enrolled
from mcube.middleware import INDIA

if TYPE_CHECKING:
    # The theme has no types; its form is Django's in other clothes.
    from django.contrib.admin.forms import AdminAuthenticationForm as AuthenticationForm
else:
    from unfold.forms import AuthenticationForm

TOO_MANY_REQUESTS = 429


class LoginForm(CodeCheck, AuthenticationForm):
    """The admin's login. The code is asked of who has enrolled a second factor, and only of them."""

    otp_token = forms.CharField(
        max_length=16,
        required=False,
        label="Code",
        help_text="From your authenticator, or a recovery code; leave it empty unless you have enrolled.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code", "spellcheck": "false"}),
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        user = self.get_user()
        if user is not None and is_enrolled(user):
            self.clean_otp(user)
        return cleaned

    def get_invalid_login_error(self) -> ValidationError:
        if self.request is not None and getattr(self.request, "axes_locked_out", False):
            return ValidationError(locked_until(self.request, self.cleaned_data["username"]), code="locked")
        return super().get_invalid_login_error()


def locked_until(request: HttpRequest, username: str) -> str:
    """The sentence for who is locked out: until when, how long that is, and how it ends sooner."""
    end = _end_of_lock(request, username)
    minutes = max(1, math.ceil((end - timezone.now()).total_seconds() / 60))
    return (
        f"Too many failed logins as {username} from this address: it is refused until {end.astimezone(INDIA):%H:%M} IST, "
        f"{minutes} minute{'' if minutes == 1 else 's'} from now. Wait, or ask whoever runs mcube to unlock you."
    )


def _end_of_lock(request: HttpRequest, username: str) -> datetime:
    """The last failure that was counted and the pause; failures while locked are not counted."""
    attempts = AxesProxyHandler.get_implementation().get_user_attempts(request, get_credentials(username))
    times = [rows.aggregate(Max("attempt_time"))["attempt_time__max"] for rows in attempts]
    # None when somebody unlocked it this moment.
    last = max((time for time in times if time), default=timezone.now())
    end: datetime = last + get_cool_off(request)
    return end


def refused(request: HttpRequest, response: HttpResponse, credentials: Any) -> HttpResponse:
    """The login page as it is, with the status of a request too many; the form says how long."""
    response.status_code = TOO_MANY_REQUESTS
    return response
