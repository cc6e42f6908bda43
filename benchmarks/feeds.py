"""What a live feed carries: ``python -m benchmarks.feeds [BROKER] [--instruments 3000] [--rate 10000] [--seconds 60]``.

A process plays the broker's sockets and sends ticks over loopback, through the real SDK, into a real process of `run_feeds`,
which writes them to an embedded Valkey. Prints what was offered and carried, the latency, and each process's CPU and memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import psutil

from benchmarks import stack

#: Instruments whose newest tick in the hash is looked at, and how often: no latency is told finer than that.
PROBES, PROBE_SECONDS = 20, 0.005
SAMPLE_SECONDS = 5.0
#: Signs of life are given each second.
SETTLE_SECONDS = 3.0
FIRST_TOKEN = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("broker", nargs="?", default="kotakneo", choices=["kotakneo", "breeze"])
    parser.add_argument("--instruments", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=10_000, help="ticks a second")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mcube-bench-") as folder, ExitStack() as running:
        base = stack.free_ports(2)
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "mcube.settings",
            "MCUBE_HOME": folder,
            "MCUBE_REDIS_PORT": str(base),
            f"MCUBE_{options.broker.upper()}_URL": f"http://127.0.0.1:{base + 1}",
            "MCUBE_LOG_LEVEL": "WARNING",
        }
        os.environ.pop("MCUBE_REDIS_URL", None)
        measure(options, Path(folder), base, running)


def measure(options: argparse.Namespace, home: Path, port: int, running: ExitStack) -> None:
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    from mcube import market_time, processes, secrets

    configuration = home / "valkey.conf"
    password = secrets.redis_url(settings.ENV).split(":")[2].split("@")[0]
    configuration.write_text(processes.valkey_configuration(folder=home, port=port, password=password))
    valkey = running.enter_context(stack.process(processes.valkey(configuration=configuration), home / "valkey.log"))
    call_command("migrate", verbosity=0)
    market_time.settle()
    command = (sys.executable, "-m", "benchmarks.feed_sender", port + 1, options.rate, options.seconds)
    sender = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    running.callback(sender.wait)
    running.callback(sender.terminate)
    assert sender.stdin is not None
    assert sender.stdout is not None
    said(sender.stdout)
    account = prepare(options.broker, options.instruments, f"http://127.0.0.1:{port + 1}")
    feed = running.enter_context(stack.process(processes.feeds(str(account)), home / "feed.log"))
    sender.stdin.write(f"{options.instruments}\n")
    sender.stdin.flush()
    said(sender.stdout)
    watched = {"feed": feed, "Valkey": psutil.Process(valkey.pid), "sender": psutil.Process(sender.pid)}
    before = {name: stack.cpu_seconds(each) for name, each in watched.items()}
    sender.stdin.write("send\n")
    sender.stdin.flush()
    began = time.monotonic()
    latencies, sizes = observe(account, options, watched, began + options.seconds + 1)
    sent = said(sender.stdout)
    cpu = {name: stack.cpu_seconds(each) - before[name] for name, each in watched.items()}
    stack.until(lambda: is_through(account), "The end of what was on its way")
    report(account, options, sent, latencies, cpu, sizes)
    print((home / "feed.log").read_text()[-2000:], file=sys.stderr)


def said(output: IO[str]) -> dict[str, float]:
    """The next line of the sender."""
    found: dict[str, float] = json.loads(output.readline())
    return found


def prepare(broker: str, count: int, url: str) -> Any:
    """An account with a session whose feeds are the sender's, instruments, and wishes for all of them."""
    from brokers import instruments, sessions
    from brokers.adapter_interface import SessionGrant
    from brokers.clock import configured_clock
    from brokers.discovery import spec_of
    from brokers.feeds import subscriptions
    from brokers.models import BrokerAccount, SessionState
    from brokers.simulator.accounts import numbered
    from credentials import store
    from credentials.models import CredentialStore

    clock = configured_clock()
    account = BrokerAccount.objects.get_or_create(broker=broker, name="default")[0]
    row = CredentialStore.objects.get_or_create(
        service=broker, name="default", defaults=numbered(broker, 1).credentials()
    )
    details = {"base_url": url, "ucc": "AB123", "feed_url": f"{url}/apifeed", "rt_url": f"{url}/realtime"}
    ends = clock.now() + timedelta(hours=4)
    # Breeze's is user and session key, as base64 of "USER:key".
    grant = SessionGrant(session_token="token", sid="VVNFUjprZXk=", details=details, expires_at=ends)
    store.save_session(broker, "default", grant, login_used_at=store.credential(broker, "default").updated_at)
    SessionState.objects.update_or_create(
        account=account,
        defaults={"status": SessionState.Status.VALID, "version": 1, "details": details, "expires_at": ends},
    )
    assert sessions.current(account, clock=clock), row
    instruments.refresh(account, adapter=Master(count), clock=clock)  # type: ignore[arg-type]
    lookup = instruments.lookup()
    wanted = [lookup.resolve(f"S{number:05d}") for number in range(count)]
    subscriptions.add(account, wanted, subscriber="bench", depth=False, room=spec_of(broker).capabilities)
    return account


