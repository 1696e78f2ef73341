"""Plans of chat: a page reads its rows and no others, on one partition path, at either end and anywhere between."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from itertools import product
from uuid import uuid4

import pytest
from tests.conftest import administer, database_url
from tests.integration.plans import read, rolled_back

from dispatcher.chat.history import BACKWARD, CHANGES, FORWARD
from dispatcher.chat.ids import MAX_ID, first_id
from dispatcher.chat.inbox import FIRST, INBOX
from dispatcher.chat.mark import MARK
from dispatcher.chat.months import PARENT, Month
from dispatcher.chat.send import REPEATS_KNOWN, SEND
from dispatcher.chat.status import HINDMOST
from dispatcher.embedded.servers import RunningServers
from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.kernel.partitions import make_partition

CONVERSATIONS, EACH, MONTHS = 200, 600, 12
FIRST_MONTH = Month(date(utc_now().year - 1, utc_now().month, 1))
BUSY, PAGE = 7, 51
MODES = ("force_custom_plan", "force_generic_plan")
INDEX = "chat_messages_pkey"


@pytest.fixture(scope="module")
async def full(servers: RunningServers, template: str) -> AsyncIterator[Pool]:
    """Each conversation has as many messages in each of twelve months, among those of all others."""
    name = f"chat_plans_{uuid4().hex[:12]}"
    await administer(servers, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
    async with connected_pool(database_url(servers, name), application="test", size=2) as pool:
        async with pool.acquire() as connection:
            for offset in range(MONTHS - 1):
                month = FIRST_MONTH.plus(offset)
                await make_partition(
                    connection, PARENT, month.name, begins=month.begins, ends=month.plus(1).begins
                )
        await pool.execute(
            "INSERT INTO users (id) SELECT 'u' || n FROM generate_series(0, $1::int) n", CONVERSATIONS
        )
        step = (FIRST_MONTH.plus(MONTHS).begins - FIRST_MONTH.begins) // EACH
        await pool.execute(
            """
            INSERT INTO conversations (kind, low_user, high_user, last_seq, last_id, member_count)
            SELECT 'dm', 'u0', 'u' || n, $2::bigint, $3::bigint + ($2::bigint - 1) * $4::bigint + n, 2 FROM generate_series(1, $1::int) n
            """,
            *(CONVERSATIONS, EACH, FIRST_MONTH.begins, step),
        )
        await pool.execute(
            """
            INSERT INTO members (conversation_id, user_id, joined_seq, joined_id, delivered_seq, read_seq)
            SELECT c.id, who, 0, $1, 0, 0 FROM conversations c, unnest(ARRAY[low_user, high_user]) who
            """,
            FIRST_MONTH.begins,
        )
        await pool.execute(
            """
            INSERT INTO chat_messages (conversation_id, id, seq, sender_id, client_id, content)
            SELECT n, $3::bigint + (seq - 1) * $4::bigint + n, seq, 'u0', 'c' || seq, 'hello there'
            FROM generate_series(1, $2::int) seq, generate_series(1, $1::int) n
            """,
            *(CONVERSATIONS, EACH, FIRST_MONTH.begins, step),
            timeout=60,
        )
        await pool.execute("VACUUM ANALYZE", timeout=120)
        yield pool
    await administer(servers, f"DROP DATABASE {name} WITH (FORCE)")


MIDDLE = first_id(datetime.combine(FIRST_MONTH.plus(6).first, datetime.min.time(), UTC) + timedelta(days=10))
RANGES = {
    "newest": (BACKWARD, FIRST_MONTH.begins, MAX_ID),
    "before the middle": (BACKWARD, FIRST_MONTH.begins, MIDDLE),
    "oldest": (FORWARD, FIRST_MONTH.begins, MAX_ID),
    "after the middle": (FORWARD, MIDDLE, MAX_ID),
    "a month": (BACKWARD, FIRST_MONTH.plus(6).begins, FIRST_MONTH.plus(7).begins),
}


@pytest.mark.parametrize(("where", "mode"), [*product(RANGES, MODES)])
async def test_a_page_of_history_reads_its_rows_on_one_path(full: Pool, where: str, mode: str) -> None:
    query, low, high = RANGES[where]
    async with full.acquire() as connection:
        arguments = [BUSY, low, high, PAGE]
        await read(connection, query, arguments, mode)
        found = await read(connection, query, arguments, mode)
    # a page spans two months at most here: what is read of the others is nothing
    found.must(index=INDEX, rows=PAGE, buffers=PAGE + 20)
    assert not {kind for kind in found.kinds if "Sort" in kind or kind == "Merge Append"}


async def test_the_pages_test_fails_without_its_index(full: Pool) -> None:
    async with full.acquire() as connection, rolled_back(connection):
        await connection.execute("ALTER TABLE chat_messages DROP CONSTRAINT chat_messages_pkey")
        query, low, high = RANGES["newest"]
        found = await read(connection, query, [BUSY, low, high, PAGE], MODES[0])
    with pytest.raises(AssertionError):
        found.must(index=INDEX, rows=PAGE, buffers=PAGE + 20)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("client_id", ["c600", "new"])
async def test_a_send_touches_its_conversation_and_its_month(full: Pool, mode: str, client_id: str) -> None:
    batch = 20
    arguments = [
        list(range(1, batch + 1)),
        ["u0"] * batch,
        [client_id] * batch,
        ["hello"] * batch,
        ["2026-01-01T00:00:00Z"] * batch,
        ["dm"] * batch,
        REPEATS_KNOWN,
        True,
    ]
    async with full.acquire() as connection:
        await read(connection, SEND, arguments, mode)
        found = await read(connection, SEND, arguments, mode)
    assert "Seq Scan" not in found.kinds
    assert "chat_messages_conversation_id_sender_id_client_id_idx" in found.indexes
    assert INDEX not in found.indexes
    assert found.buffers <= 60 * batch


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("places", [1, CONVERSATIONS])
async def test_what_is_written_together_costs_what_it_costs_apart(full: Pool, mode: str, places: int) -> None:
    batch = CONVERSATIONS
    where = [1 + n % places for n in range(batch)]
    who = [f"u{where[n] if n % 2 else 0}" for n in range(batch)]
    sent = [
        where,
        who,
        [f"n{n}" for n in range(batch)],
        ["x"] * batch,
        *[[None] * batch] * 2,
        REPEATS_KNOWN,
        True,
    ]
    async with full.acquire() as connection:
        assert (await read(connection, SEND, sent, mode)).steps <= 50 * batch
        if places == batch:  # nobody is marked twice
            marks = [where, who, [3] * batch, [2] * batch]
            assert (await read(connection, MARK, marks, mode)).steps <= 20 * batch


@pytest.mark.parametrize("mode", MODES)
async def test_what_else_is_asked_reads_what_it_answers(full: Pool, mode: str) -> None:
    for query, arguments, rows in (
        (MARK, [[BUSY], ["u0"], [3], [2]], 6),
        (HINDMOST, [BUSY], 4),
        (CHANGES, [BUSY, 0, 0, 50], 0),
        # the conversations of the user, the members of each, and of a page its last messages and users
        (INBOX, ["u7", *FIRST, None, 50], 6),
    ):
        async with full.acquire() as connection:
            await read(connection, query, arguments, mode)
            found = await read(connection, query, arguments, mode)
        assert "Seq Scan" not in found.kinds, query
        assert found.rows <= rows, (query, found.rows)
        assert found.buffers <= 100, (query, found.buffers)
