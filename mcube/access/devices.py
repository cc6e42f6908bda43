"""What a person shows besides the password. Keys and codes are encrypted at rest, and rotate with the credentials' keys."""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import b32decode, b32encode

import pyotp
from django.db import models
from django.views.decorators.debug import sensitive_variables
from django_otp.models import Device, ThrottlingMixin, TimestampMixin
from django_otp.oath import TOTP

from credentials.fields import EncryptedField

ISSUER = "mcube"
KEY_BYTES = 20
RECOVERY_CODES = 10
RECOVERY_CODE_BYTES = 5
#: Steps of 30 seconds that a device's clock may be wrong.
TOLERANCE = 1


class _Device(TimestampMixin, ThrottlingMixin, Device):  # type: ignore[misc]
    """Wrong codes make the next wait 1, 2, 4, ... seconds."""

    class Meta:
        abstract = True

    @sensitive_variables("token")
    def verify_token(self, token: str) -> bool:
        """Take a code: right and not used before, or the device is slowed down. The row is saved."""
        if not self.verify_is_allowed()[0]:
            return False
        is_right = self._use(token)
        if is_right:
            self.throttle_reset(commit=False)
            self.set_last_used_timestamp(commit=False)
            self.save()
        else:
            self.throttle_increment()
        return is_right

    def get_throttle_factor(self) -> int:
        return 1

    def _use(self, token: str) -> bool:
        raise NotImplementedError


class Authenticator(_Device):
    """An authenticator application: six digits, another every 30 seconds (RFC 6238)."""

    #: Base32, as applications take it.
    key = EncryptedField(bound_by=("user_id",))
    #: Steps by which the application's clock was found to differ.
    drift = models.SmallIntegerField(default=0)
    #: The step of the last code that was taken; only later ones are.
    last_t = models.BigIntegerField(default=-1)

    class Meta:
        verbose_name = "second factor"

    @classmethod
    def new_key(cls) -> str:
        return b32encode(secrets.token_bytes(KEY_BYTES)).decode()

    @property
    def config_url(self) -> str:
        """What the QR code says."""
        return pyotp.TOTP(self.key).provisioning_uri(name=self.user.get_username(), issuer_name=ISSUER)

    def _use(self, token: str) -> bool:
        clock = TOTP(b32decode(self.key), drift=self.drift)
        clock.time = time.time()
        is_right = bool(token.isdecimal() and clock.verify(int(token), tolerance=TOLERANCE, min_t=self.last_t + 1))
        if is_right:
            self.last_t, self.drift = clock.t(), clock.drift
        return is_right


class RecoveryCodes(_Device):
    """Codes for who has lost the authenticator; each works once."""

    #: Those that were not used yet, with a space between.
    codes = EncryptedField(bound_by=("user_id",))

    class Meta:
        verbose_name_plural = "recovery codes"

    @property
    def left(self) -> list[str]:
        return str(self.codes).split()

    @classmethod
    def new_codes(cls) -> list[str]:
        made = (b32encode(secrets.token_bytes(RECOVERY_CODE_BYTES)).decode().lower() for _ in range(RECOVERY_CODES))
        return list(made)

    def _use(self, token: str) -> bool:
        left = self.left
        used = [code for code in left if hmac.compare_digest(code.encode(), token.encode())]
        if used:
            self.codes = " ".join(code for code in left if code not in used)
        return bool(used)
