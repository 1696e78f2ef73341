"""What delivery keeps in Redis: receipts of sent messages, and the schedule's state for others to read.

| key | holds | lifetime |
|---|---|---|
| `dispatcher:{database}:receipts:{id // 1000}` | hash, message id → `{"messageId", "sentAt", "leaseId"}` | an hour after its last write |
| `dispatcher:{database}:scheduler:{lane}` | JSON, the schedule's state | twice the interval, at least a minute |

A receipt is evidence for the lease it was earned under and for no other: ids begin anew when a database is made
anew or restored; a stranger's receipt must not count a message as sent. `{database}` is `database_identity`:
services on other databases may use the same Redis.

A thousand receipts share a hash: one command writes a batch, and Redis stores small hashes compactly.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import orjson
from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from dispatcher.kernel.redis import BoundedRedis
from dispatcher.messages.rescue import ExpiredLease, Receipt
from dispatcher.messages.settle import Settlement
from dispatcher.messages.table import State

RECEIPT_SECONDS = 3600
RECEIPTS_PER_HASH = 1000


def _hash_of(redis: BoundedRedis, message_id: int) -> str:
    return redis.key(f"receipts:{message_id // RECEIPTS_PER_HASH}")


async def keep(redis: BoundedRedis, results: Iterable[Settlement]) -> None:
    """Remember what was sent, as far as Redis takes it; written before Postgres, in case we die in between."""
    hashes: dict[str, dict[FieldT, EncodableT]] = defaultdict(dict)
    for result in results:
        if result.state is State.SENT:
            receipt = orjson.dumps(
                {"messageId": result.receipt_id, "sentAt": result.sent_at, "leaseId": result.lease_id}
            )
            hashes[_hash_of(redis, result.message_id)][str(result.message_id)] = receipt
    if not hashes:
        return

    async def write(connection: "Redis") -> None:
        async with connection.pipeline(transaction=False) as pipeline:
            for key, fields in hashes.items():
                pipeline.hset(key, mapping=fields)
                pipeline.expire(key, RECEIPT_SECONDS)
            await pipeline.execute()

    await redis.call(write)


async def find(redis: BoundedRedis, leases: Sequence[ExpiredLease]) -> Mapping[int, Receipt] | None:
    """The receipts that Redis knows of these leases, by message; None when it does not answer."""

    async def read(connection: "Redis") -> list[str | None]:
        async with connection.pipeline(transaction=False) as pipeline:
            for lease in leases:
                pipeline.hget(_hash_of(redis, lease.message_id), str(lease.message_id))
            return await pipeline.execute()

    found = await redis.call(read)
    if found is None:
        return None
    return {
        lease.message_id: receipt
        for lease, raw in zip(leases, found, strict=False)
        if raw and (receipt := _parsed(raw, lease)) is not None
    }


def _parsed(raw: str, lease: ExpiredLease) -> Receipt | None:
    """A receipt of this lease as `keep` wrote it; None for anything else that is left under its key."""
    try:
        fields = orjson.loads(raw)
        sent_at, receipt_id = datetime.fromisoformat(fields["sentAt"]), fields["messageId"]
        if sent_at.tzinfo is None or not isinstance(receipt_id, str | None):
            return None
        return Receipt(sent_at, receipt_id) if fields["leaseId"] == str(lease.lease_id) else None
    except (ValueError, KeyError, TypeError):
        return None


async def publish_state(
    redis: BoundedRedis, lane: str, state: Mapping[str, object], *, interval: float
) -> None:
    """Let others read the schedule's state from Redis."""
    value = orjson.dumps(dict(state))
    key, lifetime = redis.key(f"scheduler:{lane}"), max(60, int(2 * interval))
    await redis.call(lambda connection: connection.set(key, value, ex=lifetime))
