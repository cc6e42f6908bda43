"""Login once a day by a person, and continuing that session in any process.

The login page sends the browser back with ``apisession``; ``customerdetails`` turns that into the
user id and the session key. The key ends at midnight IST: icicidirect.com/ilearn, read 2026-11-22.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import NoReturn
from urllib.parse import quote

from brokers.adapter_interface import AdapterContext, SessionGrant
from brokers.adapters.breeze import tables
from brokers.adapters.breeze.errors import Reply, redact
from brokers.adapters.breeze.sdk import Client, redirected
from brokers.clock import end_of_day
from brokers.domain.errors import BrokerUnavailable, LoginFailed, PersonNeeded, SessionExpired


def login_url(api_key: str, base_url: str | None) -> str:
    """The page on which the account's owner logs in."""
    return f"{redirected(tables.LOGIN_PAGE, base_url)}?api_key={quote(api_key, safe='')}"


def open_session(client: Client, context: AdapterContext) -> SessionGrant:
    """Turn the token of the login page into a session.

    :raises PersonNeeded: there is no token, or Breeze refuses it.
    :raises LoginFailed: Breeze does not know the key.
    :raises BrokerUnavailable: Breeze could not be asked.
    """
    page = login_url(context.secrets["api_key"], context.base_url)
    token = context.secrets.get("session_token", "").strip()
    if not token:
        raise PersonNeeded(
            f"Breeze needs a person once a day: open {page} , log in, and hand the apisession to mcube.", login_url=page
        )
    reply = client.log_in(token)
    reply.raise_gate()
    user_id, session_key = client.identity()
    if reply.error is not None or not user_id or not session_key:
        _raise_login_error(reply, page)
    return SessionGrant(
        session_token=token,
        sid=base64.b64encode(f"{user_id}:{session_key}".encode()).decode(),
        details={"user_id": user_id},
        expires_at=end_of_day(context.clock.now()),
    )


def resume(client: Client, grant: SessionGrant) -> None:
    """Continue the session of ``grant`` without a call.

    :raises SessionExpired: what is stored is no session.
    """
    try:
        user_id, separator, session_key = base64.b64decode(grant.sid, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise SessionExpired("The stored Breeze session cannot be read; log in again.") from error
    if not separator or not user_id or not session_key:
        raise SessionExpired("The stored Breeze session is incomplete; log in again.")
    client.resume(user_id, session_key)


def _raise_login_error(reply: Reply, page: str) -> NoReturn:
    """The SDK turns every refusal into a sentence of its own; the wire has Breeze's."""
    words = _refusal(reply)
    if tables.BAD_KEY.search(words):
        raise LoginFailed(
            "Breeze does not know this API key and secret; check both with setup_credentials.",
            reason=words,
            evidence=reply.evidence,
        ) from reply.error
    if tables.SESSION_OVER.search(words) or tables.LOGIN_OVER.search(words):
        raise PersonNeeded(
            f"Breeze refuses the token ({words}); open {page} , log in, and hand the new apisession to mcube.",
            login_url=page,
            reason=words,
        ) from reply.error
    raise BrokerUnavailable(
        f"Breeze did not say whether the login is good ({words or 'no readable answer'}); try again in a minute.",
        reason=words,
        evidence=reply.evidence,
    ) from reply.error


def _refusal(reply: Reply) -> str:
    body = reply.records[-1].body if reply.records else None
    if body is None or reply.http_status not in tables.REFUSAL_HTTP:
        return ""
    try:
        answer = json.loads(body)
    except ValueError:
        return ""
    return redact(str(answer.get("Error") or ""), reply.secrets) if isinstance(answer, dict) else ""
