"""Kotak Neo."""

from brokers.domain.capabilities import BASIC_OPERATIONS, Capabilities, Operation
from brokers.domain.enums import Exchange, OrderType, Product, TimeInForce
from brokers.interfaces import AdapterSpec

SPEC = AdapterSpec(
    name="kotakneo",
    verbose_name="Kotak Neo",
    aliases=frozenset({"KOTAK", "KOTAK NEO", "NEO", "KOTAK_NEO"}),
    adapter="brokers.adapters.kotakneo.adapter:NeoAPI",
    simulator="brokers.adapters.kotakneo.simulator:create_face",
    sdk_packages=frozenset({"neo_api_client"}),
    extra="kotakneo",
    hosts=frozenset({"mis.kotaksecurities.com", "lapi.kotaksecurities.com"}),
    # The account's data centre, e.g. e43, is named by the login's answer.
    host_suffixes=(".kotaksecurities.com",),
    required_credentials=("api_key", "mobile_number", "ucc", "neo_password", "totp_secret"),
    credential_hints={
        "api_key": "The consumer key: Neo app, More, Trade API, the token of your application.",
        "mobile_number": "The registered mobile number with its country code, e.g. +91 and ten digits.",
        "ucc": "The unique client code: Neo app, Profile.",
        "neo_password": "The six-digit MPIN you unlock the Neo app with.",
        "totp_secret": "The text key shown beside the QR code when you register an authenticator for Trade API.",
    },
    capabilities=Capabilities(
        exchanges=frozenset(Exchange),
        order_types=frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT}),
        times_in_force=frozenset({TimeInForce.DAY, TimeInForce.IOC}),
        products=frozenset({Product.CNC, Product.MIS, Product.NRML, Product.MTF}),
        # GuiOrdId, and "Client OrderID already exists": kotak-neo-api issues 150 and 175, read 2026-11-22.
        echoes_client_tag=True,
        refuses_duplicate_tag=True,
        unattended_login=True,
        # Functions of SDK 3.0.9 and its docs (docs/functions, read 2026-11-28). It has no books of past days, no
        # depository and no GTT.
        operations=BASIC_OPERATIONS
        | {
            Operation.SEGMENT_MARGINS,  # limits: one pool
            Operation.MARGIN_REQUIRED,  # margin_required: one order a call
            Operation.HOLDINGS,  # holdings, with prices of quotes
            Operation.ORDER_HISTORY,  # order_history: of today
            Operation.DEPTH,  # quotes: five levels
            Operation.YEAR_RANGE,  # quotes of type 52w
            Operation.OPTION_CHAIN,  # option_chain
            Operation.CANDLES,  # historical_data: 1m, 5m, 15m, 30m, 1h, 1d
            Operation.LIVE_FEED,  # create_websocket: touch line
            Operation.DEPTH_FEED,  # the same: level 8, which has all of the touch line
            Operation.ORDER_FEED,  # create_order_feed
        },
        # The SDK's own limit for one socket, 3.0.9.
        most_fed=3000,
        # "10 requests/second across APIs", Kotak's FAQ, read 2026-11-22; two are left to what arrives late.
        call_limits=((8, 1),),
    ),
)
