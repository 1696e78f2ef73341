"""Idempotency keys: what was answered to a request, so that its repeats get the same answer and insert nothing.

A key is claimed in the transaction that inserts the messages, by inserting its row: whoever comes second, on whichever
replica, waits for that transaction to end, and then finds the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from dispatcher.kernel.db import Connection, Pool

KEPT = timedelta(hours=24)
MAX_KEY = 255
"""Characters of a key."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What a client sent to have its request done once, however often it is sent."""

    key: str
    fingerprint: bytes
    """Of the whole request: a key with another one is not a repeat."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered over HTTP."""

    status: int
    body: bytes
    location: str | None = None
    replayed: bool = False
    """True for a repeat: the request was done before."""


@dataclass(frozen=True, slots=True)
class Known:
    """A key that was claimed before."""

    fingerprint: bytes
    answer: Answer


async def claim_keys(connection: Connection, keys: Sequence[IdempotencyKey]) -> dict[str, Known]:
    """Claim these keys, all different, within the open transaction. Those that somebody claimed before.

    Waits while another transaction holds one of them.
    """
    # in one order everywhere, so that two who claim the same keys cannot wait for each other
    ordered = sorted(keys, key=lambda key: key.key)
    claimed = await connection.fetch(
        """
        INSERT INTO idempotency_keys (key, fingerprint)
        SELECT key, fingerprint FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS n (key, fingerprint, position)
        ORDER BY position
        ON CONFLICT DO NOTHING
        RETURNING key
        """,
        [key.key for key in ordered],
        [key.fingerprint for key in ordered],
    )
    left = {key.key: key for key in keys}
    for row in claimed:
        del left[row["key"]]
    if not left:
        return {}
    rows = await connection.fetch(
        "SELECT key, fingerprint, status, body, location FROM idempotency_keys WHERE key = ANY($1)",
        list(left),
    )
    for row in rows:
        del left[row["key"]]
    known = {
        row["key"]: Known(
            row["fingerprint"], Answer(row["status"], row["body"], row["location"], replayed=True)
        )
        for row in rows
    }
    # what is left was removed just now, for its age
    return known | (await claim_keys(connection, list(left.values())) if left else {})


async def keep_answers(connection: Connection, answers: Mapping[str, Answer]) -> None:
    """Keep the answers of keys that were claimed in the open transaction."""
    await connection.execute(
        """
        UPDATE idempotency_keys k SET status = n.status, body = n.body, location = n.location
        FROM unnest($1::text[], $2::smallint[], $3::bytea[], $4::text[]) AS n (key, status, body, location)
        WHERE k.key = n.key
        """,
        list(answers),
        [answer.status for answer in answers.values()],
        [answer.body for answer in answers.values()],
        [answer.location for answer in answers.values()],
    )


async def find_answer(pool: Pool, key: str) -> Answer | None:
    """What was answered to the request with this key; None when there was none."""
    row = await pool.fetchrow("SELECT status, body, location FROM idempotency_keys WHERE key = $1", key)
    return None if row is None else Answer(row["status"], row["body"], row["location"], replayed=True)


async def give_up_keys(connection: Connection, keys: Sequence[str]) -> None:
    """Forget keys that were claimed in the open transaction, and for which nothing was done."""
    await connection.execute("DELETE FROM idempotency_keys WHERE key = ANY($1)", keys)


async def forget_idempotency_keys(pool: Pool, limit: int) -> int:
    """Remove at most `limit` keys that are older than a day, oldest first. How many; fewer means that none is left."""
    removed = await pool.fetch(
        """
        DELETE FROM idempotency_keys WHERE key IN (
            SELECT key FROM idempotency_keys WHERE created_at < now() - $2::interval
            ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED
        ) RETURNING 1
        """,
        limit,
        KEPT,
    )
    return len(removed)
