"""ECS log lines: what `ecs_logging` writes, at a tenth of its cost, which is a third of a small request's.

Field names follow the Elastic Common Schema (https://www.elastic.co/docs/reference/ecs).
"""

from functools import lru_cache
from typing import Any

import ecs_logging
import orjson
from structlog.typing import EventDict, WrappedLogger

from dispatcher.kernel.clock import utc_now

ECS_VERSION = "1.6.0"
_NAMES = {
    "correlation_id": "trace.id",
    "duration_ms": "event.duration",
    "error": "error.message",
    "exception": "error.stack_trace",
    "method": "http.request.method",
    "path": "url.path",
    "status": "http.response.status_code",
    "level": "log.level",
}


class EcsLines:
    """The last structlog processor: an event becomes one line of JSON."""

    def __init__(self, *, service: str, version: str, replica: str) -> None:
        self._service = {"name": service, "version": version, "node": {"name": replica}}
        self._thorough = ecs_logging.StructlogFormatter()

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        """The line."""
        if "duration_ms" in event:
            event["duration_ms"] = round(event["duration_ms"] * 1_000_000)  # ECS counts nanoseconds
        try:
            return orjson.dumps(self._nested(event)).decode()
        except TypeError:  # a value that is no JSON, e.g. half of a surrogate pair
            named = {_name(key): value for key, value in event.items()}
            line: str = self._thorough(logger, method, named | {"service": self._service})
            return line

    def _nested(self, event: EventDict) -> dict[str, Any]:
        line: dict[str, Any] = {
            "@timestamp": f"{utc_now().isoformat(timespec='milliseconds')[:-6]}Z",
            "log.level": event["level"],
            "message": event["event"],
            "ecs.version": ECS_VERSION,
            "service": self._service,
        }
        for key, value in event.items():
            if key == "event" or key == "level":  # noqa: PLR1714 - a set would be built for each key
                continue
            groups, last = _place(key)
            group = line
            for name in groups:
                group = group.setdefault(name, {})
            group[last] = value
        return line


def _name(key: str) -> str:
    """The ECS name of a short one; what has no ECS name goes under `dispatcher.`."""
    if "." in key or key == "event":
        return key
    return _NAMES.get(key) or f"dispatcher.{key}"


@lru_cache(maxsize=1000)
def _place(key: str) -> tuple[tuple[str, ...], str]:
    *groups, last = _name(key).split(".")
    return tuple(groups), last
