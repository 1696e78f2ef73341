"""Plans: what each statement reads is bound by what it was asked for, not by how much there is.

On a database with 200,000 pending messages (half of them due next year) and 300,000 sent over ten days. The rows that
an index hands out and the buffers touched are counted by Postgres itself, for the plan made for the arguments at hand
and for the one that a busy connection ends up with.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import product
from uuid import uuid4

import pytest
from tests.conftest import administer, database_url
from tests.integration.plans import Read, read, rolled_back
from tests.integration.rows import LANE, PACE

from dispatcher.delivery import schedule
from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.clock import unix_time
from dispatcher.kernel.columns import column
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.messages.cancel import MOVE
from dispatcher.messages.claim import CLAIM, claim_arguments
from dispatcher.messages.cursor import Cursor
from dispatcher.messages.frontier import HEAD, Frontier
from dispatcher.messages.listing import list_query
from dispatcher.messages.look import ATTEMPTS, LOOK
from dispatcher.messages.matching import Filter, matching
from dispatcher.messages.move_all import batch_query
from dispatcher.messages.rescue import EXPIRED
from dispatcher.messages.settle import SETTLE
from dispatcher.messages.state import Priority, State
from dispatcher.messages.upcoming import UPCOMING

DUE, LATER, SENT, HELD, RECIPIENTS, DAYS = 100_000, 100_000, 300_000, 30_000, 1000, 10
FEW = 10_000
LIMIT = 100
MODES = ("force_custom_plan", "force_generic_plan")
FORGET = "VACUUM messages_sending"
"""What earlier tests wrote and rolled back."""
PAGE_BUFFERS = 2 * LIMIT
"""A page of rows that lie apart: one buffer a row, and the way down of each index."""


@asynccontextmanager
async def database(servers: RunningServers, template: str) -> AsyncIterator[Pool]:
    name = f"plans_{uuid4().hex[:12]}"
    await administer(servers, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
    async with connected_pool(database_url(servers, name), application="test", size=2) as pool:
        await schedule.create(pool, LANE, PACE, None)
        yield pool
    await administer(servers, f"DROP DATABASE {name} WITH (FORCE)")


async def fill(pool: Pool, *, due: int, later: int, sent: int, held: int) -> None:
    pending = """
        INSERT INTO messages_pending (id, recipient_phone, content, priority, deliver_at)
        SELECT nextval(pg_get_serial_sequence('messages', 'id')), '+90' || n % $2, 'hello', n % 3,
               now() + $3::interval + n * interval '1 ms'
        FROM generate_series(1, $1::int) n
    """
    await pool.execute(pending, due, RECIPIENTS, timedelta(hours=-1))
    await pool.execute(pending, later, RECIPIENTS, timedelta(days=365))
    day: datetime = await pool.fetchval("SELECT date_trunc('day', now(), 'UTC')")
    for back in range(DAYS):
        begins = day - timedelta(days=back)
        for parent in ("messages_sent", "attempts"):
            await pool.execute(
                f"CREATE TABLE IF NOT EXISTS {parent}_{begins:%Y%m%d} PARTITION OF {parent} "
                f"FOR VALUES FROM ('{begins}') TO ('{begins + timedelta(days=1)}')"
            )
        await pool.execute(
            f"""
            INSERT INTO messages_sent_{begins:%Y%m%d} (id, recipient_phone, content, state, sent_status, sent_at)
            SELECT nextval(pg_get_serial_sequence('messages', 'id')), '+90' || n % $2, 'hello', 'sent', true,
                   $3::timestamptz + n * interval '1 ms'
            FROM generate_series(1, $1::int) n
            """,
            sent // DAYS,
            RECIPIENTS,
            begins,
        )
    await pool.execute(
        """
        INSERT INTO messages_held (id, recipient_phone, content, state, held_at)
        SELECT nextval(pg_get_serial_sequence('messages', 'id')), '+90' || n % $2, 'hello',
               ('{failed,uncertain,cancelled}'::text[])[n % 3 + 1], now() - n * interval '1 s'
        FROM generate_series(1, $1::int) n
        """,
        held,
        RECIPIENTS,
    )
    await pool.execute("VACUUM ANALYZE", timeout=120)


@pytest.fixture(scope="module")
async def full(servers: RunningServers, template: str) -> AsyncIterator[Pool]:
    async with database(servers, template) as pool:
        await fill(pool, due=DUE, later=LATER, sent=SENT, held=HELD)
        yield pool


@pytest.fixture(scope="module")
async def nearly_empty(servers: RunningServers, template: str) -> AsyncIterator[Pool]:
    async with database(servers, template) as pool:
        await fill(pool, due=FEW, later=0, sent=0, held=0)
        yield pool


def arguments(limit: int) -> tuple[object, ...]:
    return claim_arguments(LANE, Frontier().search(0.0), limit=limit, lease_id=uuid4(), lease_seconds=30)


async def claim_read(pool: Pool, mode: str) -> Read:
    await pool.execute(FORGET)
    async with pool.acquire() as connection:
        # the first one fills the caches of the catalogue
        await read(connection, CLAIM, arguments(LIMIT), mode)
        return await read(connection, CLAIM, arguments(LIMIT), mode)


def judge_claim(found: Read) -> None:
    found.must(index="messages_pending_due", rows=2 * LIMIT, buffers=10 * LIMIT)


@pytest.mark.parametrize("mode", MODES)
async def test_a_claim_costs_the_same_however_much_there_is(
    full: Pool, nearly_empty: Pool, mode: str
) -> None:
    found, least = await claim_read(full, mode), await claim_read(nearly_empty, mode)
    judge_claim(found)
    judge_claim(least)
    assert found.buffers <= 1.3 * least.buffers, (found.buffers, least.buffers)


@pytest.mark.parametrize("mode", MODES)
async def test_a_look_ahead_reads_a_row_of_each_priority(full: Pool, mode: str) -> None:
    nowhere_near = [HEAD[0].isoformat()] * 3, [HEAD[1]] * 3
    async with full.acquire() as connection:
        found = await read(connection, UPCOMING, [LANE, timedelta(seconds=1), [0, 1, 2], *nowhere_near], mode)
        none = await read(
            connection, UPCOMING, ["console", timedelta(seconds=1), [0, 1, 2], *nowhere_near], mode
        )
    found.must(index="messages_pending_due", rows=3, buffers=30)
    none.must(index="messages_pending_due", rows=0, buffers=30)


async def test_the_claims_test_fails_without_its_index(full: Pool) -> None:
    async with full.acquire() as connection, rolled_back(connection):
        await connection.execute("DROP INDEX messages_pending_due")
        found = await read(connection, CLAIM, arguments(LIMIT), MODES[0])
    with pytest.raises(AssertionError):
        judge_claim(found)
    assert found.rows > 100 * LIMIT


@pytest.mark.parametrize("mode", MODES)
async def test_results_are_settled_by_the_ids_they_are_for(full: Pool, mode: str) -> None:
    async with full.acquire() as connection, rolled_back(connection):
        lease = uuid4()
        rows = await connection.fetch(
            """
            INSERT INTO messages_sending (id, recipient_phone, content, state, attempt_count, lease_id, leased_until)
            SELECT nextval(pg_get_serial_sequence('messages', 'id')), 'a', 'b', 'sending', 1, $1, now() + interval '1 h'
            FROM generate_series(1, 10000) RETURNING id
            """,
            lease,
        )
        ids = [row["id"] for row in rows[:LIMIT]]
        now = unix_time()

        def each(value: object) -> str:
            return column([value] * LIMIT)

        arguments = [
            *(column(ids), each(lease), each("sent"), each(now), each("r"), each(None), each(0)),
            *(each(1), each(now), each(5), each("delivered"), each(202), each("ok"), "replica"),
        ]
        found = await read(connection, SETTLE, arguments, mode)
    # a heap, three indexes and an attempt's index for each, with the way down of every one of them
    found.must(index="messages_sending_id", rows=2 * LIMIT, buffers=20 * LIMIT)


@pytest.mark.parametrize("mode", MODES)
async def test_expired_leases_are_found_among_many_that_run(full: Pool, mode: str) -> None:
    await full.execute(FORGET)
    async with full.acquire() as connection, rolled_back(connection):
        await connection.execute(
            """
            INSERT INTO messages_sending (id, recipient_phone, content, state, lease_id, leased_until)
            SELECT nextval(pg_get_serial_sequence('messages', 'id')), 'a', 'b', 'sending', gen_random_uuid(),
                   now() + CASE WHEN n <= 3 THEN -1 ELSE 1 END * interval '30 s'
            FROM generate_series(1, 10000) n
            """
        )
        found = await read(connection, EXPIRED, [500, timedelta(days=1)], mode)
    found.must(index="messages_sending_leased", rows=3, buffers=20)


LISTS = [
    (State.SENT, Filter(LANE), "messages_sent_lane_sent_at_id_idx", SENT),
    (
        State.SENT,
        Filter(LANE, recipient="+907"),
        "messages_sent_lane_recipient_phone_sent_at_id_idx",
        SENT // RECIPIENTS,
    ),
    (State.PENDING, Filter(LANE), "messages_pending_due", DUE + LATER),
    (
        State.PENDING,
        Filter(LANE, recipient="+907"),
        "messages_pending_recipient",
        (DUE + LATER) // RECIPIENTS,
    ),
    (State.FAILED, Filter(LANE), "messages_held_state", HELD // 3),
    (State.CANCELLED, Filter(LANE, recipient="+907"), "messages_held_recipient", HELD // 3 // RECIPIENTS),
]
"""Lists, the index that each reads, and how long it is."""


@pytest.mark.parametrize("listed", LISTS, ids=lambda listed: f"{listed[0]}-{listed[2]}")
@pytest.mark.parametrize(("where", "mode"), [*product(("first", "far", "span"), MODES)])
async def test_a_page_reads_its_rows_and_no_others(
    full: Pool, listed: tuple[State, Filter, str, int], where: str, mode: str
) -> None:
    (state, wanted, index, length), after = listed, None
    async with full.acquire() as connection:
        if where != "first":
            place, arguments = list_query(state, wanted, limit=1, offset=length * 2 // 3, after=None)
            last = await connection.fetchrow(place, *arguments)
            assert last is not None
            if where == "far":
                after = Cursor(last["id"], last["at"], state)
            else:
                apart = timedelta(seconds=5)
                wanted = Filter(wanted.lane, wanted.recipient, last["at"] - apart, last["at"] + apart)
        query, arguments = list_query(state, wanted, limit=LIMIT + 1, offset=0, after=after)
        await read(connection, query, arguments, mode)
        found = await read(connection, query, arguments, mode)
    # of each priority one more, to see which of them comes first
    found.must(index=index, rows=LIMIT + 1 + len(Priority), buffers=PAGE_BUFFERS)
    if index != "messages_pending_due":
        assert not {kind for kind in found.kinds if "Sort" in kind}


@pytest.mark.parametrize("mode", MODES)
async def test_a_message_and_its_attempts_are_found_by_id(full: Pool, mode: str) -> None:
    async with full.acquire() as connection:
        for state in (State.PENDING, State.SENT, State.FAILED):
            id_ = await connection.fetchval(f"SELECT id FROM messages WHERE state = '{state}' LIMIT 1")
            found = await read(connection, LOOK, [id_], mode)
            assert found.rows == 1
            assert "Seq Scan" not in found.kinds
            assert found.buffers <= 5 * (DAYS + 12)
        found = await read(connection, ATTEMPTS, [1, 1000], mode)
        found.must(index="attempts_message_id_number_idx", rows=0, buffers=5 * (DAYS + 9))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("recipient", [None, "+907"])
async def test_a_batch_of_cancels_reads_what_it_moves(full: Pool, mode: str, recipient: str | None) -> None:
    where = matching(State.PENDING, Filter(LANE, recipient), beyond=None, newest_first=False)
    if recipient is None:
        where.must("priority = 1")
    query, arguments = batch_query(State.PENDING, where, MOVE, limit=LIMIT)
    async with full.acquire() as connection:
        await read(connection, query, arguments, mode)
        found = await read(connection, query, arguments, mode)
    index = "messages_pending_due" if recipient is None else "messages_pending_recipient"
    found.must(index=index, rows=2 * LIMIT, buffers=20 * LIMIT)
