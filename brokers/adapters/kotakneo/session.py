"""Login, expiry, and the use of a session that another process opened.

Kotak's login is two calls: one-time password, then MPIN. It gives tokens that any process with the same consumer
key can use, from the same address (SDK 3.0.9, measured 2026-11-22).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from brokers.adapter_interface import AdapterContext, SessionGrant
from brokers.adapters.kotakneo.errors import Reply, login_failure, raise_foreign
from brokers.clock import end_of_day
from brokers.domain.errors import LoginFailed, SessionExpired

#: What the SDK keeps of a login besides token and sid: attribute names of its configuration.
DETAILS = (
    "edit_rid",
    "base_url",
    "data_center",
    "ucc",
    "sfeed_websocket_url",
    "order_feed_url",
    "feed_url",
    "rt_url",
)
#: A session is given up this long before its token ends.
_MARGIN = timedelta(minutes=5)
_WORST_SKEW_SECONDS = 25

Ask = Callable[[Callable[[], Any]], Reply]


def open_session(context: AdapterContext, client: Any, ask: Ask) -> SessionGrant:
    """Log in with a fresh SDK client. Makes two calls, and a third for the feeds' addresses.

    :raises LoginFailed: Kotak refused; the message says which secret to look at.
    :raises BrokerUnavailable: Kotak could not be asked.
    """
    secrets = context.secrets
    first = ask(
        lambda: client.totp_login(
            mobile_number=secrets["mobile_number"], ucc=secrets["ucc"], totp=_one_time_password(context)
        )
    )
    _check(first, kind="View", step="one-time password", advice=_advice_on_totp(context, first))
    second = ask(lambda: client.totp_validate(mpin=secrets["neo_password"]))
    _check(second, kind="Trade", step="MPIN", advice=f"Check the MPIN (neo_password) of account {context.account}.")
    configuration = client.configuration
    if not (configuration.edit_token and configuration.edit_sid):
        raise LoginFailed(f"Kotak's login of account {context.account} gave no token; try again in a minute.")
    _check_base_url(context, str(configuration.base_url or ""))
    return SessionGrant(
        session_token=configuration.edit_token,
        sid=configuration.edit_sid,
        details={name: str(value) for name in DETAILS if (value := getattr(configuration, name))},
        expires_at=expiry(configuration.edit_token, now=context.clock.now()),
    )


def use_session(client: Any, grant: SessionGrant) -> None:
    """Set a session on a client. Makes no call.

    :raises SessionExpired: the grant lacks what a session needs.
    """
    if not (grant.session_token and grant.sid and grant.details.get("base_url")):
        raise SessionExpired("The stored session lacks its token, sid or base_url; log in again.")
    client.configuration.edit_token = grant.session_token
    client.configuration.edit_sid = grant.sid
    for name in DETAILS:
        setattr(client.configuration, name, grant.details.get(name))


def expiry(token: str, *, now: datetime) -> datetime:
    """When a session is given up: five minutes before the token's ``exp``, or the next midnight in India.

    The token's signature is not checked; nothing but a time is taken from it.
    """
    ends_at = _token_end(token)
    if ends_at is None:
        return end_of_day(now)
    return ends_at - _MARGIN if ends_at - _MARGIN > now else ends_at


def _token_end(token: str) -> datetime | None:
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.fromtimestamp(int(claims["exp"]), UTC)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def _one_time_password(context: AdapterContext) -> str:
    """The six digits of now. Secrets of 80 bits are in use, which stricter libraries refuse.

    :raises LoginFailed: the secret is no base32 text.
    """
    text = context.secrets["totp_secret"].replace(" ", "").rstrip("=").upper()
    try:
        key = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        # Without the cause: its text may quote the secret.
        raise LoginFailed(
            f"The totp_secret of account {context.account} is no base32 text; copy the text key that is shown when "
            "an authenticator is registered, not the six digits it makes."
        ) from None
    totp = TOTP(key, 6, SHA1(), 30, enforce_key_length=False)  # noqa: S303 - RFC 6238 as the broker uses it
    return totp.generate(int(context.clock.real_now().timestamp())).decode()


def _check(reply: Reply, *, kind: str, step: str, advice: str) -> None:
    raise_foreign(reply)
    data = reply.body.get("data") if isinstance(reply.body, Mapping) else None
    if (
        reply.status != 200
        or not isinstance(data, Mapping)
        or data.get("status") != "success"
        or data.get("kType") != kind
    ):
        raise login_failure(reply, step=step, advice=advice)


def _advice_on_totp(context: AdapterContext, reply: Reply) -> str:
    words = reply.reason.lower()
    if "mobile" in words:
        return f"Check the mobile_number of account {context.account}, with its country code."
    if "ucc" in words or "client code" in words:
        return f"Check the ucc of account {context.account}: Neo app, Profile."
    if "totp" not in words and "otp" not in words:
        return f"Check api_key, mobile_number and ucc of account {context.account}."
    skew = reply.record.clock_skew_seconds if reply.record else None
    if skew is not None and abs(skew) > _WORST_SKEW_SECONDS:
        return f"This machine's clock is {skew:+.0f} s away from Kotak's; set it right and log in again."
    return (
        f"Check the totp_secret of account {context.account} and this machine's clock; "
        "wait five minutes before the next try, since Kotak locks after a few wrong ones."
    )


def _check_base_url(context: AdapterContext, base_url: str) -> None:
    secure = base_url.startswith("https://") or (context.base_url and base_url.startswith("http://"))
    if not secure:
        raise LoginFailed(
            f"Kotak's login of account {context.account} named {base_url or 'no address'!r} as the account's server, "
            "where https was expected; nothing is sent there. Try again in a minute."
        )
