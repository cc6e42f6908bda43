"""The tables of the web admin's own."""

from mcube.access.devices import Authenticator, RecoveryCodes

__all__ = ["Authenticator", "RecoveryCodes"]
