"""What an account may be set to: nothing that its broker refuses each time."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from brokers.discovery import specs
from brokers.domain.enums import Product
from brokers.models import BrokerAccount, SessionState

pytestmark = pytest.mark.django_db

BROKERS = list(specs())


@pytest.mark.parametrize("broker", BROKERS)
def test_what_an_account_is_made_with_is_taken(broker: str) -> None:
    BrokerAccount(broker=broker).full_clean()


@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("per_second", [0, 500])
def test_no_account_may_ask_for_more_orders_a_second_than_its_broker_takes(broker: str, per_second: int) -> None:
    most = specs()[broker].capabilities.order_requests_per_second
    with pytest.raises(ValidationError) as caught:
        BrokerAccount(broker=broker, orders_per_second=per_second).full_clean()
    sentence = f"{specs()[broker].verbose_name} takes at most {most} order requests a second; write 1 to {most}."
    assert caught.value.message_dict == {"orders_per_second": [sentence]}
    BrokerAccount(broker=broker, orders_per_second=1).full_clean()
    BrokerAccount(broker=broker, orders_per_second=most).full_clean()


@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("column", ["default_cash_product", "default_derivative_product"])
def test_a_product_that_would_have_every_order_denied_is_refused_where_it_is_written(broker: str, column: str) -> None:
    offered = specs()[broker].capabilities.products
    for product in [*(set(Product) - offered), "CNCC"]:
        with pytest.raises(ValidationError) as caught:
            BrokerAccount(broker=broker, **{column: str(product)}).full_clean()
        (sentence,) = caught.value.message_dict[column]
        assert f"does not offer product '{product}' through its API; write one of " in sentence
        assert sentence.endswith(f"{', '.join(sorted(offered))}.")


@pytest.mark.parametrize("broker", BROKERS)
def test_a_product_is_kept_as_the_ledger_writes_it(broker: str) -> None:
    account = BrokerAccount(broker=broker, default_cash_product=" cnc ")
    account.full_clean()
    assert account.default_cash_product == "CNC"


def test_a_broker_that_there_is_not_is_one_sentence() -> None:
    with pytest.raises(ValidationError) as caught:
        BrokerAccount(broker="nobody").full_clean()
    assert list(caught.value.message_dict) == ["broker"]


def test_the_admin_says_it_beside_the_field(admin_client: Client, settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path
    settings.HOME = tmp_path
    account = BrokerAccount.objects.create(broker=BROKERS[0])
    SessionState.objects.create(account=account)
    address = reverse("admin:brokers_brokeraccount_change", args=[account.pk])
    page = admin_client.get(address).context
    form, (inline,) = page["adminform"].form, page["inline_admin_formsets"]
    values = {name: form.initial[name] for name in form.fields if form.initial.get(name) not in (None, False)}
    for part in (inline.formset.management_form, *inline.formset.forms):
        values |= {part.add_prefix(name): part.initial.get(name) or 0 for name in part.fields}
    answer = admin_client.post(address, values | {"orders_per_second": "500", "default_cash_product": "CNCC"})
    told = html.unescape(answer.content.decode())
    assert "order requests a second; write 1 to " in told
    assert "does not offer product 'CNCC'" in told
    assert admin_client.post(address, values | {"orders_per_second": "5"}).status_code == 302
    account.refresh_from_db()
    assert (account.orders_per_second, account.default_cash_product) == (5, "CNC")
