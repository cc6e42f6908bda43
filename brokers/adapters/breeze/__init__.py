"""ICICI Breeze."""

from brokers.domain.capabilities import BASIC_OPERATIONS, Capabilities, Operation
from brokers.domain.enums import Exchange, OrderType, Product, TimeInForce
from brokers.interfaces import AdapterSpec, Slicing

SPEC = AdapterSpec(
    name="breeze",
    verbose_name="ICICI Breeze",
    aliases=frozenset({"ICICI", "ICICI BREEZE", "ICICIDIRECT"}),
    adapter="brokers.adapters.breeze.adapter:BreezeAPI",
    simulator="brokers.adapters.breeze.simulator:create_face",
    sdk_packages=frozenset({"breeze_connect"}),
    extra="breeze",
    hosts=frozenset(
        {
            "api.icicidirect.com",
            "breezeapi.icicidirect.com",
            "livefeeds.icicidirect.com",
            "livestream.icicidirect.com",
            "directlink.icicidirect.com",
        }
    ),
    required_credentials=("api_key", "api_secret"),
    credential_hints={
        "api_key": "API key of the app on api.icicidirect.com, View Apps",
        "api_secret": "secret key shown beside it",
        "session_token": "apisession of today's login page; `manage.py session_token` takes it",
        "sid": "written at login",
    },
    capabilities=Capabilities(
        exchanges=frozenset(Exchange),
        order_types=frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT}),
        times_in_force=frozenset({TimeInForce.DAY, TimeInForce.IOC}),
        products=frozenset({Product.CNC, Product.NRML}),
        # user_remark is not preserved: Breeze-Python-SDK issues 225, 156 and 238, read 2026-11-22.
        echoes_client_tag=False,
        refuses_duplicate_tag=False,
        unattended_login=False,
        book_by_exchange=True,
        # The calls of the SDK 1.0.69 and its README, read 2026-11-28. Depth is the best level of a quote, the year's
        # range that of 365 daily candles, an order's history its present row; margins are of derivatives only.
        operations=BASIC_OPERATIONS
        | {
            *(Operation.SEGMENT_MARGINS, Operation.MARGIN_REQUIRED, Operation.HOLDINGS, Operation.DEMAT_HOLDINGS),
            *(Operation.ORDER_HISTORY, Operation.ORDERS_BETWEEN, Operation.TRADES_BETWEEN),
            *(Operation.DEPTH, Operation.YEAR_RANGE, Operation.OPTION_CHAIN, Operation.CANDLES),
            # Sockets of rates, quotes and depth apart, and of order notifications.
            *(Operation.LIVE_FEED, Operation.DEPTH_FEED, Operation.ORDER_FEED),
            *(Operation.GTT_SINGLE, Operation.GTT_THREE_LEG),  # gtt_* of the SDK: derivatives, limit orders only
        },
        # "2000 scripts", api.icicidirect.com/breezeapi/documents, read 2026-11-22.
        most_fed=2000,
        # A name of its own is joined for it; whether it counts is not said, so it does.
        fed_depth_takes=1,
        # api.icicidirect.com/breezeapi/documents, read 2026-11-22.
        call_limits=((100, 60),),
        calls_per_day=5000,
        has_public_master=True,
        # Orders and trades of four exchanges, and the positions.
        calls_to_read_all=9,
        calls_to_read_positions=5,
    ),
    # As the first user trades there. A slice of a closing takes six calls of a hundred a minute.
    basket_slicing=Slicing(lots_per_order=10, pace_seconds=20),
    close_slicing=Slicing(lots_per_order=10, pace_seconds=40),
)
