"""The single entry point to a broker account."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings

from brokers.adapter_interface import AdapterContext, BrokerAdapter
from brokers.clock import configured_clock, trading_day
from brokers.discovery import spec_of
from brokers.domain.enums import Mode
from brokers.domain.errors import AccountNotFound, CredentialsNotFound, SDKMissing
from brokers.interfaces import AdapterSpec, Clock
from brokers.wire import Wire
from credentials.commands import setup_command

if TYPE_CHECKING:
    from brokers.gateway import BrokerGateway
    from brokers.models import BrokerAccount


#: Gateways that a process keeps. Each holds some 60 kB: a client of the SDK, its connections, an open session.
MOST_GATEWAYS = 1000


class BrokerFactory:
    """Gives one live gateway for each account in each process; those that were not asked for longest are let go."""

    _gateways: dict[tuple[int, str, str], BrokerGateway] = {}
    _lock = threading.Lock()

    @classmethod
    def get_broker(cls, broker: str, account: str = "default") -> BrokerGateway:
        """Return the gateway of an account; ``broker`` in any case, aliases welcome.

        Makes no call to the broker and opens no session; ``login()`` does.

        :raises AccountNotFound: no such broker, or no such account of it.
        :raises SDKMissing: the broker's package is not installed.
        :raises CredentialsNotFound: the account has no credentials, or they are incomplete.
        """
        from brokers.gateway import BrokerGateway

        spec = spec_of(broker)
        key = (os.getpid(), spec.name, account)
        with cls._lock:
            gateway = cls._gateways.pop(key, None)
            if gateway is None:
                row, clock = find_account(spec.name, account), configured_clock()
                adapter = make_adapter(row, clock=clock)
                gateway = BrokerGateway(row, adapter, clock=clock)
                # Not when it is let go: somebody may be in the middle of a call.
                weakref.finalize(gateway, adapter.close).atexit = False
            cls._gateways[key] = gateway
            while len(cls._gateways) > MOST_GATEWAYS:
                del cls._gateways[next(iter(cls._gateways))]
        return gateway

    @classmethod
    def close_all(cls) -> None:
        """Close every gateway of this process; at exit this happens by itself."""
        with cls._lock:
            gateways = [gateway for (pid, _, _), gateway in cls._gateways.items() if pid == os.getpid()]
            cls._gateways.clear()
        for gateway in gateways:
            gateway.close()


atexit.register(BrokerFactory.close_all)


def find_account(broker: str, name: str) -> BrokerAccount:
    """The account's row.

    :raises CredentialsNotFound: the broker has no account at all; the message names the command that makes one.
    :raises AccountNotFound: it has others, and the message names them.
    """
    from brokers.models import BrokerAccount

    accounts = BrokerAccount.objects.filter(broker=broker)
    account = accounts.filter(name=name).first()
    if account is not None:
        return account
    command = f"Credentials not found: run `{setup_command(broker, name)}`."
    known = ", ".join(accounts.values_list("name", flat=True))
    if not known:
        raise CredentialsNotFound(f"{command} Broker {broker} has no account yet.")
    raise AccountNotFound(f"Broker {broker} has no account {name!r} (known: {known}). {command}")


def make_adapter(account: BrokerAccount, *, clock: Clock | None = None) -> BrokerAdapter:
    """Put an adapter together: secrets, wire, clock and instruments. It has no session yet.

    :raises CredentialsNotFound: the account has no credentials, or they are incomplete.
    :raises SDKMissing: the broker's package is not installed; the message names the extra.
    """
    from brokers import instruments, recorded_fills
    from credentials import store

    clock = clock or configured_clock()
    spec = spec_of(account.broker)
    base_url = settings.BROKER_URLS.get(spec.name)
    adapter_class = load_adapter(spec.name)
    context = AdapterContext(
        account=str(account),
        secrets=store.secrets_of(account.broker, account.name, purpose="adapter"),
        clock=clock,
        wire=make_wire(spec, base_url, clock),
        base_url=base_url,
        instruments=instruments.lookup(),
        recorded_fills=lambda: recorded_fills.of_day(account, trading_day(clock.now())),
    )
    return adapter_class(context)


def make_wire(spec: AdapterSpec, base_url: str | None, clock: Clock) -> Wire:
    """A wire that reaches the broker's hosts, or only ``base_url`` when the SDK is pointed elsewhere.

    In simulated mode there is always a ``base_url``, so that no simulated order can leave for a real host.
    """
    if base_url is None:
        if settings.MODE is Mode.SIMULATED:
            raise AccountNotFound(f"In simulated mode {spec.name} needs an address; set MCUBE_{spec.name.upper()}_URL.")
        return Wire(clock=clock, allowed_hosts=spec.hosts, allowed_suffixes=spec.host_suffixes)
    host = urlsplit(base_url).hostname or ""
    return Wire(clock=clock, allowed_hosts=frozenset({host}), routes=dict.fromkeys(spec.hosts, base_url))


@cache
def load_adapter(broker: str) -> type[BrokerAdapter]:
    """Import a broker's adapter and its SDK.

    :raises SDKMissing: the SDK is not installed.
    """
    spec = spec_of(broker)
    module_name, _, class_name = spec.adapter.partition(":")
    module = import_module(module_name)
    preload(spec)
    adapter_class: type[BrokerAdapter] = getattr(module, class_name)
    return adapter_class


def preload(spec: AdapterSpec) -> None:
    """Import a broker's SDK now: in a worker's parent, so that its children share the memory.

    :raises SDKMissing: the SDK is not installed.
    """
    try:
        import_module(f"{spec.adapter.partition(':')[0].rpartition('.')[0]}.sdk").load()
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in spec.sdk_packages:
            raise SDKMissing(
                f"The package of {spec.verbose_name} is not installed; install the extra {spec.extra!r}: "
                f"pip install '.[{spec.extra}]'."
            ) from error
        raise
