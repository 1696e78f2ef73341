"""Postgres's wall clock, told from here between two looks at it: the one clock that all replicas share.

Each look is a sample with an error of half its round trip, as in NTP (RFC 5905, section 8); the best one is kept
until its error has grown, by the drift of two clocks, beyond that of a newer one.
"""

from datetime import UTC, datetime, timedelta

from dispatcher.kernel.clock import elapsed, utc_now
from dispatcher.kernel.db import Pool

DRIFT = 5e-4
"""Seconds that two clocks part in a second at most, as a rule; faster corrections only make newer looks count more."""
READING_ERROR = 1e-4
LOOKS = 5
JUMP_SECONDS = 0.5
"""A difference that no drift explains counts as a jump from here on."""


class DatabaseClock:
    """Keeps running while Postgres does not answer; before the first look it is this machine's own clock."""

    def __init__(self) -> None:
        self._offset = utc_now().timestamp() - elapsed()
        self._error = float("inf")
        self._seen_at = 0.0

    def observe(self, at: datetime, *, began: float, ended: float) -> float:
        """Take in a look: Postgres's clock stood at `at` at some moment between these two of `kernel.clock.elapsed`.

        How many seconds the clock has jumped since the look before, negative when it was set back; mostly 0.0.
        """
        offset = at.timestamp() - (began + ended) / 2
        error = (ended - began) / 2 + READING_ERROR
        expected = self._error + DRIFT * (ended - self._seen_at)
        apart = offset - self._offset
        stepped = abs(apart) > expected + error
        if stepped or error <= expected:
            self._offset, self._error, self._seen_at = offset, error, ended
        return apart if stepped and abs(apart) >= JUMP_SECONDS else 0.0

    async def set(self, pool: Pool) -> None:
        """Look several times: the first of a connection takes long, and would leave the clock far off."""
        async with pool.acquire() as connection:
            for _ in range(LOOKS):
                began = elapsed()
                at = await connection.fetchval("SELECT clock_timestamp()")
                self.observe(at, began=began, ended=elapsed())

    def now(self) -> datetime:
        """Postgres's time at this moment, in UTC."""
        return datetime.fromtimestamp(elapsed() + self._offset, UTC)

    def until(self, moment: datetime) -> float:
        """Seconds until Postgres's clock shows this moment; negative when it has passed."""
        return (moment - self.now()) / timedelta(seconds=1)
