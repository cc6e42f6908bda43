"""A loopback stand-in for Breeze that answers what a test tells it, and an adapter pointed at it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from brokers.adapter_interface import AdapterContext, SessionGrant
from brokers.adapters.breeze.adapter import BreezeAPI
from brokers.clock import SystemClock
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.domain.errors import InvalidSymbol
from brokers.domain.instruments import Instrument
from brokers.wire import Wire

FIXTURES = Path(__file__).parent / "fixtures"
NOW = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)
API_KEY = "synthetic+key=1"
API_SECRET = "synthetic-secret"
GRANT = SessionGrant(
    session_token="45053",
    sid="VEUxMjM0NTY6NDUwNTM0MjI=",  # TE123456:45053422
    details={"user_id": "TE123456"},
    expires_at=datetime(2026, 11, 24, 18, 30, tzinfo=UTC),
)


def fixture(name: str) -> Any:
    """The answer in ``fixtures/<name>.json``, its fractions as Decimal as the SDK's stand-in makes them."""
    return json.loads((FIXTURES / f"{name}.json").read_text(), parse_float=Decimal)["answer"]


class FixedClock(SystemClock):
    """Market time stands still; deadlines and evidence use real time."""

    def now(self) -> datetime:
        return NOW


OPTION = Instrument(
    symbol="NIFTY24NOV2624800CE",
    exchange=Exchange.NFO,
    kind=InstrumentKind.OPTION,
    underlying="NIFTY",
    expiry=date(2026, 11, 24),
    strike=Decimal("24800"),
    right=OptionRight.CALL,
    lot_size=75,
    tick_size=Decimal("0.05"),
    freeze_quantity=1800,
    master_day=date(2026, 11, 24),
    identifiers={"breeze": {"stock_code": "NIFTY", "exchange_code": "NFO", "token": "71472"}},
)
FUTURE = Instrument(
    symbol="RELIANCE26NOVFUT",
    exchange=Exchange.NFO,
    kind=InstrumentKind.FUTURE,
    underlying="RELIANCE",
    expiry=date(2026, 11, 24),
    lot_size=500,
    tick_size=Decimal("0.10"),
    freeze_quantity=50000,
    master_day=date(2026, 11, 24),
    identifiers={"breeze": {"stock_code": "RELIND", "exchange_code": "NFO", "token": "50001"}},
)
SHARE = Instrument(
    symbol="ITC",
    exchange=Exchange.NSE,
    kind=InstrumentKind.EQUITY,
    underlying="ITC",
    lot_size=1,
    tick_size=Decimal("0.05"),
    master_day=date(2026, 11, 24),
    identifiers={"breeze": {"stock_code": "ITC", "exchange_code": "NSE", "token": "1660"}},
)
KEYS = {"NFO|NIFTY|2026-11-24|CE|24800": OPTION, "NFO|RELIND|2026-11-24|XX|0": FUTURE, "NSE|ITC": SHARE}


class Instruments:
    """Three instruments by key."""

    def find(self, broker: str, key: str) -> Instrument | None:
        return KEYS.get(key) if broker == "breeze" else None

    def resolve(self, symbol: str, exchange: Exchange | None = None) -> Instrument:
        for instrument in KEYS.values():
            if instrument.symbol == symbol:
                return instrument
        raise InvalidSymbol(f"There is no {symbol}.")


@dataclass
class Answer:
    """What the stub sends: a JSON value, or bytes as they are; ``close`` hangs up without a byte."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body, default=float).encode()


@dataclass
class Seen:
    """One request as the stub got it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Stub:
    """Answers each request with the next scripted answer; remembers what it was asked."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = list(answers)
        self.seen: list[Seen] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                stub.seen.append(Seen(self.command, self.path, dict(self.headers.items()), body))
                answer = stub.answers.pop(0)
                if answer.close:
                    self.close_connection = True
                    return
                content = answer.content()
                lines = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {len(content)}"]
                lines += [f"{name}: {value}" for name, value in answer.headers.items()]
                self.wfile.write("\r\n".join([*lines, "", ""]).encode() + content)

            do_GET = do_POST = do_PUT = do_DELETE = handle_one

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Stub:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def make_adapter(url: str, *, session_token: str = "45053") -> BreezeAPI:
    """An adapter pointed at ``url``, without a session."""
    clock = FixedClock()
    context = AdapterContext(
        account="breeze/default",
        secrets={"api_key": API_KEY, "api_secret": API_SECRET, "session_token": session_token},
        clock=clock,
        wire=Wire(clock=clock, allowed_hosts=frozenset({"127.0.0.1"})),
        base_url=url,
        instruments=Instruments(),
    )
    return BreezeAPI(context)


@contextmanager
def breeze(*answers: Answer | object) -> Iterator[tuple[BreezeAPI, Stub]]:
    """An adapter with a session, at a stub that gives ``answers`` in turn; a plain value is a 200 with that JSON."""
    script = [answer if isinstance(answer, Answer) else Answer(answer) for answer in answers]
    with Stub(script) as stub:
        adapter = make_adapter(stub.url)
        adapter.use_session(GRANT)
        try:
            yield adapter, stub
        finally:
            adapter.close()


def success(value: object) -> dict[str, object]:
    return {"Success": value, "Status": 200, "Error": None}


def refusal(text: str, status: int = 500) -> dict[str, object]:
    return {"Success": None, "Status": status, "Error": text}
