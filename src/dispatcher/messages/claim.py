"""Claim: take the next due messages of a lane under a lease, for as long as the lane runs."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.db import Pool
from dispatcher.kernel.live import Origin
from dispatcher.messages.frontier import Frontier, Search


def _next_due(name: str, nth: int, *before: str) -> str:
    """The claim's search of the nth priority in turn: what is due beyond its frontier, up to what is still wanted."""
    left = " - ".join(["$2", *(f"(SELECT count(*) FROM {earlier})" for earlier in before)])
    return f"""{name} AS MATERIALIZED (
    SELECT ctid AS at FROM messages_pending
    WHERE lane = $1 AND priority = ($7::smallint[])[{nth}] AND deliver_at <= now() + $10::interval
      AND (deliver_at, id) > (($8::timestamptz[])[{nth}], ($9::bigint[])[{nth}])
      AND EXISTS (SELECT FROM gate)
    ORDER BY deliver_at, id
    LIMIT {left}
    FOR UPDATE SKIP LOCKED
)"""


# `gate` takes a shared lock on the lane's schedule: /stop, which updates that row, waits for the claims under way,
# and a claim that had to wait for /stop sees the lane stopped. It is closed to a replica that knows less of the
# live configuration than the row does: that one would send to an older webhook_url.
# `turn` is there because row locks are not a fair queue: a stream of claims could keep /stop waiting for ever.
# Advisory locks are: a claim that comes after a waiting /stop waits behind it.
# The searches stay CTEs: as subqueries the planner may rescan them, and take more rows than LIMIT allows. What one
# leaves of the limit the next may take; a search with nothing left to find reads nothing.
CLAIM = f"""
WITH turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock_shared(hashtext('dispatcher schedule'), hashtext($1))
), gate AS (
    SELECT FROM schedules, turn
    WHERE lane = $1 AND running AND blocked IS NULL
      AND (epoch IS NULL OR (epoch, revision) <= ($5::bigint, $6::bigint))
    FOR SHARE OF schedules
),
{_next_due("first", 1)},
{_next_due("second", 2, "first")},
{_next_due("third", 3, "first", "second")},
taken AS (
    DELETE FROM messages_pending p
    USING (SELECT at FROM first UNION ALL SELECT at FROM second UNION ALL SELECT at FROM third) AS due
    WHERE p.ctid = due.at
    RETURNING p.*
)
INSERT INTO messages_sending (id, lane, recipient_phone, content, state, priority, deliver_at, attempt_count,
                              attempts_before, lease_id, leased_until, last_error, created_at, reserved)
SELECT id, lane, recipient_phone, content, 'sending', priority, deliver_at,
       least(attempt_count, 32766) + 1, -- one odd row must not stop the lane
       attempts_before, $3, now() + $4, last_error, created_at, $11
FROM taken
RETURNING id, recipient_phone, content, attempt_count, attempts_before, priority,
          greatest(deliver_at, 'epoch') AS deliver_at -- what no Python datetime can hold must not end the claim
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """The exclusive, time-bounded right to attempt some messages."""

    lease_id: UUID
    ends: float
    """On the clock of `kernel.clock.elapsed`; never later than the lease in Postgres."""


@dataclass(slots=True)
class ClaimedMessage:
    """A message this process may attempt, until its lease ends."""

    id: int
    recipient: str
    content: str
    attempt: int
    """The number of the attempt this claim is for, from 1."""
    deliver_at: datetime
    lease: Lease
    attempts_before: int = 0
    """How many of them were made before somebody retried it by hand."""
    reserved: bool = False
    """No attempt may begin before `begin` has said so."""

    @property
    def spent(self) -> int:
        """The attempts that count towards `max_attempts`, this one included."""
        return self.attempt - self.attempts_before


async def claim(
    pool: Pool,
    lane: str,
    *,
    limit: int,
    lease_seconds: float,
    origin: Origin | None = None,
    frontier: Frontier | None = None,
    search: Search | None = None,
    ahead_seconds: float = 0.0,
    reserve: bool = False,
) -> list[ClaimedMessage]:
    """At most `limit` due messages: of the priorities in turn, the oldest first; fewer when no more are due.

    None when the lane is stopped, or when its schedule follows a later live configuration than `origin`, the one
    that the caller would send by (None: it has never seen any).

    Args:
        pool: Postgres.
        lane: The lane to claim of.
        limit: How many at most.
        lease_seconds: How long they are ours, at least.
        origin: The live configuration that the caller knows.
        frontier: What earlier claims of the caller have learned; without it the search begins at the beginning.
        search: The frontier's next search, where the caller has begun it.
        ahead_seconds: Claims also what falls due within this time, to be held until then.
        reserve: They are only reserved: `begin` says of each when its attempt begins.
    """
    # measured from before the statement is sent, so that our lease never outlasts the one in Postgres
    began = elapsed()
    lease = Lease(uuid4(), began + lease_seconds)
    frontier = frontier or Frontier()
    search = search or frontier.search(began)
    rows = await pool.fetch(
        CLAIM,
        *claim_arguments(
            lane,
            search,
            limit=limit,
            lease_id=lease.lease_id,
            lease_seconds=lease_seconds,
            origin=origin,
            ahead_seconds=ahead_seconds,
            reserve=reserve,
        ),
    )
    rank = {priority: place for place, priority in enumerate(search.order)}
    rows.sort(key=lambda row: (rank[row["priority"]], row["deliver_at"], row["id"]))
    reached = {row["priority"]: (row["deliver_at"], row["id"]) for row in rows}
    ended = elapsed()
    frontier.searched(search, reached, now=ended, seconds=ended - began)
    return [
        ClaimedMessage(id_, recipient, content, attempt, deliver_at, lease, attempts_before, reserve)
        for id_, recipient, content, attempt, attempts_before, _, deliver_at in rows
    ]


def claim_arguments(
    lane: str,
    search: Search,
    *,
    limit: int,
    lease_id: UUID,
    lease_seconds: float,
    origin: Origin | None = None,
    ahead_seconds: float = 0.0,
    reserve: bool = False,
) -> tuple[object, ...]:
    """The arguments of CLAIM; as for `claim`."""
    known = (origin.epoch, origin.revision) if origin else (-1, -1)
    return (
        lane,
        limit,
        lease_id,
        timedelta(seconds=lease_seconds),
        *known,
        [int(priority) for priority in search.order],
        [at for at, _ in search.beyond],
        [id_ for _, id_ in search.beyond],
        timedelta(seconds=ahead_seconds),
        reserve,
    )
