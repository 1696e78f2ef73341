"""Redis as an accelerator: every call is bounded in time, and none of its failures is an error of ours."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from dispatcher.kernel.clock import elapsed

T = TypeVar("T")
log = structlog.get_logger()

CALL_SECONDS = 0.25
"""The longest that Redis can hold anything up, once."""
REST_SECONDS = 2.0
"""After a failure Redis is left alone this long, so that a slow one costs one wait in two seconds, not one a call."""


class BoundedRedis:
    """A Redis that may be slow, gone or empty at any moment without anyone waiting for it."""

    def __init__(self, url: str, *, password: str | None, db: int) -> None:
        self._redis = Redis.from_url(
            url,
            password=password,
            db=db,
            socket_timeout=CALL_SECONDS,
            socket_connect_timeout=CALL_SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            encoding_errors="replace",  # garbage under one key must not hide what is under the others
        )
        self._rest_until = 0.0
        self._failing = False

    async def call(self, run: Callable[["Redis"], Awaitable[T]]) -> T | None:
        """What `run` returns, or None when Redis failed, took too long, or is being left alone after a failure."""
        if elapsed() < self._rest_until:
            return None
        try:
            async with asyncio.timeout(CALL_SECONDS):
                result = await run(self._redis)
        except (RedisError, OSError, TimeoutError) as error:
            # text that is none: somebody else wrote under our keys, and that must not fail a request either
            self._rest_until = elapsed() + REST_SECONDS
            if not self._failing:
                log.warning("redis_unavailable", error=f"{type(error).__name__}: {error}")
            self._failing = True
            return None
        if self._failing:
            log.info("redis_back")
        self._failing = False
        return result

    async def probe(self) -> str | None:
        """None when Redis answers now; otherwise what is wrong."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._redis.ping()
        except (RedisError, OSError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return None

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
