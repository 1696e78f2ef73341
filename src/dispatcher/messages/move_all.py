"""Move all: every message that matches a filter, in small transactions, up to a bound."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import asyncpg

from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import Pool
from dispatcher.messages.matching import PARTS, Filter, Position, Where, matching, searches
from dispatcher.messages.retention import on_its_day
from dispatcher.messages.state import State

BATCH = 1000
"""Messages of one transaction."""
AT_MOST = 100_000
SECONDS = 3.0
"""A call ends after so many messages, or so long, and says that there is more: an answer must not take for ever."""


@dataclass(frozen=True, slots=True)
class Changed:
    """How many were moved, and whether the bound ended it before all were."""

    changed: int
    more: bool


async def move_all(pool: Pool, state: State, wanted: Filter, move: str | Callable[[Where], str]) -> Changed:
    """Move the messages of this status that match, oldest first.

    What another transaction holds is passed over: somebody else is about to move it.

    Args:
        pool: Postgres.
        state: The status they have.
        wanted: Which of them.
        move: The INSERT that puts the rows of `taken` where they belong; or what writes it, and may narrow the search.
    """
    if state is not State.PENDING:
        # what comes to be so from now on is not of this call: a message that is retried may fail again meanwhile
        now = await pool.fetchval("SELECT now()")
        wanted = replace(wanted, until=min(now, wanted.until or now))
    changed, end = 0, elapsed() + SECONDS
    for condition in searches(state, wanted):
        beyond: Position | None = None
        while changed < AT_MOST and elapsed() < end:
            where = matching(state, wanted, beyond=beyond, newest_first=False)
            where.must(condition)
            into = move if isinstance(move, str) else move(where)
            rows = await _move_batch(pool, state, where, into, limit=min(BATCH, AT_MOST - changed))
            if not rows:
                break
            changed += len(rows)
            beyond = max((row["at"], row["id"]) for row in rows)
        else:
            return Changed(changed, more=True)
    return Changed(changed, more=False)


async def _move_batch(
    pool: Pool, state: State, where: Where, move: str, *, limit: int
) -> Sequence[asyncpg.Record]:
    query, arguments = batch_query(state, where, move, limit=limit)
    return await on_its_day(pool, lambda: pool.fetch(query, *arguments))


def batch_query(state: State, where: Where, move: str, *, limit: int) -> tuple[str, list[object]]:
    """The statement that moves a batch, and its arguments."""
    part = PARTS[state]
    # The CTEs are the claim's: as a subquery the planner may rescan the search, and take more rows than LIMIT allows.
    query = f"""
        WITH chosen AS MATERIALIZED (
            SELECT ctid AS place FROM {part.table} WHERE {where}
            ORDER BY {part.time}, id LIMIT {where.value(limit)}
            FOR UPDATE SKIP LOCKED
        ), taken AS (
            DELETE FROM {part.table} m USING chosen WHERE m.ctid = chosen.place RETURNING m.*
        ), moved AS (
            {move}
        )
        SELECT id, {part.time} AS at FROM taken
    """
    return query, where.arguments
