"""Finds the brokers: every folder of ``brokers.adapters`` that brings a ``SPEC``.

Imports neither Django nor an SDK, so that settings and queues can be made from it.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from brokers import adapters
from brokers.domain.errors import AccountNotFound

if TYPE_CHECKING:
    from brokers.interfaces import AdapterSpec


@cache
def specs() -> dict[str, AdapterSpec]:
    """Every broker's spec by name, in the order of their names."""
    found = {}
    for module in pkgutil.iter_modules(adapters.__path__, f"{adapters.__name__}."):
        if module.ispkg:
            spec = import_module(module.name).SPEC
            found[spec.name] = spec
    return dict(sorted(found.items()))


def spec_of(broker: str) -> AdapterSpec:
    """The spec of a broker, by its name or an alias, in any case.

    :raises AccountNotFound: no such broker; the message names those there are.
    """
    if isinstance(broker, str) and broker in specs():
        return specs()[broker]
    wanted = broker.strip().upper() if isinstance(broker, str) else repr(broker)
    for spec in specs().values():
        if wanted == spec.name.upper() or wanted in spec.aliases:
            return spec
    raise AccountNotFound(f"There is no broker {broker!r}; choose one of {', '.join(specs())}.")


def broker_choices() -> list[tuple[str, str]]:
    """The brokers for a form field; a callable, so that a new broker adds no migration."""
    return [(spec.name, spec.verbose_name) for spec in specs().values()]
