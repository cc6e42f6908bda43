"""``python -m benchmarks.signing``: what signing a message costs, beside one that is not signed.

The body is an order's doorbell, as `place_order` publishes it. "Publish" is a whole publication into an embedded Valkey,
"take" what a worker does with the body: it is decoded twice, before it is accepted and in the child that runs it.
"""

from __future__ import annotations

import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.stack import free_ports, process, until

MESSAGES = 5000
ROUNDS = 7


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home, port = Path(folder), free_ports(1)
        os.environ |= {"MCUBE_HOME": folder, "MCUBE_REDIS_PORT": str(port), "DJANGO_SETTINGS_MODULE": "mcube.settings"}
        os.environ.pop("MCUBE_REDIS_URL", None)
        import django
        from django.conf import settings

        django.setup()
        from mcube import probe, processes
        from mcube.secrets import SIGNING_KEY_CHARACTERS

        configuration = home / "valkey.conf"
        password = settings.REDIS_URL.split(":")[2].split("@")[0]
        configuration.write_text(processes.valkey_configuration(folder=home, port=port, password=password))
        with process(processes.valkey(configuration=configuration), home / "valkey.log"):
            until(probe.redis_answers, "Valkey's answer")
            keys = {"plain": [], "signed": [secrets.token_urlsafe(SIGNING_KEY_CHARACTERS)]}
            measured: dict[tuple[str, str], list[float]] = {}
            for _ in range(ROUNDS):  # in turns, since the machine is never equally busy
                for name, chosen in keys.items():
                    settings.SIGNING_KEYS = chosen
                    measured.setdefault((name, "take"), []).append(_take(name))
                    measured.setdefault((name, "publish"), []).append(_publish(name))
        for (name, what), figures in sorted(measured.items(), key=lambda item: item[0][1]):
            print(
                f"{what:8} {name:7} {min(figures):7.1f} us at best, {statistics.median(figures):7.1f} us in the middle"
            )


def _serializer(name: str) -> str:
    from mcube import signing

    return signing.SERIALIZER if name == "signed" else "json"


def _take(name: str) -> float:
    from kombu.serialization import dumps, loads

    options = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = ((), {"intent_id": 123456, "broker": "kotakneo"}, options)
    content_type, encoding, text = dumps(body, serializer=_serializer(name))

    def take() -> None:
        for _ in range(2):
            loads(text, content_type, encoding, accept={content_type})

    return _micros(take)


def _publish(name: str) -> float:
    from benchmarks.noop import noop
    from mcube.celery import app

    serializer = _serializer(name)
    with app.producer_pool.acquire(block=True) as producer:

        def publish() -> None:
            noop.apply_async(
                kwargs={"intent_id": 123456, "number": 7}, serializer=serializer, producer=producer, queue="mcube"
            )

        return _micros(publish, MESSAGES // 5)


def _micros(deed: Callable[[], None], times: int = MESSAGES) -> float:
    """CPU microseconds of one deed."""
    began = time.process_time()
    for _ in range(times):
        deed()
    return (time.process_time() - began) / times * 1e6


if __name__ == "__main__":
    main()
