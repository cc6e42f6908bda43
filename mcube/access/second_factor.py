"""The second factor: a one-time code of an authenticator application, or a recovery code in its place.

Anybody of the staff may enrol. Who has enrolled is asked for a code at each login; with ``MCUBE_REQUIRE_SECOND_FACTOR``
who has not is led to the page that enrols them, and to no other.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from io import BytesIO

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django_otp import login
from django_otp.forms import OTPAuthenticationFormMixin
from django_otp.models import Device
from django_otp.qr import write_qrcode_image

from mcube.access.devices import Authenticator, RecoveryCodes

Person = AbstractBaseUser | AnonymousUser

#: How an authenticator's code looks; a recovery code is longer and has letters.
CODE_DIGITS = 6
ENROL = "admin:mcube_authenticator_enrol"
#: What answers machines and needs no person.
UNGUARDED = ("live", "ready")


def is_enrolled(user: Person) -> bool:
    """Whether a code is asked of this person."""
    return bool(Authenticator.objects.filter(user=user, confirmed=True).exists())


class CodeCheck(OTPAuthenticationFormMixin):  # type: ignore[misc]
    """One field for either kind of code; which device is meant is seen from its form.

    Failed codes slow each device down, longer every time.
    """

    otp_error_messages = OTPAuthenticationFormMixin.otp_error_messages | {
        "token_required": "Give the code that your authenticator shows, or one of your recovery codes.",
        "invalid_token": "This code is wrong or was used before; wait for the next one, and check your device's clock.",
        "device_required": "This code is wrong or was used before; wait for the next one, and check your device's clock.",
        "n_failed_attempts": "Too many wrong codes (%(failure_count)d); wait a little before the next one.",
    }

    def _chosen_device(self, user: Person) -> Device | None:
        # Locked, so that one code cannot be used by two requests at once.
        code = self.cleaned_data.get("otp_token", "")
        kind = Authenticator if len(code) == CODE_DIGITS and code.isdigit() else RecoveryCodes
        device: Device | None = kind.objects.select_for_update().filter(user=user, confirmed=True).first()
        return device

    def _update_form(self, user: Person) -> None:
        """The library would send the password back with the page."""


def guard(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: nobody of the staff goes on without the factor that is asked of them."""

    def handle(request: HttpRequest) -> HttpResponse:
        return _led_elsewhere(request) or get_response(request)

    return handle


def _led_elsewhere(request: HttpRequest) -> HttpResponse | None:
    if request.path_info in {f"/{page}" for page in UNGUARDED} | {reverse("admin:login"), reverse("admin:logout")}:
        return None
    user = request.user
    if not user.is_authenticated or not user.is_staff or user.is_verified():  # type: ignore[attr-defined]
        return None
    if is_enrolled(user):
        # Logged in before they enrolled, elsewhere.
        logout(request)
        return redirect_to_login(request.get_full_path() if request.method == "GET" else reverse("admin:index"))
    if settings.REQUIRE_SECOND_FACTOR and request.path_info != reverse(ENROL):
        return redirect(ENROL)
    return None


def begin(user: Person) -> Authenticator:
    """A new key, which counts for nothing until a code of it was given."""
    with transaction.atomic():
        Authenticator.objects.filter(user=user, confirmed=False).delete()
        device: Authenticator = Authenticator.objects.create(
            user=user, name="authenticator", key=Authenticator.new_key(), confirmed=False
        )
    return device


def begun(user: Person) -> Authenticator | None:
    """The key that waits for its first code."""
    device: Authenticator | None = Authenticator.objects.filter(user=user, confirmed=False).first()
    return device


def confirm(device: Authenticator) -> list[str]:
    """Make it the only authenticator of its person; returns new recovery codes."""
    with transaction.atomic():
        Authenticator.objects.filter(user=device.user).exclude(pk=device.pk).delete()
        Authenticator.objects.filter(pk=device.pk).update(confirmed=True)
        return new_recovery_codes(device.user)


def new_recovery_codes(user: Person) -> list[str]:
    """Codes that work once each; those from before work no more."""
    with transaction.atomic():
        RecoveryCodes.objects.filter(user=user).delete()
        codes = RecoveryCodes.new_codes()
        RecoveryCodes.objects.create(user=user, name="recovery codes", codes=" ".join(codes))
    return codes


def codes_left(user: Person) -> int:
    """How many recovery codes were not used yet."""
    held = RecoveryCodes.objects.filter(user=user).first()
    return len(held.left) if held else 0


def remove(user: Person) -> bool:
    """Take somebody's second factor away; whether there was one."""
    with transaction.atomic():
        RecoveryCodes.objects.filter(user=user).delete()
        return bool(Authenticator.objects.filter(user=user).delete()[0])


def picture(device: Authenticator) -> str:
    """The QR code as the address of an image."""
    out = BytesIO()
    write_qrcode_image(device.config_url, out)
    return f"data:image/svg+xml;base64,{b64encode(out.getvalue()).decode()}"


def spelled(device: Authenticator) -> str:
    """The key in groups of four, for who cannot take a picture."""
    key: str = device.key
    return " ".join(key[start : start + 4] for start in range(0, len(key), 4))


def count_as_verified(request: HttpRequest, device: Device) -> None:
    """Let this session count as verified, under a new key."""
    login(request, device)
    request.session.cycle_key()
