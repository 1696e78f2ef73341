"""The newest sent messages, kept in Redis so that people who watch /sent do not ask Postgres.

| key | holds | lifetime |
|---|---|---|
| `dispatcher:{database}:sent:{lane}` | the newest page, with the version it was read at | 5 s |
| `dispatcher:{database}:sent:{lane}:version` | a counter, raised with every batch of sent messages | a day |

`{database}` is `database_identity`: services on other databases may use the same Redis.

A page is served only while its version is the current one. If raising the version failed (Redis was away), a page
is wrong for at most its lifetime. The list itself is always Postgres's, so a lost Redis leaves no hole in it.
"""

from redis.asyncio import Redis

from dispatcher.kernel.redis import BoundedRedis

PAGE_SECONDS = 5
VERSION_SECONDS = 86_400


class RecentSent:
    """The cached newest page of each lane's sent messages."""

    def __init__(self, redis: BoundedRedis) -> None:
        self._redis = redis

    async def outdated(self, lane: str) -> None:
        """Say that newer messages have been sent; call after they are committed."""

        async def raise_version(connection: "Redis") -> None:
            async with connection.pipeline(transaction=False) as pipeline:
                pipeline.incr(self._version_key(lane))
                pipeline.expire(self._version_key(lane), VERSION_SECONDS)
                await pipeline.execute()

        await self._redis.call(raise_version)

    async def read(self, lane: str) -> tuple[str | None, str | None]:
        """The current version, to pass to `write`, and the page of that version.

        The version is None when Redis does not answer, the page is None when there is none of this version.
        """
        found = await self._redis.call(
            lambda connection: connection.mget(self._version_key(lane), self._page_key(lane))
        )
        if found is None:
            return None, None
        version, page = str(found[0] or "0"), str(found[1] or "")
        head, _, body = page.partition(" ")
        return version, (body if head == version else None)

    async def write(self, lane: str, version: str | None, page: str) -> None:
        """Keep a page that was read from Postgres after `version` was."""
        if version is not None:
            value = f"{version} {page}"
            await self._redis.call(
                lambda connection: connection.set(self._page_key(lane), value, ex=PAGE_SECONDS)
            )

    def _page_key(self, lane: str) -> str:
        return self._redis.key(f"sent:{lane}")

    def _version_key(self, lane: str) -> str:
        return self._redis.key(f"sent:{lane}:version")
