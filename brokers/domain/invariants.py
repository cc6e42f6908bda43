"""The invariants of the ledger, by the names that code, audit, tests and evidence use."""

from enum import StrEnum


class Invariant(StrEnum):
    I1 = "At most one live attempt per intent."
    I2 = "An attempt is committed before its first byte."
    I3 = "Only the process that armed an attempt may send it, once, before its send deadline."
    I4 = "UNKNOWN is sent again only after the sender's death, a proof of absence, and a policy or a person's decision."
    I5 = "One broker order belongs to at most one attempt, and one attempt to at most one broker order."
    I6 = "Nothing is sent after its time, outside the market's hours, or under a kill switch that forbids it."
    I7 = "Changes of state are append-only evidence."
    I8 = "What may be at the broker keeps its reservation."
