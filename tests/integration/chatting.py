"""Two replicas' API of chat in one process, on one database, with tokens and the operator's key."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2
import jwt
from fastapi import FastAPI

from dispatcher.app import Addresses, running
from dispatcher.chat.happened import Happening
from dispatcher.chat.open_dm import Pairs
from dispatcher.chat.send import NewChatMessage, Sender, SendResult
from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.db import Pool
from dispatcher.kernel.lifecycle import background
from dispatcher.settings import Settings

SECRET = "a secret of the tests, of more than 32 bytes"
KEY = "the-operators-key-of-the-tests"
OPERATOR = {"X-API-Key": KEY}


def token(user_id: object, *, secret: str = SECRET, seconds: float = 3600, **claims: object) -> str:
    return jwt.encode(
        {"sub": user_id, "exp": utc_now() + timedelta(seconds=seconds), **claims}, secret, "HS256"
    )


def of(user_id: str) -> dict[str, str]:
    """The headers of this user's requests."""
    return {"Authorization": f"Bearer {token(user_id)}"}


@dataclass(slots=True)
class Talk:
    """A replica's chat without HTTP, and what it has told."""

    pool: Pool
    sender: Sender
    pairs: Pairs
    told: list[Happening]

    async def say(
        self, conversation_id: int, sender_id: str, content: str = "hello", **more: Any
    ) -> SendResult:
        return await self.sender.send(NewChatMessage(conversation_id, sender_id, content, **more))


@asynccontextmanager
async def talking(pool: Pool, *user_ids: str) -> AsyncIterator[Talk]:
    """A replica's chat, with these users."""
    told: list[Happening] = []
    await pool.execute("INSERT INTO users (id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", user_ids)
    sender = Sender(pool, told.append)
    async with background("chat sender", sender.run):
        yield Talk(pool, sender, Pairs(pool, told.append), told)


@dataclass(slots=True)
class Replica:
    """A whole service, in this process."""

    app: FastAPI
    client: httpx2.AsyncClient

    async def ask(self, method: str, path: str, user_id: str, **options: Any) -> httpx2.Response:
        return await self.client.request(method, path, headers=of(user_id), **options)

    async def ok(self, method: str, path: str, user_id: str, **options: Any) -> Any:
        answer = await self.ask(method, path, user_id, **options)
        assert answer.is_success, (answer.status_code, answer.text)
        return answer.json() if answer.content else None


@asynccontextmanager
async def running_replicas(
    count: int, *, db_url: str, redis_url: str, etcd: tuple[str, ...], **environ: object
) -> AsyncIterator[list[Replica]]:
    """So many services on the same servers."""
    values: dict[str, object] = {"APP_API_KEY": KEY, "APP_TOKEN_SECRET": SECRET, **environ}
    settings = Settings.model_validate({name: value for name, value in values.items() if value is not None})
    async with AsyncExitStack() as stack:
        replicas = []
        for _ in range(count):
            addresses = Addresses(db_url, redis_url, etcd)
            application = await stack.enter_async_context(
                running(settings, addresses, live_file={}, console_fd=None)
            )
            client = await stack.enter_async_context(
                httpx2.AsyncClient(
                    transport=httpx2.ASGITransport(application.api), base_url="http://localhost"
                )
            )
            replicas.append(Replica(application.api, client))
        yield replicas
