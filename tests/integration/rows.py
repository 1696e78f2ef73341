"""Messages in every state, results for them, and waiting for a condition: what the tests below share."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from dispatcher.delivery.pace import Pace
from dispatcher.kernel.clock import elapsed, pause, unix_time
from dispatcher.kernel.db import Pool
from dispatcher.messages.claim import ClaimedMessage
from dispatcher.messages.settle import Settlement
from dispatcher.messages.state import State

LANE = "webhook"
PACE = Pace(rate_limit=2, interval=timedelta(seconds=120), queue_capacity=3, auto_sending=True, blocked=None)
DEADLINE = 10.0
OUTCOMES = {
    State.SENT: "delivered",
    State.PENDING: "retry",
    State.FAILED: "rejected",
    State.UNCERTAIN: "retry",
}


async def put(pool: Pool, count: int, *, due_in: timedelta = timedelta(0)) -> list[int]:
    """Pending messages; the later ones of a call are due a microsecond later each."""
    rows = await pool.fetch(
        """
        INSERT INTO messages (recipient_phone, content, deliver_at)
        SELECT '+90555', 'message ' || n, now() + $2::interval - interval '1 second' + n * interval '1 microsecond'
        FROM generate_series(1, $1::int) n RETURNING id
        """,
        count,
        due_in,
    )
    return [row["id"] for row in rows]


async def put_sending(pool: Pool, count: int, *, lease: timedelta, attempt: int = 1) -> list[int]:
    """Messages in flight, whose lease ends after this time (in the past when it is negative)."""
    rows = await pool.fetch(
        """
        INSERT INTO messages (recipient_phone, content, state, attempt_count, lease_id, leased_until)
        SELECT '+90555', 'x', 'sending', $2, gen_random_uuid(), now() + $3 FROM generate_series(1, $1::int)
        RETURNING id
        """,
        count,
        attempt,
        lease,
    )
    return [row["id"] for row in rows]


async def states(pool: Pool) -> dict[str, int]:
    """How many messages are in which state."""
    rows = await pool.fetch("SELECT state, count(*) AS n FROM messages GROUP BY state")
    return {row["state"]: row["n"] for row in rows}


def result(message: ClaimedMessage, state: State = State.SENT, **fields: object) -> Settlement:
    """The settlement of an attempt that has just ended."""
    now = unix_time()
    values: dict[str, object] = {
        "message_id": message.id,
        "lease_id": message.lease.lease_id,
        "state": state,
        "number": message.attempt,
        "tick_no": 1,
        "started_at": now - 0.005,
        "duration_ms": 5,
        "outcome": OUTCOMES[state],
        "sent_at": now if state is State.SENT else None,
        "receipt_id": f"r-{message.id}" if state is State.SENT else None,
        "retry_in": timedelta(seconds=60) if state is State.PENDING else None,
        "error": None if state is State.SENT else "503",
    }
    return Settlement(**(values | fields))  # type: ignore[arg-type]  # named one by one above


async def someone_waits_for_a_lock(pool: Pool, *, others: int = 0, seconds: float = 0.0) -> bool:
    """Whether a statement has been waiting for so long, and so many others too."""
    waiting: int = await pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND wait_event_type = 'Lock' AND clock_timestamp() - query_start >= $1",
        timedelta(seconds=seconds),
    )
    return waiting > others


async def nobody_is_at_work(pool: Pool) -> bool:
    """Whether nobody else has a statement or a transaction under way: what began before has ended."""
    return not await pool.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
        "AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle')"
    )


async def until(condition: Callable[[], bool], *, seconds: float = DEADLINE) -> None:
    """Return when it holds; fail at the deadline."""
    end = elapsed() + seconds
    while not condition():
        assert elapsed() < end, "the condition did not come true in time"
        await pause(0.005)


async def until_true(condition: Callable[[], Awaitable[bool]], *, seconds: float = DEADLINE) -> None:
    """The same for a condition that has to be asked for."""
    end = elapsed() + seconds
    while not await condition():
        assert elapsed() < end, "the condition did not come true in time"
        await pause(0.01)


async def until_waiting(pool: Pool, count: int = 1) -> None:
    """Return when so many statements of the pool's database wait for another transaction's lock."""

    async def are_waiting() -> bool:
        found: int = await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return found >= count

    await until_true(are_waiting)
