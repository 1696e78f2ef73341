"""Upcoming: whether a lane has anything to claim, at less than the cost of a claim that finds nothing."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import Pool
from dispatcher.messages.frontier import Search


@dataclass(frozen=True, slots=True)
class Upcoming:
    """What a look found."""

    any_due: bool
    now: datetime
    """Postgres's clock, at some moment between the two that follow, of `kernel.clock.elapsed`."""
    began: float
    ended: float


def _due(nth: int) -> str:
    return f"""EXISTS (
    SELECT FROM messages_pending
    WHERE lane = $1 AND priority = ($3::smallint[])[{nth}] AND deliver_at <= now() + $2::interval
      AND (deliver_at, id) > (($4::timestamptz[])[{nth}], ($5::bigint[])[{nth}])
)"""


UPCOMING = f"SELECT {_due(1)} OR {_due(2)} OR {_due(3)} AS any_due, clock_timestamp() AS now"


async def upcoming(pool: Pool, lane: str, search: Search, *, within_seconds: float) -> Upcoming:
    """Whether this search would find anything that is due, or falls due within this time."""
    async with pool.acquire() as connection:  # waiting for one must not count as the clock's error
        began = elapsed()
        row = await connection.fetchrow(
            UPCOMING,
            lane,
            timedelta(seconds=within_seconds),
            [int(priority) for priority in search.order],
            [position[0] for position in search.beyond],
            [position[1] for position in search.beyond],
        )
        ended = elapsed()
    assert row is not None
    return Upcoming(row["any_due"], row["now"], began, ended)
