"""The services whose credentials are kept: every broker, and what else strategies log in to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from brokers.discovery import broker_choices, specs

#: The columns of a session: a login writes them, the set-up does not ask for them.
WRITTEN_AT_LOGIN = ("session_token", "sid")


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One service and the credential columns it uses."""

    name: str
    verbose_name: str
    required: tuple[str, ...]
    #: Column -> what it is at this service, for the person who fills it in.
    hints: Mapping[str, str]
    is_broker: bool = True
    #: A session can be renewed without a person.
    unattended_login: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the set-up asks for, required ones first."""
        optional = [*self.hints, *(["static_ip"] if self.is_broker else [])]
        return tuple(
            dict.fromkeys([*self.required, *(column for column in optional if column not in WRITTEN_AT_LOGIN)])
        )


OTHERS = {
    "trendlyne": Service(
        name="trendlyne",
        verbose_name="Trendlyne",
        required=("username", "password"),
        hints={
            "username": "e-mail address of the Trendlyne account",
            "password": "password of the Trendlyne account",
        },
        is_broker=False,
    )
}


def services() -> dict[str, Service]:
    """Every service by name, brokers first."""
    brokers = {
        spec.name: Service(
            name=spec.name,
            verbose_name=spec.verbose_name,
            required=spec.required_credentials,
            hints=spec.credential_hints,
            unattended_login=spec.capabilities.unattended_login,
        )
        for spec in specs().values()
    }
    return {**brokers, **OTHERS}


def service_choices() -> list[tuple[str, str]]:
    """For a form field; a callable, so that a new broker adds no migration."""
    return [*broker_choices(), *((service.name, service.verbose_name) for service in OTHERS.values())]


def hint(column: str, general: str) -> str:
    """A column's help text: what it is, and what it is at each service."""
    own = [
        f"{service.verbose_name}: {service.hints[column]}" for service in services().values() if column in service.hints
    ]
    return " ".join(f"{sentence.rstrip('.')}." for sentence in [general, *own])
