"""What delivery keeps in Redis: receipts of sent messages, and the schedule's state for others to read.

| key | holds | lifetime |
|---|---|---|
| `dispatcher:receipts:{id // 1000}` | hash, message id → `{"messageId", "sentAt"}` | an hour after its last write |
| `dispatcher:scheduler:{lane}` | JSON, the schedule's state | twice the interval, at least a minute |

A thousand receipts share a hash: one command writes a batch, and Redis stores small hashes compactly.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

import orjson
from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from dispatcher.kernel.redis import BoundedRedis
from dispatcher.messages.rescue import Receipt
from dispatcher.messages.settle import Settlement
from dispatcher.messages.table import State

RECEIPT_SECONDS = 3600
RECEIPTS_PER_HASH = 1000


def _hash_of(message_id: int) -> str:
    return f"dispatcher:receipts:{message_id // RECEIPTS_PER_HASH}"


async def keep(redis: BoundedRedis, results: Iterable[Settlement]) -> None:
    """Remember what was sent, as far as Redis takes it; written before Postgres, in case we die in between."""
    hashes: dict[str, dict[FieldT, EncodableT]] = defaultdict(dict)
    for result in results:
        if result.state is State.SENT:
            receipt = orjson.dumps({"messageId": result.receipt_id, "sentAt": result.sent_at})
            hashes[_hash_of(result.message_id)][str(result.message_id)] = receipt
    if not hashes:
        return

    async def write(connection: "Redis") -> None:
        async with connection.pipeline(transaction=False) as pipeline:
            for key, fields in hashes.items():
                pipeline.hset(key, mapping=fields)
                pipeline.expire(key, RECEIPT_SECONDS)
            await pipeline.execute()

    await redis.call(write)


async def find(redis: BoundedRedis, message_ids: Iterable[int]) -> Mapping[int, Receipt]:
    """The receipts that Redis knows of these messages; empty when it knows none or does not answer."""
    ids = list(message_ids)

    async def read(connection: "Redis") -> list[str | None]:
        async with connection.pipeline(transaction=False) as pipeline:
            for message_id in ids:
                pipeline.hget(_hash_of(message_id), str(message_id))
            return await pipeline.execute()

    found = await redis.call(read) or []
    return {
        message_id: receipt
        for message_id, raw in zip(ids, found, strict=False)
        if raw and (receipt := _parsed(raw)) is not None
    }


def _parsed(raw: str) -> Receipt | None:
    """A receipt as `keep` wrote it; None for anything else that somebody left under its key."""
    try:
        fields = orjson.loads(raw)
        sent_at, receipt_id = datetime.fromisoformat(fields["sentAt"]), fields["messageId"]
        if sent_at.tzinfo is None or not isinstance(receipt_id, str | None):
            return None
        return Receipt(sent_at, receipt_id)
    except (ValueError, KeyError, TypeError):
        return None


async def publish_state(
    redis: BoundedRedis, lane: str, state: Mapping[str, object], *, interval: float
) -> None:
    """Let others read the schedule's state from Redis."""
    value = orjson.dumps(dict(state))
    lifetime = max(60, int(2 * interval))
    await redis.call(lambda connection: connection.set(f"dispatcher:scheduler:{lane}", value, ex=lifetime))
