"""``python -m brokers.simulator``: the simulated exchange with every broker's face."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from brokers.simulator.server import HOST, PortTaken, run


def main() -> int:
    """Serve until told to stop; 1 with one sentence when that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m brokers.simulator", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="MCUBE_HOME: holds the clock and the truth log")
    parser.add_argument("--port", type=int, required=True, help="port of the first face; the others follow; 0: any")
    parser.add_argument("--host", default=HOST, help="address to listen on; anything but loopback is open to all")
    parser.add_argument("--master-dir", type=Path, help="folder with real instrument masters to serve and trade")
    parser.add_argument("--unlimited", action="store_true", help="do not enforce the brokers' call limits")
    parser.add_argument(
        "--log-requests", action="store_true", help="keep a log of every order request beside the truth log"
    )
    parser.add_argument("--broker", action="append", default=[], help="serve only this broker's face; may be repeated")
    options = parser.parse_args()
    try:
        run(
            options.home,
            port=options.port,
            host=options.host,
            master_dir=options.master_dir,
            unlimited=options.unlimited,
            log_requests=options.log_requests,
            brokers=options.broker,
        )
    except (PortTaken, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
