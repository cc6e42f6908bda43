"""Logs: one handler for every record of the process, one line a record, no secrets.

Records of the standard library and of structlog pass the same processors, so that a library's own
records are redacted like ours. JSON lines, or text for reading by eye when ``MCUBE_LOG_JSON=0``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import IO, Any

import structlog
from django.conf import settings
from structlog.typing import EventDict, Processor, WrappedLogger

from brokers.domain.redaction import redact, scrub

#: Loggers that write whole requests, addresses with query strings included.
_TALKATIVE = ("httpx", "httpcore", "urllib3", "requests", "websockets", "engineio", "socketio", "asyncio")

#: What of a task's arguments its records carry: identifiers only.
_TASK_IDENTIFIERS = ("intent_id", "account_id", "broker", "account", "client_order_id")


def setup_logging(*_args: object, **_kwargs: object) -> None:
    """Send every record of this process through the one handler.

    May be called any number of times, and is called again after a broker's SDK was imported, since
    one of them reconfigures structlog and both bring handlers of their own. Takes and ignores the
    arguments that Django's ``LOGGING_CONFIG`` and Celery's ``setup_logging`` signal pass.
    """
    level: str = settings.LOGGING["level"]
    as_json: bool = settings.LOGGING["json"]
    _configure_structlog()
    root = logging.getLogger()
    for logger in [root, *_loggers()]:
        own = [handler for handler in logger.handlers if _writes_by_itself(handler)]
        for handler in own:
            logger.removeHandler(handler)
            handler.close()
        if own:
            logger.propagate = True
    root.addHandler(make_handler(sys.__stderr__ or sys.stderr, level=level, as_json=as_json))
    root.setLevel(level)
    logging.getLogger("brokers").setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def make_handler(stream: IO[str], *, level: str = "INFO", as_json: bool = True) -> logging.Handler:
    """The handler that writes redacted lines to ``stream``."""
    render: list[Processor] = [_as_line] if as_json else [_one_line_each, _console()]
    handler = LineHandler(stream)
    # A logger's level is not asked again when a record climbs to the root; the handler's is.
    handler.setLevel(level)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_enriching(), structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact_record,
                *render,
            ],
        )
    )
    return handler


def follow_tasks() -> None:
    """Connect to Celery: our handler instead of its own, and the task's identifiers on every record."""
    from celery import signals

    signals.setup_logging.connect(setup_logging, weak=False, dispatch_uid="mcube.logging")
    signals.task_prerun.connect(_bind_task, weak=False, dispatch_uid="mcube.bind_task")
    signals.task_postrun.connect(_unbind_task, weak=False, dispatch_uid="mcube.unbind_task")


def _bind_task(
    task_id: str = "", task: Any = None, kwargs: MutableMapping[str, Any] | None = None, **_: object
) -> None:
    known = {name: kwargs[name] for name in _TASK_IDENTIFIERS if name in kwargs} if kwargs else {}
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(task_id=task_id, task=getattr(task, "name", ""), **known)


def _unbind_task(**_: object) -> None:
    structlog.contextvars.clear_contextvars()


class LineHandler(logging.StreamHandler[IO[str]]):
    """Writes lines. A record that cannot be rendered is reported without its arguments."""

    def handleError(self, record: logging.LogRecord) -> None:
        problem = sys.exc_info()[0]
        line = f"A log record of {record.name} could not be written: {problem.__name__ if problem else 'unknown'}.\n"
        try:
            self.stream.write(line)
        except (OSError, ValueError):
            return  # the stream itself is gone


def redact_record(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask secrets by their name and in every text, tracebacks included."""
    return {scrub(str(key)): redact(value, name=str(key)) for key, value in event.items()}


def _configure_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_enriching(),
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        # A cached logger would keep the processors of whoever configured structlog before us.
        cache_logger_on_first_use=False,
    )


def _enriching() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]


def _as_line(logger: WrappedLogger, method: str, event: EventDict) -> str | bytes:
    first = {name: event.pop(name) for name in ("at", "level", "logger", "event") if name in event}
    # Escapes every line break and control character.
    return structlog.processors.JSONRenderer(ensure_ascii=True)(logger, method, {**first, **event})


def _console() -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=False, timestamp_key="at", exception_formatter=structlog.dev.plain_traceback
    )


def _one_line_each(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep a record from looking like two: breaks are escaped, a traceback's lines are marked."""
    for name, value in event.items():
        if isinstance(value, str):
            multiline = name in ("exception", "stack")
            event[name] = (
                "\n".join(f"  | {_escaped(line)}" for line in value.split("\n")) if multiline else _escaped(value)
            )
    return event


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _loggers() -> list[logging.Logger]:
    return [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]


def _writes_by_itself(handler: logging.Handler) -> bool:
    """Handlers of the standard library, Django and ours; a test's capturing handler is none of them."""
    family = type(handler).__module__.partition(".")[0]
    return family in ("logging", "django", "mcube") and not isinstance(handler, logging.NullHandler)
