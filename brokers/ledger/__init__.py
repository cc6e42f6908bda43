"""The ledger: every order is recorded before it is sent, sent at most once, and never forgotten.

``operations`` records and withdraws, ``delivery`` sends and ``settlement`` writes what is proven, ``book`` follows what the broker says,
``queries`` reads; ``brokers.recovery`` finds out what got lost. An intent's state changes through ``transitions`` alone, whoever
asks for it; an attempt's outcome is written by ``delivery``, ``settlement`` and ``brokers.recovery``.
"""
