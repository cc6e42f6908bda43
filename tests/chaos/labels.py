"""The points at which the saboteur kills or freezes a process, in the order in which an order passes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Who(StrEnum):
    """Which process passes a point."""

    STRATEGY = "strategy"  # records and rings
    SENDER = "sender"  # a worker with an order in hand
    KEEPER = "keeper"  # a worker that sweeps, fences, reads the book or reconciles


@dataclass(frozen=True, kw_only=True)
class Label:
    """One point."""

    name: str
    who: Who
    meaning: str
    #: A process may be frozen there as well. Not inside a transaction: SQLite's lock would freeze everybody.
    freezes: bool = False
    #: Passed seldom, so that it must be struck oftener when it is passed.
    is_rare: bool = False


def _sender(name: str, meaning: str, *, freezes: bool = False) -> Label:
    return Label(name=name, who=Who.SENDER, meaning=meaning, freezes=freezes)


def _keeper(name: str, meaning: str, *, freezes: bool = False, is_rare: bool = False) -> Label:
    return Label(name=name, who=Who.KEEPER, meaning=meaning, freezes=freezes, is_rare=is_rare)


def _strategy(name: str, meaning: str) -> Label:
    return Label(name=name, who=Who.STRATEGY, meaning=meaning)


LABELS = (
    _strategy("submit.in_transaction", "the intent is written, not committed"),
    _strategy("submit.recorded", "the intent is committed, nobody has rung"),
    _strategy("submit.rung", "the message is published"),
    _sender("deliver.entry", "the message is taken, nothing is read"),
    _sender("arm.before", "every gate is passed, nothing is written", freezes=True),
    _sender("arm.in_transaction", "intent and attempt are written, not committed"),
    _sender("arm.committed", "the attempt is committed, nothing is connected", freezes=True),
    _sender("wire.connected", "the connection stands", freezes=True),
    _sender("wire.before_first_byte", "the request is built, the last gate not yet asked", freezes=True),
    _sender("wire.after_the_gate", "the last gate said yes, no byte has left", freezes=True),
    _sender("wire.half_headers", "half of the headers have left", freezes=True),
    _sender("wire.headers", "the headers have left, nothing of the body", freezes=True),
    _sender("wire.half_body", "half of the body has left", freezes=True),
    _sender("wire.body", "the whole request has left", freezes=True),
    _sender("wire.reply", "the reply's first bytes have come", freezes=True),
    _sender("settle.before", "the outcome is known, nothing is written", freezes=True),
    _sender("settle.in_transaction", "the outcome is written, not committed"),
    _sender("settle.committed", "the outcome is committed"),
    _keeper("sweep.entry", "the sweeper begins", is_rare=True),
    _keeper("sweep.exit", "the sweeper has done its part", is_rare=True),
    _keeper("recover.entry", "a broker's dead senders and open questions are to be looked at"),
    _keeper("fence.judged", "dead senders' attempts are UNKNOWN, committed; living ones are killed"),
    _keeper("fence.in_transaction", "a dead sender's attempt is made UNKNOWN, not committed", is_rare=True),
    _keeper("reading.before", "a question is due, the book is not read", freezes=True),
    _keeper("reading.under_way", "the reading is announced, nothing is asked", freezes=True),
    _keeper("reading.after", "the book is read and written down, no question judged", freezes=True),
    _keeper("judge.in_transaction", "a question's answer is written, not committed", is_rare=True),
    _keeper("judge.committed", "an order is adopted or declared absent", is_rare=True),
    _keeper("resend.in_transaction", "what was proved absent is made ready once more, not committed", is_rare=True),
    _keeper("book.read", "the order book is read, nothing is written", freezes=True, is_rare=True),
    _keeper("book.in_transaction", "an intent's end is written, not committed", is_rare=True),
    _keeper("book.exit", "the book is written", is_rare=True),
)
BY_NAME = {label.name: label for label in LABELS}
#: A process that is frozen here and woken again writes bytes that it was allowed to write before: no gate comes after.
AFTER_THE_LAST_GATE = ("wire.after_the_gate", "wire.half_headers", "wire.headers", "wire.half_body")
