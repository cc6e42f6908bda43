"""What a log line shows, and what it never shows."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from brokers.domain.redaction import is_secret_name, redact, scrub
from mcube import observability

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0NzExIn0.c2lnbmF0dXJl"
FERNET = "gAAAAABn" + "A1b2C3d4" * 12 + "=="


class Lines:
    """A logger whose redacted lines can be read back."""

    def __init__(self, *, as_json: bool = True, level: str = "INFO") -> None:
        self._stream = io.StringIO()
        self._handler = observability.make_handler(self._stream, as_json=as_json, level=level)
        self.logger = logging.getLogger(f"brokers.test_{id(self)}")
        self.logger.setLevel(logging.DEBUG)
        self.logger.propagate = False
        self.logger.addHandler(self._handler)

    def handle(self, record: logging.LogRecord) -> None:
        self._handler.handle(record)

    def text(self) -> str:
        return self._stream.getvalue()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def close(self) -> None:
        self.logger.removeHandler(self._handler)


@pytest.fixture
def lines() -> Iterator[Lines]:
    made = Lines()
    yield made
    made.close()


@pytest.fixture
def plain_lines() -> Iterator[Lines]:
    made = Lines(as_json=False)
    yield made
    made.close()


@pytest.mark.parametrize(
    "text",
    [
        "connecting to redis://:s3cr-et@127.0.0.1:6390/0",
        "postgres://mcube:s3cr-et@db:5432/mcube is slow",
        "GET /customerdetails?apisession=s3cr-et&x=1",
        "login: {'password': 's3cr-et', 'user': 'x'}",
        'body {"mpin": "s3cr-et"}',
        r"body {\"session_token\": \"s3cr-et\"}",
        "jData=%7B%22mpin%22%3A%22s3cr-et%22%7D",
        "Authorization: Bearer s3cr-et-and-long",
        "headers [('Sid', 's3cr-et'), ('Auth', 's3cr-et')]",
        "headers {b'X-SessionToken': b's3cr-et'}",
        "totp=s3cr-et",
        "API_KEY: s3cr-et",
        "api-key = s3cr-et",
        "neo_password='s3cr-et with a space'",
        "encryption_keys=s3cr-et",
        "Cookie: sessionid=s3cr-et",
    ],
)
def test_a_text_that_carries_a_secret_loses_it(text: str) -> None:
    assert "s3cr-et" not in scrub(text)


@pytest.mark.parametrize("token", [JWT, JWT.rpartition(".")[0], FERNET])
def test_what_looks_like_a_token_is_masked_wherever_it_stands(token: str) -> None:
    assert token not in scrub(f"the reply was {token} and nothing else")


@pytest.mark.parametrize(
    "text",
    [
        "Credentials not found: run `python manage.py setup_credentials --setup-breeze`.",
        "intent 17 order-1 is UNKNOWN on NIFTY26NOV24500CE at 112.5",
        "session_version=3 expires at 20:00 IST",
        "http://127.0.0.1:8101/breezeapi/api/v1/order?exchange=NFO",
        "order 261120000001 filled 75 of 75",
    ],
)
def test_what_a_person_needs_to_read_stays(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize("name", ["password", "neoPassword", "X-SessionToken", "sid", "TOTP_SECRET", "api_key", "pan"])
def test_a_value_with_a_telling_name_is_secret(name: str) -> None:
    assert is_secret_name(name)
    assert redact({name: "whatever"}) == {name: "***"}


@pytest.mark.parametrize("name", ["session_version", "client_order_id", "symbol", "account", "panel", "inside"])
def test_a_value_with_another_name_is_not(name: str) -> None:
    assert not is_secret_name(name)


def test_secrets_deep_in_a_value_are_found() -> None:
    class Holder:
        def __repr__(self) -> str:
            return "Holder(password='s3cr-et')"

    value = {"list": [{"api_secret": "s3cr-et"}, Holder(), ("totp=s3cr-et",)], "bytes": b"token=s3cr-et"}
    assert "s3cr-et" not in json.dumps(redact(value))


def test_a_value_that_contains_itself_or_cannot_be_shown_is_survived() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    loop: dict[str, Any] = {"broken": Broken()}
    loop["again"] = loop
    assert json.dumps(redact(loop))


@pytest.mark.parametrize("hostile", ["a" * 60_000, "token" * 12_000, "x." * 30_000, "://" * 20_000, "eyJ" * 20_000])
def test_a_hostile_text_does_not_cost_more_than_its_length(hostile: str) -> None:
    started = time.process_time()
    scrub(hostile)
    assert time.process_time() - started < 1.0


def test_a_record_is_one_json_line_with_time_level_logger_and_event(lines: Lines) -> None:
    lines.logger.info("order %s placed", "o-1", extra={"account": "default"})
    (record,) = lines.records()
    assert record["event"] == "order o-1 placed"
    assert (record["level"], record["account"]) == ("info", "default")
    assert record["logger"].startswith("brokers.")
    assert record["at"].endswith("Z")


def test_secrets_in_message_arguments_extras_and_names_are_masked(lines: Lines) -> None:
    lines.logger.info("redis %s", "redis://:s3cr-et@h/0", extra={"totp": "s3cr-et", "reply": {"sid": "s3cr-et"}})
    assert "s3cr-et" not in lines.text()
    (record,) = lines.records()
    assert (record["totp"], record["reply"]) == ("***", {"sid": "***"})


def test_a_traceback_is_kept_and_its_secrets_are_not(lines: Lines) -> None:
    try:
        try:
            raise ValueError("bad password=s3cr-et")
        except ValueError as cause:
            raise RuntimeError(f"login failed with {JWT}") from cause
    except RuntimeError:
        lines.logger.exception("could not log in")
    text = lines.text()
    assert "s3cr-et" not in text
    assert JWT not in text
    assert "RuntimeError" in text
    assert "ValueError" in text


def test_a_record_of_structlog_passes_the_same_net(lines: Lines) -> None:
    structlog.stdlib.get_logger(lines.logger.name).info("logged in", password="s3cr-et", url="redis://:s3cr-et@h/0")
    assert "s3cr-et" not in lines.text()
    (record,) = lines.records()
    assert record["password"] == "***"


def test_it_works_again_after_a_library_has_configured_structlog_for_itself() -> None:
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()], cache_logger_on_first_use=True)
    observability.setup_logging()
    lines = Lines()
    structlog.stdlib.get_logger(lines.logger.name).info("again", api_key="s3cr-et")
    (record,) = lines.records()
    assert record["api_key"] == "***"


def test_a_line_break_does_not_start_a_second_record(lines: Lines, plain_lines: Lines) -> None:
    forged = 'name\n{"level": "info", "event": "forged"}\r\n\x1b[31mred\u2028next'
    for made in (lines, plain_lines):
        made.logger.info("symbol %s", forged)
        assert len(made.text().splitlines()) == 1
        assert "\x1b" not in made.text()


def test_a_traceback_read_by_eye_is_marked_line_by_line(plain_lines: Lines) -> None:
    try:
        raise ValueError("first\n2026-11-20T00:00:00Z [info] forged")
    except ValueError:
        plain_lines.logger.exception("failed")
    first, *rest = plain_lines.text().splitlines()
    assert "failed" in first
    assert all(line.startswith("  | ") for line in rest if line)


def test_context_is_on_every_record_inside_and_gone_after(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(intent_id=17, account="default"):
        lines.logger.info("inside")
    lines.logger.info("outside")
    inside, outside = lines.records()
    assert (inside["intent_id"], inside["account"]) == (17, "default")
    assert "intent_id" not in outside


def test_context_of_one_thread_is_not_seen_by_another(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(intent_id=17):
        other = threading.Thread(target=lines.logger.info, args=("elsewhere",))
        other.start()
        other.join()
    assert "intent_id" not in lines.records()[0]


def test_a_record_that_does_not_fit_its_arguments_leaks_none_of_them(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    # Past the logger, since pytest's own handlers raise at such a record.
    lines.handle(lines.logger.makeRecord("brokers", logging.INFO, "f", 1, "one %s", ("s3cr-et", "s3cr-et"), None))
    assert "could not be written" in lines.text()
    assert "s3cr-et" not in lines.text() + capsys.readouterr().err


def test_set_up_twice_there_is_one_handler_and_none_beside_it(tmp_path: Any) -> None:
    library = logging.getLogger("a_library_with_its_own_file")
    library.addHandler(logging.FileHandler(tmp_path / "own.log"))
    library.propagate = False
    observability.setup_logging()
    observability.setup_logging(loglevel="INFO", logfile=None)
    ours = [h for h in logging.getLogger().handlers if isinstance(h, observability.LineHandler)]
    assert len(ours) == 1
    assert not library.handlers
    assert library.propagate


def test_less_than_the_level_is_not_written() -> None:
    quiet = Lines(level="WARNING")
    quiet.logger.info("chatter")
    quiet.logger.warning("matters")
    quiet.close()
    assert [record["event"] for record in quiet.records()] == ["matters"]
