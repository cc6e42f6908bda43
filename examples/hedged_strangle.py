"""Sells a strangle behind its hedges, in slices: python -m examples.hedged_strangle BROKER LOTS"""

import os
import sys
import time
import uuid

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
django.setup()

from brokers.interfaces import BrokerFactory, BrokerInterface
from brokers.models import OrderPlan
from brokers.plans.status import progress
from tasks.orders import place_basket

NEAR, FAR = 200, 400  # points from the market: what is sold, and what hedges it


def option(broker: BrokerInterface, strike: int, right: str) -> str:
    found = [each for each in broker.search_symbol(f"NIFTY {strike}{right}") if each["underlying"] == "NIFTY"]
    if not found:
        raise SystemExit(f"No NIFTY option of strike {strike} {right} is listed.")
    return str(min(found, key=lambda each: each["expiry"])["symbol"])


def main(name: str, lots: int) -> None:
    try:
        broker = BrokerFactory.get_broker(name)
        broker.login()
        middle = round(broker.get_quote("NIFTY")["last_price"] / 50) * 50
        legs = [
            {"symbol": option(broker, middle + NEAR, "CE"), "action": "S", "lots": lots},
            {"symbol": option(broker, middle - NEAR, "PE"), "action": "S", "lots": lots},
            {"symbol": option(broker, middle + FAR, "CE"), "action": "B", "lots": lots},
            {"symbol": option(broker, middle - FAR, "PE"), "action": "B", "lots": lots},
        ]
        # Keep the id: the same one again is the same basket, and sends nothing twice.
        key = f"strangle-{uuid.uuid4().hex[:8]}"
        placed = place_basket.delay(broker=name, legs=legs, client_order_id=key, lots_per_order=2, pace_seconds=2)
        print(f"Basket {key}")
        now, shown = None, ""
        while now is None or now.state in ("RUNNING", "WAITING"):
            now = progress(OrderPlan.objects.get(pk=placed.plan_id))
            line = ", ".join(f"{leg.side} {leg.symbol} {leg.filled}/{leg.asked}" for leg in now.legs)
            if line != shown:
                print(f"  {line}")
            shown = line
            time.sleep(0.5)
        print(f"{now.state} {now.reason}".strip())
    except Exception as problem:
        raise SystemExit(str(problem)) from problem


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
