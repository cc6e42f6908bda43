"""Kotak Neo's protocol face on the simulated exchange, written from its published and observed protocol (2026-11).

Codes of refused logins are published for missing headers only; the others are made up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from brokers.adapters.kotakneo import simulator_rows as rows
from brokers.adapters.kotakneo.simulator_feed import Feeds
from brokers.adapters.kotakneo.simulator_market import CANDLES, CHAIN, NO_DATA, QUOTES, MarketData
from brokers.adapters.kotakneo.simulator_market import fault as fault_of_market
from brokers.adapters.kotakneo.simulator_master import PATHS, master_file, read_contracts
from brokers.adapters.kotakneo.simulator_orders import (
    SEGMENTS,
    BadForm,
    change_of,
    form_of,
    margin_ticket_of,
    ticket_of,
)
from brokers.adapters.kotakneo.simulator_session import BROKER, Logins, login_refused
from brokers.clock import IST
from brokers.domain.enums import Product
from brokers.simulator import accounts
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import Refused, Why
from brokers.simulator.exchange import SimulatedExchange
from brokers.simulator.faults import Fault, Kind
from brokers.simulator.http import App, Reply, Request, face_app
from brokers.simulator.rules import BrokerRules

__all__ = ["create_face", "read_contracts"]

FIN_KEY = "neotradeapi"
MASTER = "/wso2-scripmaster/v1/prod/"

#: "Ok" means taken by the gateway; these come later, as a rejection in the book.
LATE = frozenset({Why.MARGIN, Why.HOLDING, Why.FREEZE, Why.BAND, Why.TICK, Why.LOT, Why.TRIGGER})
RULES = BrokerRules(
    order_id=lambda day, sequence, contract: f"{day:%y%m%d}{sequence:09d}",
    late=LATE,
    unique_tags=True,
    order_calls_per_second=10,
)
REFUSALS = {
    Why.QUANTITY: (1009, "please provide valid quantity"),
    Why.PRICE: (1009, "please provide valid price"),
    Why.ORDER_TYPE: (1017, "algo order not allowed"),
    Why.PRODUCT: (5202, "please provide valid product code"),
    Why.CLOSED: (1006, "exchange is closed"),
    Why.NO_SUCH_ORDER: (5202, "please provide valid order number"),
}


class _Refusal(Exception):
    """A reply that ends the call early."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.content)
        self.reply = reply


def _refused(code: int, text: str, status: int = 400) -> Reply:
    return Reply(content={"stat": "Not_Ok", "stCode": code, "errMsg": text}, status=status)


def _nothing() -> Reply:
    return _refused(5203, "No Data", 200)


def _listed(found: list[Any]) -> Reply:
    return Reply(content={"stat": "Ok", "stCode": 200, "data": found}) if found else _nothing()


def _dead_session() -> Reply:
    content = {"stCode": 100022, "errMsg": "invalid session token", "stat": "error in neo-login-check-api"}
    return Reply(content=content, status=401)


Act = Callable[[Request, SimulatedAccount], Reply]


@dataclass(frozen=True, slots=True)
class _Route:
    """What a path is: the endpoint's name, the headers it needs (A, B, C as the SDK sends them, or none), the act."""

    endpoint: str
    headers: str
    act: Act


