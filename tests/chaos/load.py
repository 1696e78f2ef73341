"""The load: SQL inserts that go on through every fault, and a record of what was accepted."""

import asyncio
from collections.abc import Mapping

from tests.acceptance.cluster import Cluster
from tests.acceptance.replica import NOT_YET

from dispatcher.kernel.clock import pause

BATCH = 5
EVERY_SECONDS = 0.1


class Load:
    """Puts messages in until it is stopped. A message counts for the round that it was put in during."""

    def __init__(self, cluster: Cluster) -> None:
        self.round = 0
        self._cluster = cluster
        self._accepted: dict[int, int] = {}
        self._doubtful: dict[str, int] = {}
        self._over = asyncio.Event()

    def stop(self) -> None:
        """Put nothing more in."""
        self._over.set()

    async def run(self) -> None:
        """Insert, a few every tenth of a second, until `stop`."""
        number = 0
        while not self._over.is_set():
            number += 1
            content, now = f"batch {number}", self.round
            try:
                ids = await self._cluster.insert(BATCH, content=content)
                self._accepted.update(dict.fromkeys(ids, now))
            except NOT_YET:  # it may have been committed all the same
                self._doubtful[content] = now
            await pause(EVERY_SECONDS)

    async def accepted(self) -> Mapping[int, int]:
        """Every message whose transaction committed, with its round; also where its inserter never heard so."""
        rows = await self._cluster.pool.fetch(
            "SELECT id, content FROM messages WHERE content = ANY($1)", list(self._doubtful)
        )
        return self._accepted | {row["id"]: self._doubtful[row["content"]] for row in rows}
