"""Runs mcube while everything goes wrong, then holds the ledger against the truth.

    python -m tests.chaos [--long] [--database sqlite|postgresql|both] [--seed S]

Ends with 1 when anything was violated or a crash point was hit too seldom.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

# The run has servers of its own, whatever the tests around it use.
os.environ["MCUBE_TEST_SERVERS"] = "embedded"

from tests.chaos import checker, database, report
from tests.chaos.installation import Installation
from tests.chaos.labels import BY_NAME, Who
from tests.chaos.plan import BROKERS, LONG, SHORT, WISHES, Plan, accounts_of
from tests.chaos.sabotage import AFTERMATH, STORM
from tests.chaos.storm import Storm

#: The keepers' points are still struck for so long after the storm, or until each was hit often enough.
AFTERMATH_SECONDS = 120.0
#: How often the storm rises again for points that were not hit often enough, as on a machine that has other work.
MORE_STORMS = 4
#: The storm goes on for so long after the last wish, while orders wait to be sent; by then most are sent or have lapsed.
BACKLOG_SECONDS = 90.0
#: Strategies that take longer than four times what is planned, and this, have come to no end.
PATIENCE_SECONDS = 120.0
#: Within which every account may make calls again: a minute is the longest window of a broker, and a reading takes some.
CALLS_ARE_BACK_SECONDS = 100.0
#: States in which an intent is nobody's yet.
UNFINISHED = "('READY', 'ARMED', 'UNKNOWN', 'ABSENT')"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="10,000 intents a broker instead of 300")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--intents", type=int, help="intents a broker")
    parser.add_argument("--minutes", type=float, help="length of the storm")
    parser.add_argument("--seed", type=int, help="printed; a random one by default")
    parser.add_argument("--scale", type=float, help="factor on the visibility bound and its like; 0.1, long 0.4")
    parser.add_argument("--output", type=Path, help="folder for the reports; var/chaos by default")
    parser.add_argument("--keep", action="store_true", help="leave the run's folder behind")
    parser.add_argument(
        "--break-the-ledger", action="store_true", help="a self-check: a ledger that resends must be found out"
    )
    return parser.parse_args()


def main() -> int:
    chosen = options()
    # Asked to end, end everything that was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    seed = chosen.seed if chosen.seed is not None else secrets.randbelow(1_000_000)
    checks: list[tuple[str, bool]] = []
    for kind in ["sqlite", "postgresql"] if chosen.database == "both" else [chosen.database]:
        if kind == "postgresql" and not database.Postgres.is_installed():
            say("PostgreSQL is not installed here: no run on it.")
            continue
        plan = plan_of(chosen, kind, seed)
        say(f"chaos on {kind}: seed {seed}, scale {plan.scale:g}, {plan.intents} intents a broker")
        result = run(plan, keep=chosen.keep)
        path = (chosen.output or Path("var/chaos")) / f"{kind}-{seed}"
        report.write(result, path)
        say(report.markdown(result))
        say(f"Written to {path}.md and .json; again with --seed {seed} --database {kind}.")
        checks += [(f"{kind}: {name}", holds) for name, holds in checks_of(plan, result)]
    failed = [name for name, holds in checks if not holds]
    for name in failed:
        say(f"FAILED {name}")
    say(f"{len(checks) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def checks_of(plan: Plan, result: dict[str, Any]) -> list[tuple[str, bool]]:
    """What the run shows, each with whether it holds; of a broken ledger that it was found out."""
    if plan.break_the_ledger:
        return [("the broken ledger was found out", result["violations"]["DUPLICATED"] > 0)]
    return report.checks(result)


def plan_of(chosen: argparse.Namespace, kind: str, seed: int) -> Plan:
    sizes: dict[str, Any] = dict(LONG if chosen.long else SHORT)
    count, scale = int(sizes.pop("accounts")), float(sizes.pop("scale"))
    if chosen.intents:
        # As many blows for an order as ever, and in their proportion as many that must hit.
        part = chosen.intents / sizes["intents"]
        sizes |= {name: round(sizes[name] * part) for name in ("kills", "stops", "quota")}
        sizes |= {"intents": chosen.intents, "storm_seconds": sizes["storm_seconds"] * part}
    if chosen.break_the_ledger:
        sizes["quota"] = 0
    if chosen.minutes:
        sizes["storm_seconds"] = chosen.minutes * 60
    return Plan(
        seed=seed,
        database=kind,
        scale=chosen.scale or scale,
        visibility_seconds=180.0,
        accounts=accounts_of(count),
        break_the_ledger=chosen.break_the_ledger,
        **sizes,
    )


def run(plan: Plan, *, keep: bool = False) -> dict[str, Any]:
    """One run on one database; returns the report."""
    home = Path(tempfile.mkdtemp(prefix="mcube-chaos-"))
    folder = home / "chaos"
    folder.mkdir()
    plan.write(folder)
    began = time.monotonic()
    try:
        with database.running(plan.database, home) as stored:
            installation = Installation(home, plan, stored, folder)
            try:
                result = _storm_and_check(installation, folder)
            finally:
                installation.stop()
                if keep:
                    say(f"The run's folder is {home}.")
        return result | {"seconds": time.monotonic() - began}
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)


def _storm_and_check(installation: Installation, folder: Path) -> dict[str, Any]:
    plan = installation.plan
    assert installation.queue is not None
    installation.queue.start()
    installation.start_all()
    storm = Storm(installation, folder)
    say("The installation stands; the storm begins.")
    installation.start("machine", (sys.executable, "-m", "tests.chaos.machine", str(folder / "machine.jsonl")))
    storm.begin()
    times = [("storm", time.monotonic())]
    trouble = _blow(installation, folder, storm, 0, plan.intents)
    storm.calm()
    for number in range(MORE_STORMS):
        times.append(("aftermath", time.monotonic()))
        if not _strike_keepers(installation, folder):
            break
        times.append(("storm", time.monotonic()))
        say("Not every point was hit often enough; the storm rises again.")
        first = plan.intents + number * plan.more
        trouble += _blow(installation, folder, storm, first, first + plan.more)
    times.append(("settling", time.monotonic()))
    say("The storm is over; the questions are to be settled.")
    _wait(lambda: _count(installation, UNFINISHED) == 0, plan.settle_seconds)
    if not _read_every_book(installation):
        trouble.append("Not every book could be read once more at the end.")
    storm.end()
    installation.stop_workers()
    times.append(("", time.monotonic()))
    phases = dict.fromkeys(("storm", "aftermath", "settling"), 0.0)
    for (name, began), (_, ended) in pairwise(times):
        phases[name] += ended - began
    return _judge(installation, folder, storm, trouble) | {"phases": phases}


def _blow(installation: Installation, folder: Path, storm: Storm, first: int, until: int) -> list[str]:
    """Have the wishes from ``first`` on asked for in a storm; returns what kept them from that."""
    plan = installation.plan
    storm.set_faults()
    (folder / WISHES).write_text(json.dumps({"from": first, "until": until}))
    (folder / STORM).touch()
    for broker in BROKERS:
        installation.keep(f"strategy-{broker}", (sys.executable, "-m", "tests.chaos.strategy", broker))
    planned = (until - first) * plan.storm_seconds / plan.intents
    are_done = _wait(lambda: installation.are_done("strategy-"), planned * 4 + PATIENCE_SECONDS)
    # What was asked for last is to meet the storm as well.
    _wait(lambda: _count(installation, "('READY', 'ARMED')") <= plan.intents * 0.05, BACKLOG_SECONDS)
    storm.clear_faults()
    (folder / STORM).unlink()
    return [] if are_done else ["The strategies did not come to an end."]


def _strike_keepers(installation: Installation, folder: Path) -> list[str]:
    """Strike the keepers' points while questions are open; returns what was not hit often enough."""
    (folder / AFTERMATH).touch()

    def missed(*who: Who) -> list[str]:
        names = report.missed(report.points(folder), installation.plan.quota)
        return [name for name in names if BY_NAME[name].who in who]

    _wait(lambda: not missed(Who.KEEPER) or _count(installation, UNFINISHED) == 0, AFTERMATH_SECONDS)
    (folder / AFTERMATH).unlink()
    return missed(*Who)


