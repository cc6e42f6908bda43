"""Places one order after every check: python -m examples.one_order BROKER SYMBOL QUANTITY"""

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
django.setup()

from brokers.interfaces import BrokerFactory


def main(name: str, symbol: str, quantity: int) -> None:
    try:
        broker = BrokerFactory.get_broker(name)
        broker.login()
        if not broker.is_market_open():
            raise SystemExit("The market is closed; no order was placed.")
        if not broker.check_margin_sufficient(50000):
            raise SystemExit(f"Insufficient margin at {name}: less than Rs 50,000 is available; add funds.")
        if broker.has_open_positions():
            raise SystemExit(f"There are open positions at {name}; close them first.")
        quote = broker.get_quote(symbol)
        if not quote:
            raise SystemExit(f"{name} states no price of {symbol}; no order was placed.")
        print(f"{symbol} at Rs {quote['last_price']}")
        order_id = broker.place_order(symbol=symbol, action="B", quantity=quantity, order_type="MKT")
        print(f"Order {order_id}")
        broker.logout()
    except Exception as problem:
        raise SystemExit(str(problem)) from problem


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
