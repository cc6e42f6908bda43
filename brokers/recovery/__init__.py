"""Finds out what became of orders whose answer was lost. Nothing here sends an order.

``agenda`` says what there is to find out; ``fencing`` makes sure that a sender is dead; ``reconciliation`` asks the
book, by ``reading``, ``matching`` and ``absence``; ``visibility`` says when; ``decisions`` takes a person's word.
"""
