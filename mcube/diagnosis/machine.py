"""The ground: interpreter, settings, folder, clock, packages, simulators."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.core import checks

from brokers.clock import IST, SimulatedClock, configured_clock
from brokers.discovery import specs
from brokers.domain.enums import Mode
from mcube import probe
from mcube.diagnosis import Finding, fail, ok, warn

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
#: Bytes below which the ledger may soon be unable to write.
LITTLE_SPACE = 1 << 30


def python() -> Iterator[Finding]:
    running = sys.version_info[:2]
    if OLDEST_PYTHON <= running <= NEWEST_PYTHON:
        yield ok("Python", platform.python_version())
    else:
        yield fail("Python", platform.python_version(), "Install Python 3.11, 3.12 or 3.13 and run `make up` again.")


def settings_agree() -> Iterator[Finding]:
    """Django's checks with ours among them; those for a public site only where HTTPS is declared."""
    found = checks.run_checks(include_deployment_checks=settings.ENV.https)
    for message in found:
        if message.is_silenced():
            continue
        say = fail if message.level >= checks.ERROR else warn
        yield say("settings", f"{message.id}: {message.msg}", str(message.hint or "See docs/settings.md."))
    if not any(not message.is_silenced() for message in found):
        yield ok("settings", "agree with each other")


def mode() -> Iterator[Finding]:
    if settings.MODE is not Mode.LIVE:
        yield ok("mode", f"{settings.MODE}: no order reaches a real exchange")
    elif settings.LIVE_TRADING:
        yield warn("mode", "live, and orders are real", "Set MCUBE_LIVE_TRADING=0 if that is not meant.")
    else:
        yield ok("mode", "live for reading; orders are off, since MCUBE_LIVE_TRADING is 0")


def home() -> Iterator[Finding]:
    path: Path = settings.HOME
    if not path.is_dir():
        yield fail("MCUBE_HOME", f"{path} is no folder", "Run `make up`, which makes it, or set MCUBE_HOME to another.")
        return
    if not os.access(path, os.W_OK):
        yield fail("MCUBE_HOME", f"{path} cannot be written", "Give it to the user that runs mcube, or set another.")
        return
    exposed = [file for file in _secret_files(path) if stat.S_IMODE(file.stat().st_mode) & 0o077]
    if exposed:
        names = ", ".join(str(file) for file in exposed)
        yield fail("MCUBE_HOME", f"others on this machine may read {names}", f"Run `chmod go-rwx {names}`.")
    free = shutil.disk_usage(path).free
    if free < LITTLE_SPACE:
        yield warn("MCUBE_HOME", f"{free >> 20} MB are free", "Free some disk space; the ledger must be able to write.")
    if not exposed and free >= LITTLE_SPACE:
        yield ok("MCUBE_HOME", f"{path}, {free >> 30} GB free, keys readable by their owner only")


def clock() -> Iterator[Finding]:
    used = configured_clock()
    shown = f"{used.now().astimezone(IST):%d %b %Y %H:%M:%S} IST"
    if isinstance(used, SimulatedClock):
        yield ok("clock", f"simulated market time {shown}; the wall's is {used.real_now().astimezone(IST):%d %b %H:%M}")
    else:
        yield ok("clock", shown)


def sdks() -> Iterator[Finding]:
    for spec in specs().values():
        missing = sorted(package for package in spec.sdk_packages if importlib.util.find_spec(package) is None)
        if missing:
            yield fail(
                "SDKs",
                f"{spec.verbose_name}: {', '.join(missing)} is not installed",
                f"Run `pip install '.[{spec.extra}]'` in mcube's environment, if you trade with it.",
            )
        else:
            yield ok("SDKs", f"{spec.verbose_name} is installed")


def simulators() -> Iterator[Finding]:
    """Nothing is asked of a real broker: a look at its health would count as a call."""
    if settings.MODE is not Mode.SIMULATED:
        return
    for broker, address in settings.BROKER_URLS.items():
        if probe.url_answers(f"{address}/_sim/health"):
            yield ok("simulators", f"{broker}: {address} answers")
        else:
            yield fail(
                "simulators",
                f"{broker}: {address} does not answer",
                f"Start it with `make up`, or mend MCUBE_{broker.upper()}_URL.",
            )


def _secret_files(home: Path) -> Iterator[Path]:
    keys = home / "keys"
    if keys.is_dir():
        yield keys
        yield from (file for file in sorted(keys.iterdir()) if file.is_file())
