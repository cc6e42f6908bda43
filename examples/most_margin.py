"""Buys at the broker with the most margin: python -m examples.most_margin SYMBOL QUANTITY [RUPEES]"""

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
django.setup()

from brokers.interfaces import BrokerFactory


def main(symbol: str, quantity: int, required: float) -> None:
    best, most = None, required
    for name in ("breeze", "kotakneo"):
        try:
            broker = BrokerFactory.get_broker(name)
            broker.login()
            margin = broker.get_available_margin()
        except Exception as problem:  # one broker's trouble is no reason not to ask the other
            print(f"{name}: {problem}")
            continue
        print(f"{name}: Rs {margin:,.2f} available")
        if margin >= most:
            best, most = broker, margin
    if best is None:
        raise SystemExit(f"No broker has Rs {required:,.2f} available; add funds or ask for less.")
    try:
        order_id = best.place_order(symbol=symbol, action="B", quantity=quantity, order_type="MKT")
        print(f"Order {order_id}")
    except Exception as problem:
        raise SystemExit(f"No order: {problem}") from problem
    finally:
        best.logout()


if __name__ == "__main__":
    symbol, quantity, required = [*sys.argv[1:], "50000"][:3]
    main(symbol, int(quantity), float(required))
