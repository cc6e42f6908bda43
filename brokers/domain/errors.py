"""Errors by what the caller must do next.

Each message is a full sentence with the value that was wrong and what to do. A broker's own text is
kept in ``reason``; the facts of the call, if one was made, in ``evidence``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brokers.domain.evidence import WireEvidence


class BrokerError(Exception):
    """Something about a broker account did not work."""

    def __init__(self, message: str, *, reason: str = "", code: str = "", evidence: WireEvidence | None = None) -> None:
        super().__init__(message)
        self.message = message
        #: The broker's own words, redacted; empty when the failure is ours.
        self.reason = reason
        #: The broker's own code, as text; empty when there is none.
        self.code = code
        self.evidence = evidence


class OrderDenied(BrokerError):
    """Refused here and never sent. Change the order, or the condition the message names."""


class InvalidSymbol(OrderDenied):
    """No instrument, or more than one, answers to the symbol. The message names the nearest."""


class InsufficientMargin(OrderDenied):
    """The account's margin does not cover the order."""


class MarketClosed(OrderDenied):
    """The exchange takes no orders now."""


class UnsupportedFeature(OrderDenied):
    """This broker cannot express it; its capabilities said so before."""


class IdempotencyConflict(OrderDenied):
    """The client order id was used before for an order with other content."""


class OrderRejected(BrokerError):
    """The broker or the exchange said no, with a reason. It is not sent again by itself."""


class OrderEnded(OrderRejected):
    """A change or a cancel came too late: the order has ended. How, the book tells."""


class OrderOutcomeUnknown(BrokerError):
    """It may have reached the broker. Never send it again; it is looked up in the broker's book."""

    def __init__(
        self,
        message: str,
        *,
        client_order_id: str = "",
        reason: str = "",
        code: str = "",
        evidence: WireEvidence | None = None,
    ) -> None:
        super().__init__(message, reason=reason, code=code, evidence=evidence)
        self.client_order_id = client_order_id


class TagTaken(OrderOutcomeUnknown):
    """The broker says that it has an order with this tag: most likely this one. It is looked up in the book."""


class NotSent(BrokerError):
    """Proven not to have left this machine. Trying again is safe."""


class ApprovalNeeded(NotSent):
    """Recorded, and sent when a person approves it. The same client order id again is the same order."""


class RateLimited(NotSent):
    """The account's call budget is used up for now. Wait ``retry_after``."""

    def __init__(self, message: str, *, retry_after: timedelta, reason: str = "", code: str = "") -> None:
        super().__init__(message, reason=reason, code=code)
        self.retry_after = retry_after


class SessionExpired(BrokerError):
    """The broker does not accept the session. Log in once, then try again."""


class LoginFailed(BrokerError):
    """The broker refused the login, or a person is needed. The message says what to do."""


class PersonNeeded(LoginFailed):
    """Only a person can log in. They open ``login_url`` and bring back the token it ends with."""

    def __init__(self, message: str, *, login_url: str, reason: str = "", code: str = "") -> None:
        super().__init__(message, reason=reason, code=code)
        self.login_url = login_url


class BrokerUnavailable(BrokerError):
    """A read could not be made: the broker is down, slow or answers rubbish. Nothing is known."""


class UnreadableReply(BrokerUnavailable):
    """The broker answered something this version cannot read. Nothing is known."""


class NotFlat(BrokerError):
    """A closing came to its end, and the broker does not say flat. The message says what is left and why."""


class AccountNotFound(Exception):
    """There is no such broker, or no such account. Outside BrokerError so that it is not swallowed."""


class CredentialsNotFound(Exception):
    """The account has no credentials, or they are incomplete. The message names the command to run."""


class SDKMissing(Exception):
    """The broker's package is not installed. The message names the extra to install."""
