"""Shows every broker's positions and profit: python -m examples.positions"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
django.setup()

from brokers.interfaces import BrokerFactory


def main() -> None:
    for name in ("breeze", "kotakneo"):
        try:
            broker = BrokerFactory.get_broker(name)
            broker.login()
            positions = broker.get_positions()
            print(f"{name}: {len(positions)} positions, P&L Rs {broker.get_position_pnl():,.2f}")
        except Exception as problem:  # one broker's trouble is no reason not to ask the other
            print(f"{name}: {problem}")
            continue
        for pos in positions:
            print(f"  {pos['symbol']}: {pos.get('pnl', 0)}")
        broker.logout()


if __name__ == "__main__":
    main()
