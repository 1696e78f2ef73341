"""List: messages of one status, page by page, in the order of an index."""

from collections.abc import Sequence

import asyncpg

from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.messages.cursor import Cursor
from dispatcher.messages.matching import PARTS, Filter, matching, searches
from dispatcher.messages.state import State
from dispatcher.messages.view import COLUMNS

MAX_LIMIT = 1000
MAX_OFFSET = 10_000


async def list_messages(
    pool: Pool, state: State, wanted: Filter, *, limit: int, offset: int = 0, after: Cursor | None = None
) -> tuple[Sequence[asyncpg.Record], Cursor | None]:
    """One page, and the cursor of the next one; None when there is no more.

    `sent` and what is held are listed newest first, by when they became so; `pending` and `sending` soonest due first.
    """
    if after is not None and after.state is not state:
        raise InvalidRequestError("cursor: it belongs to a list of another status")
    query, arguments = list_query(state, wanted, limit=limit + 1, offset=offset, after=after)
    rows = await pool.fetch(query, *arguments)
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], Cursor(last["id"], last["at"], state)


def list_query(
    state: State, wanted: Filter, *, limit: int, offset: int, after: Cursor | None
) -> tuple[str, list[object]]:
    """The statement that reads a page, and its arguments."""
    part = PARTS[state]
    beyond = (after.at, after.id) if after else None
    where = matching(state, wanted, beyond=beyond, newest_first=part.newest_first)
    direction = "DESC" if part.newest_first else "ASC"
    first, skipped = where.value(limit), where.value(offset)

    def search(condition: str, rows: str) -> str:
        return f"""
            SELECT {COLUMNS}, {part.time} AS at FROM {part.table} WHERE {where} AND {condition}
            ORDER BY {part.time} {direction}, id {direction} LIMIT {rows}
        """

    conditions = searches(state, wanted)
    if len(conditions) == 1:
        return f"{search(conditions[0], first)} OFFSET {skipped}", where.arguments
    # each search is in order: the page is what comes first of all of them
    reach = where.value(limit + offset)
    merged = " UNION ALL ".join(f"({search(each, reach)})" for each in conditions)
    return (
        f"SELECT * FROM ({merged}) merged ORDER BY at {direction}, id {direction} LIMIT {first} OFFSET {skipped}",
        where.arguments,
    )
