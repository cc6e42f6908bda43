"""A program of its own that sends messages to one address: ``python -m brokers.notifier``.

Apprise and its hundred services stay out of the workers, and whatever hangs is ended with the process.
Reads one JSON object (``address``, ``seconds`` that sending may take, ``messages`` of ``title``, ``body``, ``level``)
and writes a line for each message: empty when it went, a sentence otherwise. No sentence holds any part of the address.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from typing import Any

UNKNOWN_ADDRESS = "The address is none that Apprise knows; give it anew."

# The words of a service may repeat its address, so only what is recognised in them is told.
_STATUS = re.compile(r"error=(\d{3})\b")
_UNREACHABLE = re.compile(r"connection error|connect", re.IGNORECASE)


def main() -> None:
    task = json.load(sys.stdin)
    # Imported late: who only wants the sentences of this module pays nothing for it.
    import apprise

    sender = apprise.Apprise(asset=apprise.AppriseAsset(storage_mode="memory", app_id="mcube", app_desc="mcube"))
    if not sender.add(task["address"]):
        for _ in task["messages"] or [None]:
            _report(UNKNOWN_ADDRESS)
        return
    for service in sender:
        service.request_rate_per_sec = 0  # how many go at once is limited by who calls this
    # The default for this signal ends the process, whatever hangs.
    signal.alarm(task["seconds"])
    for message in task["messages"]:
        _report(_send(apprise, sender, message))


def _send(apprise: Any, sender: Any, message: dict[str, str]) -> str:
    with apprise.LogCapture(level=apprise.logging.WARNING) as told:
        went = sender.notify(
            title=message["title"], body=message["body"], notify_type=message["level"], body_format="text"
        )
        words = told.getvalue()
    return "" if went else explain(words)


def explain(words: str) -> str:
    """What went wrong, as far as it can be said without repeating a word of ``words``."""
    if status := _STATUS.search(words):
        return f"It refused the message with HTTP {status[1]}."
    if _UNREACHABLE.search(words):
        return "It could not be reached, or did not answer in time."
    return "It did not take the message; the address may be wrong."


def _report(problem: str) -> None:
    sys.stdout.write(json.dumps(problem) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
