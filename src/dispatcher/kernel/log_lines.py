"""Log lines as plain text, for files: no colours, the time in UTC, and nothing in a value can pass for another event."""

import os

from structlog.processors import format_exc_info
from structlog.typing import EventDict, WrappedLogger

from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.harmless import harmless

_INDENT = "    "


class PlainLines:
    """A structlog processor: an event becomes one line, `time level process event key=value …`.

    A traceback follows it, indented: what begins in the first column is an event.
    """

    def __init__(self) -> None:
        self._process = os.getpid()

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        """The line, or the lines; the event is left as it is."""
        rest = format_exc_info(logger, method, dict(event))
        level, name = rest.pop("level", method), rest.pop("event", "")
        below = [str(rest.pop(key)) for key in ("stack", "exception") if rest.get(key)]
        stamp = f"{utc_now().isoformat(timespec='milliseconds')[:-6]}Z"
        head = f"{stamp} {level:<8} {self._process} {harmless(str(name))}"
        line = " ".join([head, *(f"{harmless(key)}={_value(value)}" for key, value in rest.items())])
        return "\n".join([line, *(_INDENT + harmless(text) for part in below for text in part.splitlines())])


def _value(value: object) -> str:
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(" =\"'"):
        return value
    return harmless(repr(value))
