"""The page of /sent that Redis keeps: what somebody else wrote under its key is neither served nor believed."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx2
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis
from tests.integration.rows import LANE, put

from dispatcher.kernel.db import Pool
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.kernel.web import handle_errors
from dispatcher.messages.cursor import Cursor
from dispatcher.messages.recent import RecentSent
from dispatcher.messages.routes import message_routes
from dispatcher.messages.state import State

KEY = f"dispatcher:sent:{LANE}"


@pytest.fixture
async def api(pool: Pool, redis_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """GET /sent over one sent message."""
    await put(pool, 1)
    await pool.execute("UPDATE messages SET state = 'sent', sent_status = true, sent_at = now()")
    redis = BoundedRedis(redis_url, password=None, db=0)
    app = FastAPI()
    handle_errors(app)
    app.include_router(message_routes(pool, RecentSent(redis)))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
        yield client
    await redis.close()


@pytest.mark.parametrize(
    "page",
    [
        *("", "hello", "\nhello", "notacursor\n[]", "\n", "\n{}", "\n[1]", "\n[{]", "\nnull", "WzFd[]", "[" * 10_000),
        *("A" * 201 + "\n[]", "W1tbW1tbW1s" * 5_000 + "\n[]", "\n[" + "[" * 100_000, "\n" + '"[]"'),
    ],
    ids=lambda page: repr(page[:20]),
)  # fmt: skip
async def test_a_page_that_is_none_is_read_anew_and_replaced(
    api: httpx2.AsyncClient, redis_url: str, page: str
) -> None:
    async with Redis.from_url(redis_url, decode_responses=True) as connection:
        await connection.set(KEY, f"0 {page}")
        answer = await api.get("/sent")
        assert answer.status_code == 200
        assert [row["content"] for row in answer.json()] == ["message 1"]
        assert "link" not in answer.headers
        assert (await connection.get(KEY)) == f"0 \n{answer.text}"


async def test_a_kept_page_is_served_as_it_is(api: httpx2.AsyncClient, redis_url: str) -> None:
    async with Redis.from_url(redis_url, decode_responses=True) as connection:
        following = Cursor(1, datetime(2026, 1, 1, tzinfo=UTC), State.SENT)
        await connection.set(KEY, f'0 {following}\n[{{"kept": true}}]')
        answer = await api.get("/sent")
        assert answer.json() == [{"kept": True}]
        assert answer.links["next"]["url"] == f"/sent?cursor={following}"
