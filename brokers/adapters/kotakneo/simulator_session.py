"""Logging in at the simulated Kotak Neo: one-time password, then MPIN, and the tokens that calls carry."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from typing import Any

import pyotp

from brokers.simulator import accounts
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.exchange import SimulatedExchange
from brokers.simulator.http import Reply, Request

BROKER = "kotakneo"
DATA_CENTER = "E43"


def login_refused(text: str, code: str = "401", status: int = 401) -> Reply:
    """The login service's form of a refusal."""
    return Reply(content={"error": [{"code": code, "message": text}]}, status=status)


class Logins:
    """The login calls. Nothing is kept: tokens are made from the account's present session on the exchange."""

    def __init__(self, exchange: SimulatedExchange) -> None:
        self._exchange = exchange

    def account(self, token: str) -> SimulatedAccount | None:
        """Whose token it says it is, unchecked."""
        return accounts.find(BROKER, "ucc", str(_claims(token).get("ucc", "")))

    def holds(self, account: SimulatedAccount, headers: Mapping[str, str], scope: str) -> bool:
        """Whether a call's token and sid are those of the account's present session."""
        given = headers.get("auth", "")
        token = self._token(account, scope, _claims(given).get("iat", 0))
        return hmac.compare_digest(given.encode(), token.encode()) and headers.get("sid") == self.sid(account, scope)

    def view(self, request: Request, account: SimulatedAccount) -> Reply:
        """The first step: mobile number, UCC and one-time password, by real time, one step early or late."""
        values = _json_of(request.body)
        if (values.get("mobileNumber"), values.get("ucc")) != (account.mobile_number, account.ucc):
            return login_refused("Invalid credentials")
        now = self._exchange.clock.real_now()
        if not pyotp.TOTP(account.totp_secret).verify(str(values.get("totp", "")), for_time=now, valid_window=1):
            return login_refused("Invalid TOTP")
        return Reply(content={"data": self._session(account, "view")})

    def validate(self, request: Request, account: SimulatedAccount) -> Reply:
        """The second step: the view token and the MPIN."""
        if not self.holds(account, request.headers, "view"):
            return login_refused("Invalid view token")
        if not hmac.compare_digest(str(_json_of(request.body).get("mpin", "")).encode(), account.mpin.encode()):
            return login_refused("Invalid MPIN")
        base = f"http://{request.host}"
        urls = {"baseUrl": base, "feedUrl": f"{base}/apifeed", "rtUrl": f"{base}/realtime"}
        return Reply(content={"data": {**self._session(account, "trade"), **urls}})

    def configuration(self, request: Request, _: SimulatedAccount) -> Reply:
        """Where the feeds are, which the SDK asks after each login."""
        base = f"http://{request.host}"
        configs = {
            f"{DATA_CENTER}_broadcast_source": "sh",
            f"{DATA_CENTER}_sh_broadcast_endpoint": f"{base}/apifeed",
            f"{DATA_CENTER}_sh_interactive_endpoint": f"{base}/realtime",
        }
        return Reply(content={"data": {"configs": configs}})

    def _session(self, account: SimulatedAccount, scope: str) -> dict[str, Any]:
        return {
            "token": self._token(account, scope, int(self._exchange.now().timestamp())),
            "sid": self.sid(account, scope),
            "rid": self.sid(account, f"{scope}-rid"),
            "isUserPwdExpired": False,
            "ucc": account.ucc,
            "greetingName": account.user_name,
            "isTrialAccount": False,
            "dataCenter": DATA_CENTER,
            "derivativesRiskDisclosure": "Simulated.",
            "mfAccess": 1,
            "dataCenterMap": None,
            "dormancyStatus": "A",
            "asbaStatus": "",
            "clientType": "RI",
            "isNRI": False,
            "kId": account.pan,
            "kType": scope.capitalize(),
            "status": "success",
            "incRange": 0,
            "incUpdFlag": "",
            "clientGroup": "",
            "kraStatus": "",
            "rcFlag": 0,
        }

    def _token(self, account: SimulatedAccount, scope: str, issued_at: object) -> str:
        """A JWT of the account's present session, until midnight of the market's day."""
        payload = {
            "scope": [scope],
            "exp": int(self._exchange.sessions.expires_at().timestamp()),
            "iat": issued_at,
            "jti": self.sid(account, f"{scope}-jti"),
            "iss": "login-service",
            "sub": self.sid(account, "sub"),
            "ucc": account.ucc,
            "nap": "",
        }
        parts = [_base64(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "HS256"}, payload)]
        signature = hmac.new(account.api_secret.encode(), ".".join(parts).encode(), hashlib.sha256).digest()
        return ".".join([*parts, _base64(signature)])

    def sid(self, account: SimulatedAccount, scope: str) -> str:
        """The session id that belongs to a token."""
        name = f"{account.key}/{self._exchange.sessions.generation(account)}/{scope}"
        return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _claims(token: str) -> dict[str, Any]:
    """What a token says about itself, unchecked; nothing when it is no token."""
    try:
        part = token.split(".")[1]
        return _json_of(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}


def _json_of(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