class Master:
    """So many shares, as either broker's adapter reads them."""

    def __init__(self, count: int) -> None:
        self._count = count

    def read_master(self) -> Iterator[Any]:
        from brokers.adapter_interface import MasterRow
        from brokers.domain.enums import Exchange, InstrumentKind

        for number in range(self._count):
            symbol, token = f"S{number:05d}", str(FIRST_TOKEN + number)
            codes = {"stock_code": symbol, "exchange_code": "NSE", "exchange_segment": "nse_cm"}
            yield MasterRow(
                exchange=Exchange.NSE,
                kind=InstrumentKind.EQUITY,
                token=token,
                symbol=symbol,
                underlying=symbol,
                lot_size=1,
                series="EQ",
                key=f"NSE:{token}",
                identifiers={**codes, "token": token, "trading_symbol": f"{symbol}-EQ"},
            )


def observe(
    account: Any, options: argparse.Namespace, watched: dict[str, psutil.Process], until: float
) -> tuple[list[float], list[tuple[float, dict[str, float]]]]:
    """Milliseconds from when a tick was due to when it was in the hash, and the processes' MB over time."""
    import redis
    from django.conf import settings

    names = [f"NSE:S{number:05d}" for number in range(0, options.instruments, max(1, options.instruments // PROBES))]
    seen: dict[str, Any] = {}
    latencies, sizes, began, next_sample = [], [], time.monotonic(), 0.0
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        while (now := time.monotonic()) < until:
            found: Any = client.hmget(f"mcube:ticks:{account}", names)
            wall = time.time()
            for name, text in zip(names, found, strict=True):
                if text is not None and seen.get(name) != text:
                    seen[name] = text
                    latencies.append((wall - json.loads(text)["volume"] / 1e6) * 1000)
            if now >= next_sample:
                next_sample = now + SAMPLE_SECONDS
                sizes.append((now - began, {name: each.memory_info().rss / 1e6 for name, each in watched.items()}))
            time.sleep(PROBE_SECONDS)
    return latencies, sizes


def is_through(account: Any) -> bool:
    """Whether nothing came any more for a while."""
    from brokers.feeds.ticks import store

    before = store().lives([account])[account.pk].ticks
    time.sleep(SETTLE_SECONDS)
    return store().lives([account])[account.pk].ticks == before


def report(
    account: Any,
    options: argparse.Namespace,
    sent: dict[str, float],
    latencies: list[float],
    cpu: dict[str, float],
    sizes: list[tuple[float, dict[str, float]]],
) -> None:
    import redis
    from django.conf import settings

    from brokers.feeds.ticks import store

    life = store().lives([account])[account.pk]
    with redis.Redis.from_url(settings.REDIS_URL) as client, client.pipeline(transaction=False) as batch:
        for number in range(options.instruments):
            batch.xlen(f"mcube:ticks:{account}:NSE:S{number:05d}")
        written, kept = sum(batch.execute()), client.info("persistence")
    seconds = sent["ended"] - sent["began"]
    offered = sent["sent"]
    print(f"{account}, {options.instruments:,} instruments, {options.rate:,.0f} ticks/s for {options.seconds:.0f} s")
    print(f"sent      {offered:>10,.0f}  in {seconds:.1f} s, {sent['late_seconds']:.2f} s late at the end")
    print(f"came      {life.ticks:>10,}  decoded and mapped by the feed; {life.heard:,} instruments ticked")
    print(f"written   {written:>10,}  in streams")
    print(f"dropped   {life.dropped:>10,}  too fast for their streams")
    spread = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else [0.0] * 99
    print(
        f"latency   p50 {spread[49]:.1f} ms, p99 {spread[98]:.1f} ms, at most {max(latencies, default=0):.0f} ms to the hash"
    )
    print(f"file      {kept['aof_current_size'] / 1e6:,.0f} MB of Valkey's, which keeps ticks as it keeps all else")
    for name, spent in cpu.items():
        print(f"{name:8}  {100 * spent / seconds:.0f} % of a core, {1e6 * spent / offered:.1f} us a tick")
    for name in cpu:
        print(f"{name:8}  MB every {SAMPLE_SECONDS:.0f} s: {', '.join(f'{size[name]:.0f}' for _, size in sizes)}")


if __name__ == "__main__":
    main()
