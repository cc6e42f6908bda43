"""What a trader calls on a gateway for GTTs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from datetime import date
from typing import Any, TypeVar

from brokers.adapter_interface import BrokerAdapter
from brokers.clock import trading_day
from brokers.discovery import spec_of
from brokers.domain.capabilities import Operation
from brokers.domain.errors import OrderDenied
from brokers.domain.gtt import Gtt, GttRole, GttStatus
from brokers.domain.inputs import Price, day_of
from brokers.interfaces import BrokerInterface, Clock
from brokers.limits import Urgency
from brokers.models import BrokerAccount, GttOrder, OrderIntent

T = TypeVar("T")


class GatewayGtts(BrokerInterface):
    """The GTTs of :class:`~brokers.gateway.BrokerGateway`."""

    account: BrokerAccount
    clock: Clock

    @abstractmethod
    def read(
        self, operation: Callable[[BrokerAdapter], T], *, urgency: Urgency = Urgency.POLL, total_seconds: float = ...
    ) -> T:
        """Make one read within session and budget."""

    @abstractmethod
    def record_and_wait(
        self, record: Callable[..., OrderIntent], *, client_order_id: str | None, **content: Any
    ) -> str:
        """Record an intent of this account, send it and wait for what became of it; returns the broker's id."""

    def place_gtt(
        self,
        symbol: str,
        action: str,
        quantity: int,
        *,
        trigger_price: Price,
        price: Price,
        exchange: str | None = None,
        product: str | None = None,
        client_order_id: str | None = None,
        strategy: str = "",
        reduce_only: bool = False,
    ) -> str:
        from brokers.gtt import recording

        return self.record_and_wait(
            recording.record_single,
            client_order_id=client_order_id,
            has_own_key=bool(client_order_id),
            symbol=symbol,
            side=action,
            quantity=quantity,
            trigger_price=trigger_price,
            limit_price=price,
            exchange=exchange,
            product=product,
            strategy=strategy,
            reduce_only=reduce_only,
        )

    def place_gtt_three_leg(
        self,
        symbol: str,
        action: str,
        quantity: int,
        *,
        price: Price,
        target_trigger_price: Price,
        target_price: Price,
        stop_trigger_price: Price,
        stop_price: Price,
        exchange: str | None = None,
        product: str | None = None,
        client_order_id: str | None = None,
        strategy: str = "",
    ) -> str:
        from brokers.gtt import recording

        return self.record_and_wait(
            recording.record_three_leg,
            client_order_id=client_order_id,
            has_own_key=bool(client_order_id),
            symbol=symbol,
            side=action,
            quantity=quantity,
            limit_price=price,
            target_trigger_price=target_trigger_price,
            target_price=target_price,
            stop_trigger_price=stop_trigger_price,
            stop_price=stop_price,
            exchange=exchange,
            product=product,
            strategy=strategy,
        )

    def modify_gtt(
        self,
        gtt_order_id: str,
        *,
        trigger_price: Price = None,
        price: Price = None,
        target_trigger_price: Price = None,
        target_price: Price = None,
        stop_trigger_price: Price = None,
        stop_price: Price = None,
        client_order_id: str | None = None,
    ) -> str:
        from brokers.gtt import recording

        self._require_gtts()
        return self.record_and_wait(
            recording.record_change,
            client_order_id=client_order_id,
            gtt_order_id=gtt_order_id,
            prices={
                GttRole.ORDER: (trigger_price, price),
                GttRole.TARGET: (target_trigger_price, target_price),
                GttRole.STOP: (stop_trigger_price, stop_price),
            },
        )

    def cancel_gtt(self, gtt_order_id: str) -> bool:
        from brokers.gtt import recording

        self._require_gtts()
        gtt = GttOrder.objects.filter(account=self.account, gtt_order_id=gtt_order_id).first()
        if gtt is None or gtt.status != GttStatus.CANCELLED:
            self.record_and_wait(recording.record_cancel, client_order_id=None, gtt_order_id=gtt_order_id)
        return True

    def get_gtts(self, first: date | str | None = None, last: date | str | None = None) -> list[Gtt]:
        from brokers.gtt import book

        self._require_gtts()
        today = trading_day(self.clock.now())
        begins = day_of(first, "first") if first is not None else book.first_day(self.account, self.clock.now())
        ends = day_of(last, "last") if last is not None else today
        if begins > ends or ends > today:
            raise OrderDenied(
                f"There are no days from {begins} to {ends}, today being {today}; give the earlier first."
            )
        return self.read(lambda adapter: adapter.fetch_gtts(begins, ends))

    def _require_gtts(self) -> None:
        spec_of(self.account.broker).capabilities.require(Operation.GTT_SINGLE, str(self.account))
