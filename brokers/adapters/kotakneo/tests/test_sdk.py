"""Importing the SDK leaves the process as it was. Each case runs in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]

PROBE = """
import json, logging, os, sys
import structlog

configured = sys.argv[1] == "configured"
if configured:
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()], cache_logger_on_first_use=False)
logging.getLogger("httpx").setLevel(logging.INFO)

def state():
    config = structlog.get_config()
    return {
        "structlog": {name: repr(value) for name, value in config.items()},
        "configured": structlog.is_configured(),
        "context": structlog.contextvars.get_contextvars(),
        "levels": [logging.getLogger(name).level for name in ("", "httpx", "httpcore")],
        "handlers": [len(logging.getLogger(name).handlers) for name in ("", "httpx", "neo_api_client")],
        "cwd": os.listdir("."),
        "log settings": sorted(name for name in os.environ if name.startswith("NEO_LOG")),
    }

before = state()
structlog.contextvars.bind_contextvars(task="t1")
from brokers.adapters.kotakneo import sdk
loaded_by_import = "neo_api_client" in sys.modules
sdk.load()
from brokers.adapters.kotakneo.tests.stub import adapter_at, grant_for
adapter = adapter_at("http://127.0.0.1:1")
adapter.use_session(grant_for("http://127.0.0.1:1"))
try:
    adapter.fetch_margin()
except Exception as error:
    failed = type(error).__name__
context = structlog.contextvars.get_contextvars()
structlog.contextvars.clear_contextvars()
print(json.dumps({
    "before": before, "after": state(), "loaded_by_import": loaded_by_import, "context": context, "failed": failed,
    "caches": [os.environ[name] for name in ("NEO_SCRIP_CACHE_DIR", "NEO_HOLDINGS_CACHE_DIR")],
    "home": os.path.expanduser("~"),
    "redirects": adapter._client.api_client.rest_client.session.follow_redirects,
}))
"""


@pytest.fixture(scope="module", params=["configured", "untouched"])
def probe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    tmp_path = tmp_path_factory.mktemp("empty")
    done = subprocess.run(
        [sys.executable, "-c", PROBE, request.param],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, f"the SDK printed {lines[:-1]}"
    assert done.stderr == ""
    result: dict[str, Any] = json.loads(lines[0])
    return result


def test_the_process_is_left_as_it_was(probe: dict[str, Any]) -> None:
    assert probe["after"] == probe["before"]


def test_the_sdk_is_imported_late(probe: dict[str, Any]) -> None:
    assert probe["loaded_by_import"] is False


def test_a_client_leaves_the_log_context_alone_and_follows_no_redirect(probe: dict[str, Any]) -> None:
    assert probe["failed"] == "BrokerUnavailable"
    assert probe["context"] == {"task": "t1"}
    assert probe["redirects"] is False


def test_private_caches_stay_out_of_the_home_directory(probe: dict[str, Any]) -> None:
    assert all(folder.startswith("/") and not folder.startswith(probe["home"] + "/.") for folder in probe["caches"])
