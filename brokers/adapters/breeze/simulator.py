"""Breeze's protocol face on the simulated exchange, written from its documented and observed protocol (2026-11).

Texts that nobody has published (funds, static IP, closed market) are made up and may be overridden by a fault.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from brokers.adapters.breeze import simulator_market as market
from brokers.adapters.breeze import simulator_replies as replies
from brokers.adapters.breeze import simulator_rows as rows
from brokers.adapters.breeze.simulator_feed import Feeds
from brokers.adapters.breeze.simulator_gtt import GttCalls
from brokers.adapters.breeze.simulator_margins import calculate
from brokers.adapters.breeze.simulator_master import Names, read_contracts, security_master
from brokers.adapters.breeze.simulator_orders import BadField, change_of, day_of, exchange_of, ticket_of
from brokers.simulator import accounts
from brokers.simulator.accounts import SimulatedAccount
from brokers.simulator.book import BookedOrder, Refused, Why
from brokers.simulator.contracts import Contract
from brokers.simulator.exchange import SimulatedExchange
from brokers.simulator.faults import Fault, Kind
from brokers.simulator.http import App, Reply, Request, face_app
from brokers.simulator.rules import BrokerRules

__all__ = ["create_face", "play_person", "read_contracts"]

BROKER = "breeze"
API, HISTORY = "/breezeapi/api/v1/", "/api/v2/historicalcharts"
LOGIN, LOGGED_IN = "/apiuser/login", "/apiuser/loggedin"
#: Documented tolerance of X-Timestamp against real time.
SKEW_SECONDS = 60
LOOPBACK = ("127.0.0.1", "localhost")

#: Reported in the book after acceptance; everything else is refused at once.
LATE = frozenset({Why.BAND, Why.TICK, Why.TRIGGER, Why.FREEZE})

RULES = BrokerRules(
    order_id=lambda day, sequence, contract: (
        f"{day:%Y%m%d}38{sequence:08d}" if contract.exchange.is_derivative else f"{day:%Y%m%d}N3{sequence:08d}"
    ),
    gtt_id=lambda day, sequence: f"{day:%Y%m%d}{sequence:08d}",
    late=LATE,
    holds_frozen=True,
    calls_per_minute=100,
    calls_per_day=5000,
    order_calls_per_second=10,
)


class BreezeFace:
    """The REST endpoints, the login pages and the master archive."""

    broker = BROKER

    def __init__(self, exchange: SimulatedExchange) -> None:
        self._exchange = exchange
        self.sockets = Feeds(exchange, lambda account: self._current_tokens(account)[1]).sockets
        self._names = Names.read(exchange.master_dir)
        self._master: tuple[object, bytes] | None = None
        self._handlers: dict[str, Callable[[SimulatedAccount, Mapping[str, Any]], Reply]] = {
            "funds": self._funds,
            "margin": self._margin,
            "place": self._place,
            "modify": self._modify,
            "cancel": self._cancel,
            "order": self._order,
            "orders": self._orders,
            "trade": self._trade,
            "trades": self._trades,
            "positions": self._positions,
            "holdings": self._holdings,
            "demat": self._demat,
            "calculator": self._calculator,
            "quote": self._quote,
            "chain": self._chain,
            **GttCalls(exchange, self._names).handlers,
        }

    # Face

    def endpoint(self, request: Request) -> str:
        if request.path in (LOGIN, LOGGED_IN):
            return "login"
        if request.path.endswith("/SecurityMaster.zip"):
            return "master"
        if (request.method, request.path) == ("GET", HISTORY):
            return "candles"
        one = b'"order_id"' in request.body
        return {
            ("GET", "customerdetails"): "customer",
            ("GET", "funds"): "funds",
            ("GET", "margin"): "margin",
            ("POST", "order"): "place",
            ("PUT", "order"): "modify",
            ("DELETE", "order"): "cancel",
            ("GET", "order"): "order" if one else "orders",
            ("GET", "trades"): "trade" if one else "trades",
            ("GET", "portfoliopositions"): "positions",
            ("GET", "portfolioholdings"): "holdings",
            ("GET", "dematholdings"): "demat",
            ("POST", "margincalculator"): "calculator",
            ("GET", "quotes"): "quote",
            ("GET", "optionchain"): "chain",
            ("POST", "gttorder"): "gtt_place",
            ("PUT", "gttorder"): "gtt_modify",
            ("DELETE", "gttorder"): "gtt_cancel",
            ("GET", "gttorder"): "gtts",
        }.get((request.method, request.path.removeprefix(API)), "")

    def account(self, request: Request) -> SimulatedAccount | None:
        key = request.headers.get("x-appkey") or request.headers.get("apikey", "")
        if not key and request.path == f"{API}customerdetails":
            found = _json_object(request.body)
            key = str(found.get("AppKey", "")) if found else ""
        return accounts.find(BROKER, "api_key", key)

    def handle(self, endpoint: str, request: Request, account: SimulatedAccount | None) -> Reply:
        if endpoint == "login":
            return self._login(request)
        if endpoint == "master":
            return Reply(content=self._master_bytes(), content_type="application/zip")
        try:
            if endpoint == "candles":
                return self._candles(request, account)
            return self._serve(endpoint, request, account)
        except replies.Refusal as refusal:
            return refusal.reply
        except BadField as bad:
            return replies.refused(str(bad))
        except Refused as refused:
            return replies.refused(replies.REFUSAL_TEXTS.get(refused.why, refused.message))

    def _serve(self, endpoint: str, request: Request, account: SimulatedAccount | None) -> Reply:
        values = _json_object(request.body)
        if values is None:
            return replies.crash("Object reference not set to an instance of an object.")
        if endpoint == "customer":
            return self._customer(account, values)
        handler = self._handlers.get(endpoint)
        if handler is None:
            return Reply(content={"Message": "No HTTP resource was found that matches the request URI."}, status=404)
        return handler(self._signed_in(request, account), values)

    def refuse(self, fault: Fault, request: Request) -> Reply:
        if fault.kind is Kind.RATE_LIMIT:
            return replies.gateway(replies.LIMIT_TEXTS.get(fault.body, fault.body) or replies.LIMIT_TEXTS["minute"])
        if fault.kind is Kind.SESSION_DEAD:
            return replies.gateway(fault.body or replies.SESSION_TEXT)
        if fault.kind is Kind.STATIC_IP:
            return replies.refused(fault.body or replies.STATIC_IP_TEXT, 403)
        if fault.kind is Kind.NO_DATA:
            positions = self.endpoint(request) == "positions"
            return replies.nothing(fault.body or ("No Positions available." if positions else "No Data Found"))
        return replies.refused(fault.body or "Refused on purpose.", fault.status if fault.status != 200 else 500)

    # Session

    def _tokens(self, account: SimulatedAccount, generation: str) -> tuple[str, str]:
        """What the redirect carries, and the session key that it is exchanged for."""
        seed = hashlib.sha256(f"{account.key}/{generation}".encode()).digest()
        return (
            f"{int.from_bytes(seed[:4], 'big') % 90_000_000 + 10_000_000}",
            f"{int.from_bytes(seed[4:8], 'big'):010d}",
        )

    def _current_tokens(self, account: SimulatedAccount) -> tuple[str, str]:
        return self._tokens(account, self._exchange.sessions.generation(account))

    def _signed_in(self, request: Request, account: SimulatedAccount | None) -> SimulatedAccount:
        """The account of a signed call.

        :raises replies.Refusal: unknown key, wrong checksum, clock or session.
        """
        if account is None:
            raise replies.Refusal(replies.refused("Public Key does not exist."))
        stamp = request.headers.get("x-timestamp", "")
        checksum = hashlib.sha256(stamp.encode() + request.body + account.api_secret.encode()).hexdigest()
        if not hmac.compare_digest(request.headers.get("x-checksum", ""), f"token {checksum}"):
            raise replies.Refusal(replies.gateway("Invalid Checksum"))
        if not self._is_fresh(stamp):
            raise replies.Refusal(replies.gateway("Authentication Failed: the timestamp is not within 60 seconds"))
        self._check_session(request, account)
        return account

    def _check_session(self, request: Request, account: SimulatedAccount) -> None:
        expected = f"{account.user_id}:{self._current_tokens(account)[1]}"
        token = base64.b64encode(expected.encode()).decode()
        if not hmac.compare_digest(request.headers.get("x-sessiontoken", ""), token):
            raise replies.Refusal(replies.gateway(replies.SESSION_TEXT))

    def _is_fresh(self, stamp: str) -> bool:
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", stamp):
            return False
        sent = datetime.fromisoformat(stamp).astimezone(UTC)
        return abs((self._exchange.clock.real_now() - sent).total_seconds()) <= SKEW_SECONDS

    def _customer(self, account: SimulatedAccount | None, values: Mapping[str, Any]) -> Reply:
        if account is None:
            return replies.refused("Public Key does not exist.")
        given, (token, key) = str(values.get("SessionToken", "")), self._current_tokens(account)
        if given != token:
            past = {self._tokens(account, each)[0] for each in self._exchange.sessions.past(account)}
            return replies.refused("Resource not available." if given in past else "Invalid session.")
        session = base64.b64encode(f"{account.user_id}:{key}".encode()).decode()
        return replies.success(rows.customer(account, session, self._exchange))

    def _login(self, request: Request) -> Reply:
        query = parse_qs((request.query if request.method == "GET" else request.body).decode("latin-1"))
        if request.path == LOGGED_IN:
            token = html.escape(query.get("apisession", [""])[0])
            return replies.page(f"<p>Logged in. The session token is <code>{token}</code>.</p>")
        account = accounts.find(BROKER, "api_key", query.get("api_key", [""])[0])
        if account is None:
            return replies.page("<p>Public Key does not exist.</p>", 400)
        if request.method == "GET":
            return replies.page(
                f'<form method="post" action="{LOGIN}"><input type="hidden" name="api_key" value="{account.api_key}">'
                f"<p>User {account.user_id}, {account.user_name}</p><button>Log in</button></form>"
            )
        target = self._exchange.settings.login_redirect or f"http://{request.host}{LOGGED_IN}"
        joint = "&" if urlsplit(target).query else "?"
        location = f"{target}{joint}{urlencode({'apisession': self._current_tokens(account)[0]})}"
        return Reply(content=b"", status=302, headers={"location": location})

    # Reads

    def _master_bytes(self) -> bytes:
        universe = self._exchange.universe
        if self._master is None or self._master[0] is not universe:
            self._master = (universe, security_master(universe, self._exchange.master_dir, self._names))
        return self._master[1]

    def _funds(self, account: SimulatedAccount, _: Mapping[str, Any]) -> Reply:
        return replies.success(rows.funds(self._exchange.funds(account)))

    def _margin(self, account: SimulatedAccount, values: Mapping[str, Any]) -> Reply:
        return replies.success(rows.margin(self._exchange.funds(account), exchange_of(values)))

    def _orders(self, account: SimulatedAccount, values: Mapping[str, Any]) -> Reply:
        wanted = exchange_of(values)
        found = self._exchange.orders(account, day_of(values, "from_date"), day_of(values, "to_date"))
        listed = [rows.order(each, self._names) for each in found if each.contract.exchange is wanted]
        return replies.success(listed) if listed else replies.nothing()

    def _order(self, account: SimulatedAccount, values: Mapping[str, Any]) -> Reply:
        return replies.success([rows.order(self._own_order(account, values), self._names)])

    def _own_order(self, account: SimulatedAccount, values: Mapping[str, Any]) -> BookedOrder:
        order = self._exchange.order(account, str(values.get("order_id", "")))
        if order is None or order.contract.exchange is not exchange_of(values):
            raise replies.Refusal(replies.refused("No Data Found"))
        return order

    def _trades(self, account: SimulatedAccount, values: Mapping[str, Any]) -> Reply:
        wanted = exchange_of(values)
        fills = self._exchange.trades(account, day_of(values, "from_date"), day_of(values, "to_date"))
        listed = rows.trades([each for each in fills if each.order.contract.exchange is wanted], self._names, self._ltp)
        asked = [(name, str(values[key]).lower()) for name, key in rows.TRADE_FILTERS.items() if values.get(key)]
        listed = [row for row in listed if all(str(row[name]).lower() == value for name, value in asked)]
        return replies.success(listed) if listed else replies.nothing()

    def _trade(self, account: SimulatedAccount, values: Mapping[str, Any]) -> Reply:
        order = self._own_order(account, values)
        fills = [each for each in self._exchange.trades(account) if each.order.order_id == order.order_id]
        return replies.success([rows.trade(each, self._names) for each in fills]) if fills else replies.nothing()

    def _positions(self, account: SimulatedAccount, _: Mapping[str, Any]) -> Reply:
        held = [each for each in self._exchange.positions(account) if each.contract.exchange.is_derivative]
        if not held:
            return replies.nothing("No Positions available.")
        return replies.success([rows.position(each, self._names) for each in held])

    def _holdings(self, account: SimulatedAccount, values: Mapping[str, Any]) -> Reply:
        wanted = exchange_of(values)
        held = [each for each in self._exchange.positions(account) if each.contract.exchange is wanted]
        listed = [rows.holding(each, self._names) for each in held if each.net_quantity > 0]
        return replies.success(listed) if listed else replies.nothing()

    def _demat(self, account: SimulatedAccount, _: Mapping[str, Any]) -> Reply:
        listed = rows.demat_holdings(self._exchange.positions(account), self._names)
        return replies.success(listed) if listed else replies.nothing()

    def _quote(self, _: SimulatedAccount, values: Mapping[str, Any]) -> Reply:
        listed = market.quotes(values, self._exchange, self._names)
        return replies.success(listed) if listed else replies.refused("No Data Found")

    def _chain(self, _: SimulatedAccount, values: Mapping[str, Any]) -> Reply:
        listed = market.chain(values, self._exchange, self._names)
        return replies.success(listed) if listed else replies.nothing()

    def _calculator(self, account: SimulatedAccount, values: Mapping[str, Any]) -> Reply:
        return replies.success(calculate(account, values, self._exchange, self._names))

    def _candles(self, request: Request, account: SimulatedAccount | None) -> Reply:
        """The history's second version: in the query, signed by the session alone, an empty list for nothing."""
        if account is None:
            return replies.refused("Public Key does not exist.")
        self._check_session(request, account)
        query = {name: given[0] for name, given in parse_qs(request.query.decode("latin-1")).items()}
        return replies.success(market.history(query, self._exchange, self._names))

    def _ltp(self, contract: Contract) -> Decimal:
        return self._exchange.quote(contract).last_price

    # Mutations

    def _place(self, account: SimulatedAccount, values: Mapping[str, Any]) -> Reply:
        order = self._exchange.place(account, ticket_of(values, self._exchange, self._names))
        if order.contract.exchange.is_derivative:
            message, remark = "Successfully Placed the order", ""
        else:
            message = f"Equity CASH Order placed successfully through RI reference no {order.order_id}"
            remark = None
        return replies.success({"order_id": order.order_id, "message": message, "user_remark": remark})

    def _modify(self, account: SimulatedAccount, values: Mapping[str, Any]) -> Reply:
        order = self._own_order(account, values)
        self._exchange.modify(account, order.order_id, change_of(values))
        return replies.success({"message": "Successfully Modified the order", "order_id": order.order_id})

    def _cancel(self, account: SimulatedAccount, values: Mapping[str, Any]) -> Reply:
        order = self._own_order(account, values)
        self._exchange.cancel(account, order.order_id)
        return replies.success({"order_id": order.order_id, "message": "Your Order Canceled successfully."})


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        values = json.loads(body)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def create_face(exchange: SimulatedExchange) -> App:
    """The ASGI app that speaks Breeze's protocol on a simulated exchange."""
    exchange.register(BROKER, RULES)
    return face_app(exchange, BreezeFace(exchange))


def play_person(login_url: str) -> str:
    """Log in on the simulated login page as its user would, and return the token of the redirect.

    :raises ValueError: the page is not on loopback, or shows no token; the message says what came.
    """
    if urlsplit(login_url).hostname not in LOOPBACK:
        raise ValueError(f"The simulated login page is on loopback only, not at {urlsplit(login_url).hostname}.")
    with httpx.Client(trust_env=False, follow_redirects=False, timeout=10) as client:
        page = client.get(login_url)
        form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
        reply = client.post(login_url.partition("?")[0], data=form)
    tokens = parse_qs(urlsplit(reply.headers.get("location", "")).query).get("apisession")
    if not tokens:
        raise ValueError(f"The simulated login page at {login_url.partition('?')[0]} gave no token: {reply.text[:200]}")
    return str(tokens[0])
