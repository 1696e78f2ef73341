"""What delivery keeps in Redis: receipts of sent messages, and the schedule's state for others to read.

| key | holds | lifetime |
|---|---|---|
| `dispatcher:{database}:receipts:{lease}` | list of batches, each JSON: `[message id, "messageId", sent at]` for each that was sent, in seconds since 1970 | an hour after its last write |
| `dispatcher:{database}:scheduler:{lane}` | JSON, the schedule's state | twice the interval, at least a minute |

A receipt is evidence for the lease it was earned under and for no other: ids begin anew when a database is made
anew or restored; a stranger's receipt must not count a message as sent. `{database}` is `database_identity`:
services on other databases may use the same Redis.

The messages of one claim share a lease, and so a key: a batch of receipts is written as one value, which costs a
tenth of a field each. They are read only when a lease has run out.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import orjson
from redis.asyncio import Redis

from dispatcher.kernel.redis import BoundedRedis
from dispatcher.messages.rescue import ExpiredLease, Receipt
from dispatcher.messages.settle import Settlement
from dispatcher.messages.state import State

RECEIPT_SECONDS = 3600


def _key(redis: BoundedRedis, lease_id: UUID) -> str:
    return redis.key(f"receipts:{lease_id}")


async def keep(redis: BoundedRedis, results: Iterable[Settlement]) -> None:
    """Remember what was sent, as far as Redis takes it; written before Postgres, in case we die in between."""
    batches: dict[UUID, list[tuple[int, str | None, float | None]]] = defaultdict(list)
    for result in results:
        if result.state is State.SENT:
            batches[result.lease_id].append((result.message_id, result.receipt_id, result.sent_at))
    if not batches:
        return

    async def write(connection: "Redis") -> None:
        async with connection.pipeline(transaction=False) as pipeline:
            for lease_id, batch in batches.items():
                key = _key(redis, lease_id)
                pipeline.rpush(key, orjson.dumps(batch))
                pipeline.expire(key, RECEIPT_SECONDS)
            await pipeline.execute()

    await redis.call(write)


async def find(redis: BoundedRedis, leases: Sequence[ExpiredLease]) -> Mapping[int, Receipt] | None:
    """The receipts that Redis knows of these leases, by message; None when it does not answer."""
    asked = list({lease.lease_id for lease in leases})

    async def read(connection: "Redis") -> list[list[str]]:
        async with connection.pipeline(transaction=False) as pipeline:
            for lease_id in asked:
                pipeline.lrange(_key(redis, lease_id), 0, -1)
            return await pipeline.execute(raise_on_error=False)

    found = await redis.call(read)
    if found is None:
        return None
    earned = {
        (lease_id, message_id): receipt
        for lease_id, batches in zip(asked, found, strict=False)
        for message_id, receipt in _receipts(batches)
    }
    return {
        lease.message_id: receipt
        for lease in leases
        if (receipt := earned.get((lease.lease_id, lease.message_id))) is not None
    }


def _receipts(batches: object) -> Iterator[tuple[int, Receipt]]:
    """The receipts of one lease as `keep` wrote them; anything else that is left under its key is passed over."""
    for batch in batches if isinstance(batches, list) else ():
        try:
            entries = orjson.loads(batch)
        except orjson.JSONDecodeError:
            continue
        for entry in entries if isinstance(entries, list) else ():
            match entry:
                case [int(message_id), str() | None as receipt_id, float(seconds)]:
                    with suppress(ValueError, OverflowError, OSError):
                        yield message_id, Receipt(datetime.fromtimestamp(seconds, UTC), receipt_id)


async def publish_state(
    redis: BoundedRedis, lane: str, state: Mapping[str, object], *, interval: float
) -> None:
    """Let others read the schedule's state from Redis."""
    value = orjson.dumps(dict(state))
    key, lifetime = redis.key(f"scheduler:{lane}"), max(60, int(2 * interval))
    await redis.call(lambda connection: connection.set(key, value, ex=lifetime))
