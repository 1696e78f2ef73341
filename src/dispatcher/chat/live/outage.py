"""Outage: that Postgres does not answer is said in the log once, and not for each socket that is told so."""

import structlog

from dispatcher.kernel.clock import elapsed

log = structlog.get_logger()

QUIET_SECONDS = 10.0
"""After so long without one the next is news again."""


class Outage:
    """Says it."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def say(self, error: BaseException) -> None:
        """A socket was told that Postgres does not answer."""
        if elapsed() >= self._quiet_until:
            log.warning("chat_sockets_without_postgres", error=str(error) or type(error).__name__)
        self._quiet_until = elapsed() + QUIET_SECONDS
