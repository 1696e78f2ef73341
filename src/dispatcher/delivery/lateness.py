"""Lateness: when a lane falls behind its times and when it has caught up, said once each."""

from datetime import datetime, timedelta

import structlog

from dispatcher.channels.contract import LATE

log = structlog.get_logger()


class Lateness:
    """Of one lane, as one replica sends it."""

    def __init__(self, lane: str) -> None:
        self._lane = lane
        self._late = 0
        self._most = timedelta(0)

    def printed(self, due: datetime, at: float) -> None:
        """A message that was due then went out at this time, in seconds since 1970."""
        late = timedelta(seconds=at - due.timestamp())
        if late >= LATE:
            if not self._late:
                log.warning("lane_is_late", lane=self._lane, seconds=round(late.total_seconds(), 3))
            self._late += 1
            self._most = max(self._most, late)
        elif self._late:
            log.info(
                "lane_on_time",
                lane=self._lane,
                late_messages=self._late,
                most_seconds=round(self._most.total_seconds(), 3),
            )
            self._late, self._most = 0, timedelta(0)