def _count(installation: Installation, states: str) -> int:
    """Intents in one of ``states``, a list as SQL writes it."""
    counted = installation.database.query(f"SELECT count(*) AS open FROM brokers_orderintent WHERE state IN {states}")
    return int(counted[0]["open"])


def _read_every_book(installation: Installation) -> bool:
    """Whether every account's book had its last word, with the brokers well again; who used up its calls is asked again."""
    [before] = installation.database.query("SELECT coalesce(max(id), 0) AS id FROM brokers_orderbooksnapshot")

    def ask_who_was_not_read() -> bool:
        if any(installation.waiting(broker) for broker in BROKERS):
            return False
        rows = installation.database.query(
            "SELECT DISTINCT a.broker, a.name FROM brokers_orderbooksnapshot s "
            f"JOIN brokers_brokeraccount a ON a.id = s.account_id WHERE s.status = 'OK' AND s.id > {before['id']}"
        )
        read = {(row["broker"], row["name"]) for row in rows}
        missing = [account for account in installation.plan.accounts if (account.broker, account.name) not in read]
        for account in missing:
            installation.do("send", task="tasks.orders.sync_orders", broker=account.broker, account=account.name)
        return not missing

    return _wait(ask_who_was_not_read, CALLS_ARE_BACK_SECONDS, pause=3.0)


def _judge(installation: Installation, folder: Path, storm: Storm, trouble: list[str]) -> dict[str, Any]:
    plan = installation.plan
    counters = {broker: installation.control(face, "GET", "counters") for face, broker in enumerate(BROKERS)}
    (folder / "counters.json").write_text(json.dumps(counters))
    for name in ("truth.jsonl", "requests.jsonl"):
        shutil.copy(installation.home / "simulator" / name, folder / name)
    database.dump(installation.database, folder / "ledger.json")
    counted = report.points(folder)
    return {
        "plan": json.loads((folder / "plan.json").read_text()),
        "versions": report.versions(),
        **checker.summary(checker.Evidence.read(folder)),
        "points": counted,
        "points_missed": report.missed(counted, plan.quota),
        "faults": {broker: dict(sorted(hits.items())) for broker, hits in storm.faults.items()},
        "blows": dict(storm.done),
        "restarts": installation.restarts,
        "notes": storm.notes,
        "trouble": trouble,
    }


def _wait(condition: Callable[[], bool], seconds: float, *, pause: float = 0.5) -> bool:
    """Whether it came true in time. A question that fails while the database is away is asked again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(pause)
    return False


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
