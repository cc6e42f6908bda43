"""The commands that sentences tell people to run, each for the account that the sentence is about."""

from __future__ import annotations

import shlex


def setup_command(service: str, name: str) -> str:
    return f"python manage.py setup_credentials --setup-{service}{_option(name)}"


def trial_command(service: str, name: str) -> str:
    return f"python manage.py setup_credentials --test-{service}{_option(name)}"


def login_command(broker: str, name: str) -> str:
    return f"python manage.py session_token {broker}{_option(name)}"


def _option(name: str) -> str:
    """Without it a command is of the account ``default``."""
    return "" if name == "default" else f" --name {shlex.quote(name)}"
