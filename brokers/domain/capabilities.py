"""What a broker can do, said before it is asked."""

from dataclasses import dataclass

from brokers.domain.enums import Exchange, OrderType, Product, TimeInForce


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    exchanges: frozenset[Exchange]
    order_types: frozenset[OrderType]
    times_in_force: frozenset[TimeInForce]
    products: frozenset[Product]
    #: The broker echoes our tag in its book, so that an order can be found by it.
    echoes_client_tag: bool
    #: The broker refuses a second order with the same tag on the same day.
    refuses_duplicate_tag: bool
    #: A session can be renewed without a person.
    unattended_login: bool
    #: The order book is read exchange by exchange, so that one part of it may be empty by mistake.
    book_by_exchange: bool = False
    #: Calls that one reading of orders, trades and positions takes at least.
    calls_to_read_all: int = 3
    supports_modify: bool = True
    supports_trades: bool = True
    supports_live_feed: bool = False
    #: Changes of orders that the broker takes from one account in one second.
    order_requests_per_second: int = 10
    #: Calls of any kind: (limit, window in seconds), tightest first.
    call_limits: tuple[tuple[int, int], ...] = ()
    #: Calls of any kind in one day (IST); None when the broker states no limit.
    calls_per_day: int | None = None
