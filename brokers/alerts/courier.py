"""Carries messages to addresses, each in a process of its own that is ended when its time is up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from django.views.decorators.debug import sensitive_variables

T = TypeVar("T")

#: Seconds on the network for everything that goes to one channel at one time.
PATIENCE = 15
#: Seconds for the sending process to be ready and to end; a busy machine takes its time.
START_PATIENCE = 20
#: Channels that are served at the same time.
SIDE_BY_SIDE = 4
#: What the sending process gets of the environment: how to reach the network, and nothing of mcube's.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_CHECKOUT = Path(__file__).resolve().parents[2]

NO_ANSWER = "It did not answer in time."
ENDED_EARLY = "The sending process ended early; `python manage.py doctor` looks at the installation."


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    title: str
    body: str
    #: Apprise's word: info, warning or failure.
    level: str = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """Messages for one address."""

    address: str = field(repr=False)
    messages: Sequence[Message]


def carry_all(errands: Sequence[tuple[T, Errand]], *, patience: int = PATIENCE) -> Iterator[tuple[T, list[str | None]]]:
    """Run errands side by side; yield each one's results as :func:`carry` gives them, the fastest first."""
    with ThreadPoolExecutor(min(len(errands), SIDE_BY_SIDE) or 1) as pool:
        running = {pool.submit(carry, errand, patience=patience): whose for whose, errand in errands}
        for done in as_completed(running):
            yield running[done], done.result()


@sensitive_variables()
def carry(errand: Errand, *, patience: int = PATIENCE) -> list[str | None]:
    """Send the messages; a result for each: empty when it went, a sentence when not, None when it was not tried.

    No result holds any part of the address. Without messages the address alone is looked at.
    """
    task = {
        "address": errand.address,
        "seconds": patience,
        "messages": [{"title": m.title, "body": m.body, "level": m.level} for m in errand.messages],
    }
    try:
        ended = subprocess.run(
            (sys.executable, "-m", "brokers.notifier"),
            input=json.dumps(task).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=patience + START_PATIENCE,
            cwd=_CHECKOUT,
            env=_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return _results(late.stdout or b"", len(errand.messages), NO_ANSWER)
    is_late = ended.returncode == -signal.SIGALRM
    return _results(ended.stdout, len(errand.messages), NO_ANSWER if is_late else ENDED_EARLY)


def problem_of(address: str) -> str:
    """What is wrong with an address as far as can be said without sending anything; empty when nothing is."""
    results = carry(Errand(address=address, messages=()))
    return results[0] or "" if results else ""


def _results(said: bytes, expected: int, otherwise: str) -> list[str | None]:
    """One result a message; the first that nobody reported is the one it ended at, the rest were not tried."""
    # A line that was cut off is none.
    results: list[str | None] = [json.loads(line) for line in said.split(b"\n")[:-1]]
    missing = expected - len(results)
    return [*results, otherwise, *([None] * (missing - 1))] if missing > 0 else results


def _environment() -> dict[str, str]:
    wanted = {*_PASSED_ON, *_PROXIES, *(name.upper() for name in _PROXIES)}
    return {name: value for name, value in os.environ.items() if name in wanted}