class NeoFace:
    """Login, orders, reports, market data, master and configuration."""

    broker = BROKER

    def __init__(self, exchange: SimulatedExchange) -> None:
        self._exchange = exchange
        self._logins = Logins(exchange)
        self.sockets = Feeds(exchange, self._logins).sockets
        market = MarketData(exchange)
        self._masters: dict[str, tuple[object, bytes]] = {}
        self._routes = {
            ("POST", "/login/1.0/tradeApiLogin"): _Route("login", "L", self._logins.view),
            ("POST", "/login/1.0/tradeApiValidate"): _Route("login", "L", self._logins.validate),
            ("GET", "/login/1.0/get-client-ip"): _Route("other", "A", self._client_ip),
            ("GET", "/5config/config"): _Route("other", "", self._logins.configuration),
            ("POST", "/quick/order/rule/ms/place"): _Route("place", "A", self._place),
            ("POST", "/quick/order/vr/modify"): _Route("modify", "A", self._modify),
            ("POST", "/quick/order/cancel"): _Route("cancel", "A", self._cancel),
            ("GET", "/quick/user/orders"): _Route("orders", "B", self._orders),
            ("POST", "/quick/order/history"): _Route("order", "B", self._history),
            ("GET", "/quick/user/trades"): _Route("trades", "B", self._trades),
            ("GET", "/portfolio/v2/positions"): _Route("positions", "B", self._positions),
            ("GET", "/portfolio/v1/holdings"): _Route("holdings", "B", self._holdings),
            ("POST", "/quick/user/limits"): _Route("funds", "B", self._limits),
            ("POST", "/quick/user/check-margin"): _Route("margin", "B", self._margin),
            ("GET", CHAIN): _Route("chain", "C", market.chain),
            ("GET", CANDLES): _Route("candles", "C", market.candles),
            ("GET", "/script-details/1.0/masterscrip/file-paths"): _Route("master", "C", self._file_paths),
        }
        self._prefixes = {
            "/quick/user/orders/": _Route("order", "B", self._order),
            QUOTES: _Route("quote", "C", market.quotes),
            MASTER: _Route("master", "", self._master),
        }

    # Face

    def endpoint(self, request: Request) -> str:
        route = self._route(request)
        return route.endpoint if route else ""

    def account(self, request: Request) -> SimulatedAccount | None:
        key = request.headers.get("authorization", "")
        if key:
            return accounts.find(BROKER, "api_key", key)
        return self._logins.account(request.headers.get("auth", ""))

    def handle(self, endpoint: str, request: Request, account: SimulatedAccount | None) -> Reply:
        route = self._route(request)
        if route is None:
            return Reply(
                content={"code": 404, "message": "No matching resource found for given API Request"}, status=404
            )
        try:
            return route.act(request, self._checked(route.headers, request, account))
        except _Refusal as refusal:
            return refusal.reply
        except BadForm as bad:
            return _refused(bad.code, bad.text)
        except Refused as refused:
            return _of_exchange(refused)

    def refuse(self, fault: Fault, request: Request) -> Reply:
        route = self._route(request)
        if fault.kind is Kind.RATE_LIMIT:
            content = {"code": 429, "error": "Rate limit exceeded", "message": "too many request received"}
            return Reply(content=content, status=429, headers={"retry-after": "1"})
        if route and route.headers == "L":
            return login_refused(fault.body or "Login is refused")
        if route and route.headers == "C":
            return fault_of_market(fault.body or (NO_DATA if fault.kind is Kind.NO_DATA else "invalid request"))
        if fault.kind is Kind.SESSION_DEAD:
            return _dead_session()
        if fault.kind is Kind.STATIC_IP:
            if fault.body == "1037":
                return _refused(1037, "session IP and request IP do not match", 403)
            return _refused(100008, fault.body or "unauthorized", 403)
        if fault.kind is Kind.NO_DATA:
            return _nothing()
        code, _, text = fault.body.partition(" ")
        return _refused(int(code), text) if code.isdigit() else _refused(1005, fault.body or "internal error")

    def _route(self, request: Request) -> _Route | None:
        exact = self._routes.get((request.method, request.path))
        if exact or request.method != "GET":
            return exact
        return next((route for start, route in self._prefixes.items() if request.path.startswith(start)), None)

    # Sessions

    def _checked(self, headers: str, request: Request, account: SimulatedAccount | None) -> SimulatedAccount:
        """The account of a call whose headers are right.

        :raises _Refusal: they are not.
        """
        given = request.headers
        if not headers:
            return account or accounts.default(BROKER)
        if headers == "L" and (not given.get("authorization") or given.get("neo-fin-key") != FIN_KEY):
            raise _Refusal(login_refused("Required header not found.", "10512", 400))
        if account is None:
            refusals = {"L": login_refused("Invalid consumer key"), "C": fault_of_market("invalid consumer key", 401)}
            raise _Refusal(refusals.get(headers) or _dead_session())
        if headers in ("A", "B"):
            if headers == "A" and given.get("authorization") != account.api_key:
                raise _Refusal(_refused(100008, "unauthorized", 403))
            if not self._logins.holds(account, given, "trade"):
                raise _Refusal(_dead_session())
        return account

    def _client_ip(self, _: Request, __: SimulatedAccount) -> Reply:
        seen = {"ip": "127.0.0.1", "time": f"{self._exchange.now().astimezone(IST):%Y-%m-%d %H:%M:%S.000}"}
        return Reply(content={"data": [seen], "stCode": 1000, "status": "success"})

    # Orders

    def _place(self, request: Request, account: SimulatedAccount) -> Reply:
        order = self._exchange.place(account, ticket_of(self._exchange, form_of(request.body)))
        return Reply(content={"stat": "Ok", "nOrdNo": order.order_id, "stCode": 200})

    def _modify(self, request: Request, account: SimulatedAccount) -> Reply:
        form = form_of(request.body)
        number = str(form.get("no", ""))
        order = self._exchange.order(account, number)
        if order is None:
            return _refused(*REFUSALS[Why.NO_SUCH_ORDER])
        self._exchange.modify(account, number, change_of(self._exchange, order.contract, order.side, form))
        return Reply(content={"stat": "Ok", "nOrdNo": number, "stCode": 200})

    def _cancel(self, request: Request, account: SimulatedAccount) -> Reply:
        number = str(form_of(request.body).get("on", ""))
        self._exchange.cancel(account, number)
        return Reply(content={"stat": "Ok", "nOrdNo": number, "stCode": 200})

    # Reads

    def _orders(self, _: Request, account: SimulatedAccount) -> Reply:
        return _listed([rows.order(each, account) for each in self._exchange.orders(account)])

    def _order(self, request: Request, account: SimulatedAccount) -> Reply:
        order = self._exchange.order(account, request.path.rpartition("/")[2])
        return _listed([rows.order(order, account)] if order else [])

    def _history(self, request: Request, account: SimulatedAccount) -> Reply:
        order = self._exchange.order(account, str(form_of(request.body).get("nOrdNo", "")))
        return _listed(rows.history(order) if order else [])

    def _trades(self, _: Request, account: SimulatedAccount) -> Reply:
        return _listed([rows.trade(each, account) for each in self._exchange.trades(account)])

    def _positions(self, _: Request, account: SimulatedAccount) -> Reply:
        return _listed([rows.position(each, account) for each in self._exchange.positions(account)])

    def _holdings(self, _: Request, account: SimulatedAccount) -> Reply:
        delivered = [
            rows.holding(each)
            for each in self._exchange.positions(account)
            if each.product is Product.CNC and each.carried_buy_quantity and each.net_quantity > 0
        ]
        return Reply(content={"data": delivered}) if delivered else _nothing()

    def _limits(self, request: Request, account: SimulatedAccount) -> Reply:
        form_of(request.body)
        return Reply(content=rows.limits(self._exchange.funds(account), account, self._exchange.now()))

    def _margin(self, request: Request, account: SimulatedAccount) -> Reply:
        ticket = margin_ticket_of(self._exchange, form_of(request.body))
        needed = self._exchange.required_margin(account, ticket)
        return Reply(content=rows.margin(needed, self._exchange.funds(account)))

    # Master

    def _file_paths(self, request: Request, _: SimulatedAccount) -> Reply:
        base = f"http://{request.host}{MASTER}".rstrip("/")
        day = self._exchange.today()
        return Reply(
            content={"data": {"baseFolder": base, "filesPaths": [f"{base}/{day}/{path}" for path in PATHS.values()]}}
        )

    def _master(self, request: Request, _: SimulatedAccount) -> Reply:
        segment = next((name for name, path in PATHS.items() if request.path.endswith(f"/{path}")), None)
        if segment is None:
            return Reply(content="<Error><Code>NoSuchKey</Code></Error>", status=404, content_type="application/xml")
        universe = self._exchange.universe
        kept = self._masters.get(segment)
        if kept is None or kept[0] is not universe:
            content = master_file(segment, universe.all(SEGMENTS[segment]), self._exchange.master_dir)
            kept = self._masters[segment] = (universe, content)
        return Reply(content=kept[1], content_type="text/csv")


def _of_exchange(refused: Refused) -> Reply:
    """The broker's answer to what the exchange refuses."""
    if refused.why is Why.DUPLICATE_TAG:
        text = "Put Order Response : Client OrderID already exists Data: 0"
        return Reply(content={"stCode": 32, "errMsg": "error from core", "stat": text}, status=400)
    if refused.why is Why.ORDER_DONE:
        content = {"stCode": 1021, "errMsg": "order is completed", "stat": "please provide valid order number"}
        return Reply(content=content, status=400)
    return _refused(*REFUSALS.get(refused.why, (1009, refused.message)))


def create_face(exchange: SimulatedExchange) -> App:
    """The ASGI app of Kotak Neo's face."""
    exchange.register(BROKER, RULES)
    return face_app(exchange, NeoFace(exchange))
