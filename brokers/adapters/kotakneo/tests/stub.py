"""A loopback HTTP server that plays a script, and what an adapter needs around it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from brokers.adapter_interface import AdapterContext, SessionGrant
from brokers.adapters.kotakneo import SPEC
from brokers.adapters.kotakneo.adapter import NeoAPI
from brokers.clock import SystemClock
from brokers.domain.enums import Exchange, InstrumentKind, OptionRight
from brokers.domain.errors import InvalidSymbol
from brokers.domain.instruments import Instrument
from brokers.wire import Wire

FIXTURES = Path(__file__).with_name("fixtures")

CALL = Instrument(
    symbol="NIFTY26NOV22250CE",
    exchange=Exchange.NFO,
    kind=InstrumentKind.OPTION,
    underlying="NIFTY",
    expiry=date(2026, 11, 24),
    strike=Decimal(22250),
    right=OptionRight.CALL,
    lot_size=65,
    tick_size=Decimal("0.05"),
    freeze_quantity=1800,
    master_day=date(2026, 11, 23),
    identifiers={
        "kotakneo": {"exchange_segment": "nse_fo", "trading_symbol": "NIFTY26NOV22250CE", "token": "71472"},
    },
)
SHARE = Instrument(
    symbol="RELIANCE",
    exchange=Exchange.NSE,
    kind=InstrumentKind.EQUITY,
    underlying="RELIANCE",
    lot_size=1,
    tick_size=Decimal("0.10"),
    master_day=date(2026, 11, 23),
    identifiers={"kotakneo": {"exchange_segment": "nse_cm", "trading_symbol": "RELIANCE-EQ", "token": "2885"}},
)
INDEX = Instrument(
    symbol="NIFTY 50",
    exchange=Exchange.NSE,
    kind=InstrumentKind.INDEX,
    underlying="NIFTY",
    master_day=date(2026, 11, 23),
    identifiers={"kotakneo": {"exchange_segment": "nse_cm", "trading_symbol": "NIFTY", "token": "26000"}},
)


def option(strike: int, right: OptionRight) -> Instrument:
    """An option like :data:`CALL`."""
    symbol = f"NIFTY26NOV{strike}{right.value}"
    ids = {"exchange_segment": "nse_fo", "trading_symbol": symbol, "token": f"7{strike}"}
    return replace(CALL, symbol=symbol, strike=Decimal(strike), right=right, identifiers={"kotakneo": ids})


def fixture(name: str) -> Any:
    """The reply in ``fixtures/<name>.json``."""
    return json.loads((FIXTURES / f"{name}.json").read_text())["reply"]


class Shelf:
    """An instrument lookup over a few instruments."""

    def __init__(self, *instruments: Instrument) -> None:
        self._by_key = {
            f"{ids['exchange_segment']}|{ids['trading_symbol']}": instrument
            for instrument in instruments
            for ids in [instrument.identifiers[SPEC.name]]
        }

    def find(self, broker: str, key: str) -> Instrument | None:
        return self._by_key.get(key) if broker == SPEC.name else None

    def resolve(self, symbol: str, exchange: Exchange | None = None) -> Instrument:
        for instrument in self._by_key.values():
            if instrument.symbol == symbol and exchange in (None, instrument.exchange):
                return instrument
        raise InvalidSymbol(f"No {symbol} here.")


@dataclass(frozen=True, kw_only=True)
class Said:
    """One answer of the stub. ``content`` that is not bytes is sent as JSON; None drops the connection."""

    content: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    #: Answer only when the test ends.
    hang: bool = False


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One request that reached the stub."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, Any]:
        """The JSON of its ``jData`` field."""
        parsed: dict[str, Any] = json.loads(parse_qs(self.body.decode())["jData"][0])
        return parsed


class Stub:
    """Answers by path prefix; keeps what it heard."""

    def __init__(self) -> None:
        self.script: dict[str, list[Said]] = {}
        self.heard: list[Heard] = []
        self._over = threading.Event()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                stub.heard.append(Heard(method=self.command, path=self.path, headers=headers, body=body))
                said = stub.next(self.path)
                if said.hang:
                    stub._over.wait(30)
                if said.hang or said.drop:
                    self.close_connection = True
                    return
                content = said.content if isinstance(said.content, bytes) else json.dumps(said.content).encode()
                lines = {"Content-Type": "application/json", "Content-Length": str(len(content)), **said.headers}
                self.send_response(said.status)
                for name, value in lines.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def says(self, path: str, *answers: Said) -> None:
        """Answer calls whose path starts with ``path``; the last answer is for all later ones."""
        self.script[path] = list(answers)

    def next(self, path: str) -> Said:
        for prefix, answers in self.script.items():
            if path.startswith(prefix):
                return answers.pop(0) if len(answers) > 1 else answers[0]
        return Said(content={"error": [{"code": "404", "message": "no such path"}]}, status=404)

    def calls(self, path: str) -> list[Heard]:
        return [heard for heard in self.heard if heard.path.startswith(path)]

    @contextmanager
    def running(self) -> Iterator[Stub]:
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(5)


SECRETS = {
    "api_key": "synthetic-consumer-key",
    "mobile_number": "+919000000001",
    "ucc": "ZZ001",
    "neo_password": "246810",
    "totp_secret": base64.b32encode(b"synthetic-totp-secret").decode(),
}


#: Every adapter a test has made; their sockets are closed when it ends.
made: list[NeoAPI] = []


def adapter_at(url: str, **secrets: str) -> NeoAPI:
    """An adapter whose SDK is pointed at ``url``."""
    clock = SystemClock()
    wire = Wire(
        clock=clock,
        allowed_hosts=frozenset({"127.0.0.1"}),
        routes=dict.fromkeys(SPEC.hosts, url),
        allowed_suffixes=(),
    )
    adapter = NeoAPI(
        AdapterContext(
            account="kotakneo/test",
            secrets={**SECRETS, **secrets},
            clock=clock,
            wire=wire,
            base_url=url,
            instruments=Shelf(
                CALL, SHARE, *(option(strike, right) for strike in (22250, 22300) for right in OptionRight)
            ),
        )
    )
    made.append(adapter)
    return adapter


def grant_for(url: str) -> SessionGrant:
    return SessionGrant(
        session_token="trade-token",
        sid="trade-sid",
        details={"base_url": url, "data_center": "E43", "ucc": "ZZ001"},
        expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    )


def web_token(ends_at: datetime) -> str:
    """An unsigned web token that ends at a time."""
    parts = ({"alg": "none"}, {"sub": "TEST", "exp": int(ends_at.timestamp())})
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + "."
