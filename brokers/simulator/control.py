"""``/_sim/``: how tests and people steer the simulated exchange. Open on loopback only, without a password."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brokers.clock import IST
from brokers.domain.enums import Exchange, OrderType, Product, Side, TimeInForce
from brokers.simulator import accounts
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import HeldPosition, Refused, Ticket
from brokers.simulator.contracts import Contract
from brokers.simulator.faults import Fault
from brokers.simulator.sockets import Sockets

if TYPE_CHECKING:
    from brokers.simulator.exchange import SimulatedExchange

Answer = tuple[int, bytes, str]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _ClockForm(_Form):
    #: ISO time; without an offset it is IST.
    at: datetime


class _ContractForm(_Form):
    exchange: Exchange
    symbol: str


class _PriceForm(_ContractForm):
    #: Rupees; null lets the price walk again.
    price: Annotated[Decimal, Field(gt=0)] | None = None


class _OrderForm(_ContractForm):
    #: User id; empty means the default account.
    account: str = ""
    side: Side
    quantity: int
    price: Decimal
    trigger_price: Decimal = Decimal(0)
    order_type: Literal[OrderType.LIMIT, OrderType.STOP_LIMIT] = OrderType.LIMIT
    product: Product
    time_in_force: TimeInForce = TimeInForce.DAY


class _FillForm(_Form):
    account: str = ""
    order_id: str
    quantity: int
    price: Annotated[Decimal, Field(gt=0)] | None = None


class _CancelForm(_Form):
    account: str = ""
    order_id: str


class _PositionForm(_ContractForm):
    account: str = ""
    product: Product
    #: Units, negative when short.
    quantity: int
    price: Annotated[Decimal, Field(gt=0)]


class _SettingsForm(_Form):
    ack_seconds: Annotated[float, Field(ge=0)] | None = None
    visible_seconds: Annotated[float, Field(ge=0)] | None = None
    fill_seconds: Annotated[float, Field(ge=0)] | None = None
    fill_lots: Annotated[int, Field(gt=0)] | None = None
    limits: bool | None = None
    moving: bool | None = None
    login_redirect: str | None = None


class _FeedsForm(_Form):
    #: False cuts every connection and takes none.
    up: bool = True
    #: Connections stay, and nothing is sent on them.
    silent: bool = False


class _Unknown(Exception):
    """What the form names is not there."""


class Control:
    """The control endpoints of one face. An account without its own name is the default one of that broker."""

    def __init__(self, exchange: SimulatedExchange, broker: str, sockets: Sockets) -> None:
        self._exchange = exchange
        self._sockets = sockets
        self._broker = broker
        self._routes: dict[tuple[str, str], Callable[[bytes], Any]] = {
            ("GET", "/_sim/health"): self._health,
            ("GET", "/_sim/clock"): self._clock,
            ("POST", "/_sim/clock"): self._set_clock,
            ("GET", "/_sim/faults"): self._list_faults,
            ("POST", "/_sim/faults"): self._add_fault,
            ("DELETE", "/_sim/faults"): self._clear_faults,
            ("POST", "/_sim/price"): self._pin_price,
            ("POST", "/_sim/orders"): self._type_order,
            ("DELETE", "/_sim/orders"): self._cancel_order,
            ("POST", "/_sim/fill"): self._fill,
            ("POST", "/_sim/positions"): self._carry,
            ("POST", "/_sim/settings"): self._set,
            ("GET", "/_sim/counters"): lambda _: self._exchange.counters.summary(self._broker),
            ("DELETE", "/_sim/counters"): self._reset_counters,
            ("POST", "/_sim/sessions/kill"): self._kill_session,
            ("POST", "/_sim/feeds"): self._steer_feeds,
        }

    def handle(self, method: str, path: str, body: bytes) -> Answer:
        """Status, body and content type. Bad input is 400 with a sentence; a refusal of the exchange 409."""
        if (method, path) == ("GET", "/_sim/truth"):
            self._exchange.advance()
            return 200, self._exchange.truth.text(), "application/x-ndjson"
        route = self._routes.get((method, path))
        if route is None:
            known = ", ".join(f"{verb} {where}" for verb, where in self._routes)
            return _json(404, {"error": f"There is no {method} {path}; there are {known}, GET /_sim/truth."})
        try:
            return _json(200, route(body))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(part) for part in each['loc']) or 'body'}: {each['msg']}" for each in error.errors()
            )
            return _json(400, {"error": f"The request is not understood: {problems}."})
        except _Unknown as error:
            return _json(404, {"error": str(error)})
        except Refused as refused:
            return _json(409, {"error": refused.message, "why": refused.why.value})

    # What each does

    def _health(self, _: bytes) -> Any:
        exchange = self._exchange
        exchange.advance()
        return {
            "status": "ok",
            "broker": self._broker,
            "market_time": exchange.now().astimezone(IST).isoformat(),
            "phases": {each.value: exchange.phase(each).value for each in Exchange},
            "contracts": len(exchange.universe.all()),
            "masters": str(exchange.master_dir) if exchange.master_dir else None,
            "faults": len(exchange.faults.active()),
        }

    def _clock(self, _: bytes) -> Any:
        return {"market_time": self._exchange.now().astimezone(IST).isoformat()}

    def _set_clock(self, body: bytes) -> Any:
        at = _ClockForm.model_validate_json(body).at
        self._exchange.clock.set(at if at.tzinfo else at.replace(tzinfo=IST))
        self._exchange.advance()
        return self._clock(b"")

    def _list_faults(self, _: bytes) -> Any:
        return [{**fault.model_dump(mode="json"), "used": fault.used} for fault in self._exchange.faults.active()]

    def _add_fault(self, body: bytes) -> Any:
        fault = Fault.model_validate_json(body, context={"broker": self._broker})
        fault.set_at = self._exchange.advance()
        self._exchange.faults.add(fault)
        return fault.model_dump(mode="json")

    def _clear_faults(self, _: bytes) -> Any:
        self._exchange.faults.clear(self._broker)
        return {}

    def _pin_price(self, body: bytes) -> Any:
        form = _PriceForm.model_validate_json(body)
        contract = self._contract(form)
        self._exchange.pin(contract, form.price)
        quote = self._exchange.quote(contract)
        return {"symbol": contract.symbol, "last_price": str(quote.last_price)}

    def _type_order(self, body: bytes) -> Any:
        form = _OrderForm.model_validate_json(body)
        ticket = Ticket(
            contract=self._contract(form),
            side=form.side,
            quantity=form.quantity,
            order_type=form.order_type,
            price=form.price,
            trigger_price=form.trigger_price,
            product=form.product,
            time_in_force=form.time_in_force,
            source="PERSON",
        )
        order = self._exchange.place(self._account(form.account), ticket)
        return {"order_id": order.order_id, "state": order.state.value}

    def _cancel_order(self, body: bytes) -> Any:
        form = _CancelForm.model_validate_json(body)
        order = self._exchange.cancel(self._account(form.account), form.order_id)
        return {"order_id": order.order_id, "state": order.state.value}

    def _fill(self, body: bytes) -> Any:
        form = _FillForm.model_validate_json(body)
        order = self._exchange.force_fill(self._account(form.account), form.order_id, form.quantity, form.price)
        return {"order_id": order.order_id, "state": order.state.value, "filled_quantity": order.filled_quantity}

    def _carry(self, body: bytes) -> Any:
        form = _PositionForm.model_validate_json(body)
        contract, amount = self._contract(form), abs(form.quantity) * form.price
        long = form.quantity > 0
        position = HeldPosition(
            contract=contract,
            product=form.product,
            carried_buy_quantity=form.quantity if long else 0,
            carried_buy_amount=amount if long else Decimal(0),
            carried_sell_quantity=0 if long else -form.quantity,
            carried_sell_amount=Decimal(0) if long else amount,
            last_price=form.price,
        )
        self._exchange.carry(self._account(form.account), position)
        return {"symbol": contract.symbol, "quantity": form.quantity}

    def _set(self, body: bytes) -> Any:
        form = _SettingsForm.model_validate_json(body)
        for name in form.model_fields_set:
            setattr(self._exchange.settings, name, getattr(form, name))
        return form.model_dump(exclude_unset=True)

    def _reset_counters(self, _: bytes) -> Any:
        self._exchange.counters.reset()
        return {}

    def _kill_session(self, body: bytes) -> Any:
        user_id = json.loads(body or b"{}").get("account", "")
        self._exchange.sessions.kill(self._account(user_id))
        return {}

    def _steer_feeds(self, body: bytes) -> Any:
        form = _FeedsForm.model_validate_json(body)
        return {"open": self._sockets.steer(up=form.up, silent=form.silent)}

    def _account(self, user_id: str) -> SimulatedAccount:
        if not user_id:
            return accounts.default(self._broker)
        account = accounts.find(self._broker, "user_id", user_id)
        if account is None:
            raise _Unknown(f"There is no account with the user id {user_id!r}.")
        return account

    def _contract(self, form: _ContractForm) -> Contract:
        contract = self._exchange.universe.by_symbol(form.exchange, form.symbol)
        if contract is None:
            raise _Unknown(f"There is no {form.symbol!r} on {form.exchange} today.")
        return contract


def _json(status: int, content: Any) -> Answer:
    return status, json.dumps(content, separators=(",", ":")).encode(), "application/json"
