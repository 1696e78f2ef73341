"""Logs: structlog everywhere, ECS field names in production (one JSON object a line), readable in a terminal.

Field names follow the Elastic Common Schema (https://www.elastic.co/docs/reference/ecs).
"""

import logging
import sys
from typing import Literal

import ecs_logging
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogEnv = Literal["local", "dev", "production"]
QUIET = ("alembic", "uvicorn.access", "uvicorn.error", "asyncio", "grpc", "aetcd")


def configure_logging(*, level: str, env: LogEnv, service: str, version: str, replica: str) -> None:
    """Send every log of this process, ours and the libraries', to standard error in one format."""

    def common_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service.name"] = service
        event["service.version"] = version
        event["service.node.name"] = replica
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.StackInfoRenderer(),
    ]
    if env == "production":
        ending: list[Processor] = [
            common_fields,
            structlog.processors.format_exc_info,
            _ecs_names,
            ecs_logging.StructlogFormatter(),
        ]
    else:
        ending = [
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                pad_event_to=28,
                # rich's shows the local variables of every frame: keys, passwords, what people wrote
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _ecs_names(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Move our short names to ECS ones; what has no ECS name goes under `dispatcher.`."""
    named: EventDict = {}
    for key, value in event.items():
        if key in _ECS:
            named[_ECS[key]] = value
        elif key == "duration_ms":
            named["event.duration"] = round(value * 1_000_000)  # ECS counts nanoseconds
        elif "." in key or key in {"event", "exception"}:
            named[key] = value
        else:
            named[f"dispatcher.{key}"] = value
    if "exception" in named:
        named["error.stack_trace"] = named.pop("exception")
    return named


_ECS = {
    "correlation_id": "trace.id",
    "error": "error.message",
    "method": "http.request.method",
    "path": "url.path",
    "status": "http.response.status_code",
    "level": "log.level",
}
