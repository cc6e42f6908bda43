"""What a broker can do, said before it is asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from brokers.domain.enums import Exchange, OrderType, Product, TimeInForce
from brokers.domain.errors import UnsupportedFeature


class Operation(StrEnum):
    """What a broker can be asked for. Every one that an adapter names is shown by the contract suite."""

    MARGIN = "MARGIN"
    SEGMENT_MARGINS = "SEGMENT_MARGINS"
    MARGIN_REQUIRED = "MARGIN_REQUIRED"
    POSITIONS = "POSITIONS"
    HOLDINGS = "HOLDINGS"
    DEMAT_HOLDINGS = "DEMAT_HOLDINGS"
    ORDERS = "ORDERS"
    ORDER = "ORDER"
    ORDER_HISTORY = "ORDER_HISTORY"
    ORDERS_BETWEEN = "ORDERS_BETWEEN"
    TRADES = "TRADES"
    TRADES_BETWEEN = "TRADES_BETWEEN"
    QUOTE = "QUOTE"
    QUOTES = "QUOTES"
    DEPTH = "DEPTH"
    YEAR_RANGE = "YEAR_RANGE"
    OPTION_CHAIN = "OPTION_CHAIN"
    CANDLES = "CANDLES"
    PLACE = "PLACE"
    MODIFY = "MODIFY"
    CANCEL = "CANCEL"
    GTT_SINGLE = "GTT_SINGLE"
    GTT_THREE_LEG = "GTT_THREE_LEG"
    LIVE_FEED = "LIVE_FEED"
    DEPTH_FEED = "DEPTH_FEED"
    ORDER_FEED = "ORDER_FEED"

    @property
    def words(self) -> str:
        """Its name in a sentence."""
        return self.value.replace("_", " ").lower()


#: What every broker must offer to be of any use here.
BASIC_OPERATIONS = frozenset(
    {
        *(Operation.MARGIN, Operation.POSITIONS, Operation.ORDERS, Operation.ORDER, Operation.TRADES),
        *(Operation.QUOTE, Operation.QUOTES, Operation.PLACE, Operation.MODIFY, Operation.CANCEL),
    }
)


#: What a broker offers all, some or none of, and the field of :class:`Capabilities` that says which.
KINDS: Mapping[type[StrEnum], str] = {
    Operation: "operations",
    Exchange: "exchanges",
    OrderType: "order_types",
    Product: "products",
    TimeInForce: "times_in_force",
}


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
    #: Requests that one reading of the positions takes at most.
    calls_to_read_positions: int = 1
    operations: frozenset[Operation] = BASIC_OPERATIONS
    #: Changes of orders that the broker takes from one account in one second.
    order_requests_per_second: int = 10
    #: Calls of any kind: (limit, window in seconds), tightest first.
    call_limits: tuple[tuple[int, int], ...] = ()
    #: Calls of any kind in one day (IST); None when the broker states no limit.
    calls_per_day: int | None = None
    #: Instruments that one account's live feed carries at most; 0 without a feed.
    most_fed: int = 0
    #: How many of those the depth of an instrument takes up besides.
    fed_depth_takes: int = 0
    #: The instrument master is published: it needs no session.
    has_public_master: bool = False

    def offers(self, member: StrEnum) -> bool:
        """Whether an operation, exchange, order type, product or time in force is offered."""
        return member in getattr(self, KINDS[type(member)])

    def require(self, operation: Operation, who: str) -> None:
        """:raises UnsupportedFeature: the broker of ``who`` does not offer the operation."""
        if not self.offers(operation):
            raise UnsupportedFeature(
                f"The broker of {who} offers no {operation.words}; docs/capabilities.md says what it offers."
            )
