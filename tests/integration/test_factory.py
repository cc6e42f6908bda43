"""The single entry point, and what it says when something is missing."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from brokers import factory
from brokers.clock import configured_clock, trading_day
from brokers.discovery import specs
from brokers.domain.enums import OrderStatus, Side
from brokers.domain.errors import AccountNotFound, CredentialsNotFound, SDKMissing
from brokers.interfaces import BrokerFactory, BrokerInterface
from brokers.models import BrokerAccount, BrokerOrder
from credentials.models import CredentialStore
from tests.support import scripted_broker

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_gateway_stays() -> Iterator[None]:
    yield
    BrokerFactory._gateways.clear()


@pytest.fixture(params=list(specs()))
def broker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_unknown_broker_is_named_with_those_there_are() -> None:
    with pytest.raises(AccountNotFound, match=r"no broker 'zerodha'; choose one of breeze, kotakneo"):
        BrokerFactory.get_broker("zerodha")


def test_a_broker_that_was_never_set_up_says_what_to_run(broker: str) -> None:
    sentence = rf"Credentials not found: run `python manage.py setup_credentials --setup-{broker}`"
    with pytest.raises(CredentialsNotFound, match=sentence):
        BrokerFactory.get_broker(broker)
    BrokerAccount.objects.create(broker=broker, name="default")
    with pytest.raises(CredentialsNotFound, match=sentence):
        BrokerFactory.get_broker(broker)


def test_half_filled_credentials_say_what_is_missing(broker: str) -> None:
    BrokerAccount.objects.create(broker=broker, name="default")
    credential = CredentialStore(service=broker, name="default")
    credential.api_key = "synthetic"
    credential.save()
    with pytest.raises(CredentialsNotFound, match=f"lack {specs()[broker].required_credentials[1]}"):
        BrokerFactory.get_broker(broker)


def test_an_unknown_account_is_named_with_those_there_are(broker: str) -> None:
    BrokerAccount.objects.create(broker=broker, name="default")
    advice = rf"no account 'other' \(known: default\).*setup_credentials --setup-{broker} --name other`"
    with pytest.raises(AccountNotFound, match=advice):
        BrokerFactory.get_broker(broker, account="other")


def test_an_adapter_is_given_the_executions_that_the_ledger_has(broker: str, settings: Any) -> None:
    account = BrokerAccount.objects.create(broker=broker, name="default")
    credential = CredentialStore(service=broker, name="default")
    for column in specs()[broker].required_credentials:
        setattr(credential, column, "synthetic")
    credential.save()
    settings.BROKER_URLS = {broker: "http://127.0.0.1:9"}
    today = trading_day(configured_clock().now())
    for day in (today, today - timedelta(days=1)):
        order = BrokerOrder.objects.create(
            account=account,
            trading_day=day,
            broker_order_id=f"of {day}",
            exchange="NSE",
            symbol="SBIN",
            side="SELL",
            order_type="LIMIT",
            product="CNC",
            quantity=5,
            status=OrderStatus.OPEN,
            first_seen_at=configured_clock().now(),
            last_seen_at=configured_clock().now(),
        )
        for number in (1, 2):
            order.fills.create(
                fill_id=f"f{number}", quantity=number, price=Decimal("800.5"), first_seen_at=configured_clock().now()
            )

    given = factory.make_adapter(account).context.recorded_fills()
    assert [(fill.broker_order_id, fill.fill_id, fill.quantity, fill.side) for fill in given] == [
        (f"of {today}", "f1", 1, Side.SELL),
        (f"of {today}", "f2", 2, Side.SELL),
    ]


def test_names_that_traders_write_find_the_same_gateway(broker: str) -> None:
    scripted_broker.install(broker)
    gateway = BrokerFactory.get_broker(broker)
    assert isinstance(gateway, BrokerInterface)
    for name in (broker.upper(), f" {broker} ", *specs()[broker].aliases):
        assert BrokerFactory.get_broker(name) is gateway


def test_closing_all_lets_go_of_every_gateway(broker: str) -> None:
    scripted_broker.install(broker)
    before = BrokerFactory.get_broker(broker)
    BrokerFactory.close_all()
    assert BrokerFactory.get_broker(broker) is not before


def test_a_process_keeps_the_gateways_that_were_asked_for_last_and_closes_the_others_when_nobody_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(factory, "MOST_GATEWAYS", 2)
    closed: list[str] = []

    def make_adapter(row: BrokerAccount, clock: object) -> SimpleNamespace:
        return SimpleNamespace(close=lambda: closed.append(row.name))

    monkeypatch.setattr(factory, "make_adapter", make_adapter)
    for name in ("a", "b", "c"):
        BrokerAccount.objects.create(broker="breeze", name=name)
    held = BrokerFactory.get_broker("breeze", "a")
    second = weakref.ref(BrokerFactory.get_broker("breeze", "b"))
    assert BrokerFactory.get_broker("breeze", "a") is held
    BrokerFactory.get_broker("breeze", "c")
    gc.collect()
    assert second() is None
    assert closed == ["b"]
    BrokerFactory.get_broker("breeze", "b")
    gc.collect()
    assert closed == ["b"]  # somebody has the first one still
    del held
    gc.collect()
    assert closed == ["b", "a"]


def test_a_missing_sdk_names_the_extra_to_install(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        (package,) = specs()[broker].sdk_packages
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(f"brokers.adapters.{broker}.sdk.load", load)
    with pytest.raises(SDKMissing, match=rf"install the extra '{broker}'"):
        factory.preload(specs()[broker])
