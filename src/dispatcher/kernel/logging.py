"""Logs: structlog everywhere, ECS field names in production (one JSON object a line), readable in a terminal."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from dispatcher.kernel.ecs import EcsLines
from dispatcher.kernel.log_files import LogFiles
from dispatcher.kernel.log_lines import PlainLines
from dispatcher.kernel.log_terminal import TerminalLines

log = structlog.get_logger()

LogEnv = Literal["local", "dev", "production"]
QUIET = ("alembic", "uvicorn.access", "uvicorn.error", "asyncio", "grpc", "aetcd", "httpx2")
"""Libraries whose warnings alone are logged. The last one names whole addresses, with what is secret in them."""


def configure_logging(
    *, level: str, env: LogEnv, service: str, version: str, replica: str, files: LogFiles | None = None
) -> None:
    """Send every log of this process, ours and the libraries', to standard error in one format, and to the files.

    In production the files get the very same lines, otherwise plain text.
    """
    # None if it was closed when the program started
    terminal = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - it is written to until the end
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
                colors=terminal.isatty(),
                pad_event_to=28,
                # rich's shows the local variables of every frame: keys, passwords, what people wrote
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    two_forms = files is not None and env != "production"
    outputs = _Outputs(terminal, files)
    structlog.configure(
        processors=[*shared, _TwoForms(ending)] if two_forms else [*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=lambda *_: outputs,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [
        _Libraries(
            outputs, _formatter(shared, ending), _formatter(shared, [PlainLines()]) if two_forms else None
        )
    ]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _formatter(shared: Sequence[Processor], ending: Sequence[Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
    )


class _Outputs:
    """What structlog's processors end in: standard error, and the files. `filed` is the files' form, if it is another."""

    def __init__(self, terminal: TextIO, files: LogFiles | None) -> None:
        self._terminal = TerminalLines(terminal)
        self._files = files

    def info(self, line: str, filed: str | None = None) -> None:
        self.write(line, filed, error=False)

    def error(self, line: str, filed: str | None = None) -> None:
        self.write(line, filed, error=True)

    debug = warning = info
    critical = error

    def write(self, line: str, filed: str | None, *, error: bool) -> None:
        if self._files is not None:
            self._files.write(line if filed is None else filed, error=error)
        left_out = self._terminal.write(line)
        if left_out:
            log.warning("standard_error_was_blocked", lines_left_out=left_out)


class _TwoForms:
    """The last processor where a terminal and a file get different forms of an event."""

    def __init__(self, terminal: Sequence[Processor]) -> None:
        self._terminal = terminal
        self._plain = PlainLines()

    def __call__(
        self, logger: WrappedLogger, method: str, event: EventDict
    ) -> tuple[tuple[object, str], EventDict]:
        filed = self._plain(logger, method, event)
        shown: object = event
        for processor in self._terminal:
            assert isinstance(shown, dict)
            shown = processor(logger, method, shown)
        return (shown, filed), {}


class _Libraries(logging.Handler):
    """Logs of libraries, which use the standard library's logging."""

    def __init__(self, outputs: _Outputs, line: logging.Formatter, filed: logging.Formatter | None) -> None:
        super().__init__()
        self._outputs = outputs
        self._line = line
        self._filed = filed

    def emit(self, record: logging.LogRecord) -> None:
        try:
            filed = None if self._filed is None else self._filed.format(record)
            self._outputs.write(self._line.format(record), filed, error=record.levelno >= logging.ERROR)
        except Exception:  # noqa: BLE001 - as every handler of the standard library does: who logs must not fail
            self.handleError(record)
