"""The book of instruments: every broker's master of the day, merged, and looked up by symbol or broker key.

:func:`refresh` reads one broker's master and publishes a new edition of the book; :func:`lookup` answers
from the current edition.
"""

from brokers.instruments.loading import refresh
from brokers.instruments.store import InstrumentStore, forget, lookup

__all__ = ["InstrumentStore", "forget", "lookup", "refresh"]
