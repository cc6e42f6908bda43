"""The envelopes and texts of Breeze's answers, as observed in 2022 to 2026."""

from __future__ import annotations

from typing import Any

from brokers.simulator.book import Why
from brokers.simulator.http import Reply

LIMIT_TEXTS = {
    "second": "Limit exceed: API call per second:Try after some time",
    "minute": "Limit exceed: API call per minute:Try after some time",
    "day": "Limit exceed: API call per day: ",
}
REFUSAL_TEXTS = {
    Why.ORDER_TYPE: "Invalid Market/Limit indicator:",
    Why.MARGIN: "Insufficient funds. Kindly allocate funds and try again.",
    Why.HOLDING: "Insufficient demat holdings for the sell order.",
    Why.CLOSED: "Market is closed for trading.",
    Why.NO_SUCH_ORDER: "No Data Found",
    Why.ORDER_DONE: "Order cannot be changed, it is already executed, cancelled or rejected.",
}
STATIC_IP_TEXT = "Request is not from the registered static IP."
SESSION_TEXT = "Authentication Failed"


class Refusal(Exception):
    """A reply that ends the call early."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.content)
        self.reply = reply


def success(content: Any) -> Reply:
    return Reply(content={"Success": content, "Status": 200, "Error": None})


def refused(text: str, status: int = 500) -> Reply:
    """An application's refusal: HTTP 200, the status in the body."""
    return Reply(content={"Success": None, "Status": status, "Error": text})


def gateway(text: str) -> Reply:
    """The gateway's refusal: HTTP 401 without a Success key."""
    return Reply(content={"Status": 5, "Error": text}, status=401)


def nothing(text: str = "No Data Found") -> Reply:
    return refused(text, 200)


def crash(text: str) -> Reply:
    """What its server answers to a request that it trips over."""
    content = {
        "Message": "An error has occurred.",
        "ExceptionMessage": text,
        "ExceptionType": "System.NullReferenceException",
        "StackTrace": "",
    }
    return Reply(content=content, status=500)


def page(content: str, status: int = 200) -> Reply:
    page = f"<!doctype html><title>Simulated login</title><h1>Simulated login</h1>{content}"
    return Reply(content=page, status=status, content_type="text/html; charset=utf-8")
