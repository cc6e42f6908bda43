"""``python -m mcube.demo``, which ``manage.py demo`` executes with the demo's own environment."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import django

#: Columns of the tables when the output is no terminal.
WIDTH = 150


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
    django.setup()
    from django.conf import settings
    from django.core.management.base import CommandError
    from rich.console import Console

    from mcube import stack
    from mcube.demo import report
    from mcube.demo.session import Session
    from mcube.supervisor import StartFailed

    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: interrupted.set())
    began = time.monotonic()
    try:
        with stack.running(console, interrupted=interrupted.is_set):
            session = Session(tell=console.out, interrupted=interrupted.is_set)
            session.run()
            report.show(console, session)
    except (stack.CannotStart, StartFailed, CommandError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    held = session.held
    verdict = (
        "[green]Everything held.[/green]"
        if held
        else f"[red]Not everything held; see above, and the logs in {settings.HOME / 'logs'}.[/red]"
    )
    console.print(f"{verdict} {time.monotonic() - began:.0f} s, starting and stopping included.")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
