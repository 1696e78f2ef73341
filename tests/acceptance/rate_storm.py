"""A seeded storm over a cluster: kills, restarts, stops, live changes and slow answers, in a random interleaving."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Answer, Arrival, Receiver
from tests.acceptance.replica import NOT_YET, Replica, eventually

from dispatcher.kernel.clock import elapsed, utc_now

INTERVALS = (0.1, 0.15, 0.25, 0.4)
ENOUGH = 150
"""Messages that always wait, so that every tick could send all it may."""
SLOW_SECONDS = 0.6
KEEP_ANCHORS = """
CREATE TABLE anchors AS SELECT lane, anchor_at, anchor_no, version FROM schedules WITH NO DATA;
CREATE FUNCTION keep_anchor() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO anchors VALUES (NEW.lane, NEW.anchor_at, NEW.anchor_no, NEW.version);
    RETURN NULL;
END $$;
CREATE TRIGGER first_anchor AFTER INSERT ON schedules FOR EACH ROW
    WHEN (NEW.lane = 'webhook') EXECUTE FUNCTION keep_anchor();
CREATE TRIGGER next_anchor AFTER UPDATE ON schedules FOR EACH ROW
    WHEN (NEW.lane = 'webhook' AND OLD.anchor_at IS DISTINCT FROM NEW.anchor_at) EXECUTE FUNCTION keep_anchor();
"""
"""Every grid that the schedule ever had."""


@dataclass(slots=True)
class Storm:
    """What it does, and the notes that the checks need."""

    cluster: Cluster
    receiver: Receiver
    rng: random.Random
    arrived_at: list[datetime] = field(default_factory=list)
    """When each arrival came, on the wall clock; in the order of `receiver.arrivals`."""
    stops: list[tuple[datetime, datetime]] = field(default_factory=list)
    """From the answer of a stop to just before the start, on Postgres's clock."""
    calmed_at: datetime | None = None
    """When it was over, on Postgres's clock; ticks from here on may find nothing left to send."""
    done: Counter[str] = field(default_factory=Counter)
    inserted: int = 0
    _slow: bool = False
    _interval: float = INTERVALS[0]

    async def rage(self, *, replicas: int, seconds: float) -> None:
        """Start that many replicas and let it rage over them; then let everything be sent."""
        await self.cluster.pool.execute(KEEP_ANCHORS)
        self.receiver.answer = self._answer
        await self.cluster.configure(
            webhook_url=self.receiver.url,
            webhook_concurrency=4,
            webhook_timeout=2,
            lease_seconds=4,
            max_attempts=100,
            breaker_failures=0,
            scheduler_queue_capacity=4,
            rate_limit=3,
            scheduler_interval=self._interval,
        )
        await self.cluster.start(replicas)
        steps: list[Callable[[], Awaitable[None]]] = [
            *([self._kill] * 3),
            *([self._revive] * 4),
            self._kill_all,
            *([self._terminate] * 2),
            *([self._change_rate] * 3),
            *([self._change_interval] * 2),
            *([self._stop_and_start] * 2),
            *([self._change_speed] * 2),
        ]
        end = elapsed() + seconds
        while elapsed() < end:
            await self._top_up()
            await self.cluster.passes(await self.cluster.now(), after=self.rng.uniform(0.05, 0.8))
            step = self.rng.choice(steps)
            self.done[step.__name__.strip("_")] += 1
            await step()
        await self._calm()

    def _answer(self, _: Arrival) -> Answer:
        self.arrived_at.append(utc_now())
        return Answer(delay=self.rng.uniform(0, SLOW_SECONDS) if self._slow else 0.0)

    async def _top_up(self) -> None:
        missing = ENOUGH - (await self.cluster.states()).get("pending", 0)
        if missing > 0:
            self.inserted += len(await self.cluster.insert(missing))

    def _running(self) -> list[Replica]:
        return [replica for replica in self.cluster.replicas if replica.runs]

    async def _kill(self) -> None:
        if len(self._running()) > 1:
            await self.rng.choice(self._running()).kill()

    async def _kill_all(self) -> None:
        """And one comes back, for which more ticks wait than are made up."""
        running = self._running()
        for replica in running:
            await replica.kill()
        await self.cluster.passes(await self.cluster.now(), after=self.rng.uniform(0.1, 1.0))
        await self.rng.choice(running).start()

    async def _terminate(self) -> None:
        if len(self._running()) > 1:
            await self.rng.choice(self._running()).terminate()

    async def _revive(self) -> None:
        for replica in self.cluster.replicas:
            if not replica.runs:
                await replica.launch()  # and is not waited for: it joins when it can
                return

    async def _change_rate(self) -> None:
        await self.cluster.put("rate_limit", self.rng.randint(1, 8))

    async def _change_interval(self) -> None:
        self._interval = self.rng.choice(INTERVALS)
        await self.cluster.put("scheduler_interval", self._interval)

    async def _change_speed(self) -> None:
        """The receiver turns slow, so that ticks overrun, or quick again."""
        self._slow = not self._slow

    async def _stop_and_start(self) -> None:
        await self._tell("/stop")
        stopped = await self.cluster.now()
        await self.cluster.passes(stopped, after=self.rng.uniform(0.1, 1.0))
        self.stops.append((stopped, await self.cluster.now()))
        await self._tell("/start")

    async def _tell(self, path: str) -> None:
        async def told() -> bool:
            for replica in self._running():
                try:
                    if (await replica.post(path)).status_code == 200:
                        return True
                except NOT_YET:
                    continue
            return False

        await eventually(told, seconds=30, what=f"a replica answers {path}")

    async def _calm(self) -> None:
        """All replicas, a receiver that answers at once, and a rate that gets everything out soon."""
        self.calmed_at = await self.cluster.now()
        self._slow = False
        for _ in self.cluster.replicas:
            await self._revive()
        await self.cluster.configure(rate_limit=100, scheduler_interval=0.1)
        await self.cluster.reaches(sent=self.inserted, seconds=60)
