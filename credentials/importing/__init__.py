"""Brings credentials, accounts and open positions over from the applications that kept them in plain text."""
