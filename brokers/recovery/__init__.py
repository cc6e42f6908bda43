"""Finds out what became of orders whose answer was lost. Nothing here sends an order.

``reconciliation`` asks the book, by ``reading``, ``matching`` and ``absence``; ``visibility`` says when;
``decisions`` takes a person's word.
"""
