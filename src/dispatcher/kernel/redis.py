"""Redis as an accelerator: every call is bounded in time, and none of its failures is an error of ours."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from dispatcher.kernel.cancellation import heeded
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.errors import StartupError

T = TypeVar("T")
log = structlog.get_logger()

CALL_SECONDS = 0.25
"""The longest that Redis can hold anything up, once."""
REST_SECONDS = 2.0
"""After a failure Redis is left alone this long, so that a slow one costs one wait in two seconds, not one a call."""
PROBE_KEY_SECONDS = 60
REFUSED_SECONDS = 10.0
"""How long the probe tells of a command that Redis refused: others may well succeed meanwhile."""


class BoundedRedis:
    """A Redis that may be slow, gone or empty at any moment without anyone waiting for it."""

    def __init__(self, url: str, *, password: str | None, db: int, prefix: str = "dispatcher:") -> None:
        """`prefix` begins every key, so that services on other databases can use the same Redis.

        Raises:
            StartupError: The URL cannot be used. Redis itself need not be there.
        """
        self._prefix = prefix
        try:
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
            # not connected: only when one is made are all parts of the URL looked at
            self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis leaves it untyped
        except (ValueError, TypeError, RedisError):  # their texts quote pieces of the URL: maybe a password's
            raise StartupError(
                "APP_REDIS_ADDR: the client cannot use this address; e.g. APP_REDIS_ADDR=localhost:6379"
            ) from None
        self._rest_until = 0.0
        self._failing = False
        self._refused = ""
        self._refused_until = 0.0

    def key(self, name: str) -> str:
        """The whole key of this name."""
        return f"{self._prefix}{name}"

    async def call(self, run: Callable[["Redis"], Awaitable[T]]) -> T | None:
        """What `run` returns, or None when Redis failed, took too long, or is being left alone after a failure."""
        if elapsed() < self._rest_until:
            return None
        try:
            with heeded():
                async with asyncio.timeout(CALL_SECONDS):
                    result = await run(self._redis)
        except ResponseError as error:  # at once, and about one command: no reason to leave Redis alone
            if elapsed() >= self._refused_until:
                log.warning("redis_refused", error=str(error))
            self._refused, self._refused_until = f"refused: {error}", elapsed() + REFUSED_SECONDS
            return None
        except (RedisError, OSError, TimeoutError) as error:
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
        """None when Redis takes a write now and has refused nothing of late; otherwise what is wrong."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                # a full Redis, or a replica, answers PING all the same
                await self._redis.set(self.key("health"), "1", ex=PROBE_KEY_SECONDS)
        except (RedisError, OSError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return self._refused if elapsed() < self._refused_until else None

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
