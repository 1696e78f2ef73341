"""Logs: structlog everywhere, ECS field names in production (one JSON object a line), readable in a terminal."""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import Processor

from dispatcher.kernel.ecs import EcsLines

LogEnv = Literal["local", "dev", "production"]
QUIET = ("alembic", "uvicorn.access", "uvicorn.error", "asyncio", "grpc", "aetcd")


def configure_logging(*, level: str, env: LogEnv, service: str, version: str, replica: str) -> None:
    """Send every log of this process, ours and the libraries', to standard error in one format."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.StackInfoRenderer(),
    ]
    if env == "production":
        ending: list[Processor] = [
            structlog.processors.format_exc_info,
            EcsLines(service=service, version=version, replica=replica),
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
