"""Replicas that act on what they saw some time ago: Postgres lets each tick be claimed once, and no stop be undone."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from dispatcher.delivery import pace, schedule
from dispatcher.delivery.pace import Pace, Tick
from dispatcher.delivery.schedule import Look
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.kernel.live import Origin

LANE = "webhook"
FIRST = Pace(2, timedelta(seconds=120), 3, auto_sending=True, blocked=None)
WHO = st.integers(0, 2)


class TickMachine(RuleBasedStateMachine):
    """Three replicas on one row, by Postgres's clock and as much later as the test says."""

    def __init__(self, runner: asyncio.Runner, pool: Pool) -> None:
        super().__init__()
        self._runner = runner
        self.pool = pool
        self.later = timedelta(0)
        self.revision = 1
        self.looks: list[Look | None] = [None] * 3
        self.claimed: list[tuple[Tick, str]] = []
        self.now = self._runner.run(self._begin())

    async def _begin(self) -> Look:
        await self.pool.execute("DELETE FROM schedules")
        await self.pool.execute("DELETE FROM ticks")
        await schedule.create(self.pool, LANE, FIRST, Origin(1, self.revision))
        return await self._look()

    async def _look(self) -> Look:
        seen = await schedule.look(self.pool, LANE)
        return Look(seen.schedule, seen.now + self.later)

    @rule(intervals=st.sampled_from([0.25, 1, 1, 2.5, 7]))
    def time_passes(self, intervals: float) -> None:
        self.later += self.now.schedule.pace.interval * intervals

    @rule(who=WHO)
    def look(self, who: int) -> None:
        self.looks[who] = self._runner.run(self._look())

    @rule(who=WHO)
    def restart(self, who: int) -> None:
        self.looks[who] = None

    @rule(who=WHO)
    def claim(self, who: int) -> None:
        """By what it saw last, however much has changed since."""
        seen = self.looks[who]
        if seen is None:
            return
        due = pace.claim_tick(seen.schedule, seen.now)
        news = seen.schedule.version != self.now.schedule.version
        tick = self._runner.run(schedule.claim_tick(self.pool, seen, replica=str(who)))
        assert tick == (None if news or due is None else due[1]), "only by what is still true"
        if tick is not None:
            self.claimed.append((tick, str(who)))

    @rule(who=WHO)
    def look_and_claim(self, who: int) -> None:
        self.look(who)
        self.claim(who)

    @rule()
    def stop(self) -> None:
        self._runner.run(schedule.change(self.pool, LANE, lambda row, _: pace.stop(row)))

    @rule()
    def start(self) -> None:
        later = self.later
        self._runner.run(schedule.change(self.pool, LANE, lambda row, now: pace.start(row, now + later)))

    @rule(rate=st.integers(1, 9), seconds=st.sampled_from([60, 120, 300]))
    def retune(self, rate: int, seconds: int) -> None:
        self.revision += 1
        wanted = replace(FIRST, rate_limit=rate, interval=timedelta(seconds=seconds))
        told, later = Origin(1, self.revision), self.later
        self._runner.run(
            schedule.change(self.pool, LANE, lambda row, now: pace.retune(row, wanted, told, now + later))
        )

    @invariant()
    def the_history_is_what_was_claimed(self) -> None:
        before = self.now.schedule
        self.now = self._runner.run(self._look())
        after = self.now.schedule
        rows = self._runner.run(self.pool.fetch("SELECT * FROM ticks ORDER BY no"))
        assert [(row["no"], row["due_at"], row["rate_limit"], row["replica"]) for row in rows] == [
            (tick.no, tick.due_at, tick.rate_limit, who) for tick, who in self.claimed
        ]
        assert after.next_no == len(self.claimed) + sum(tick.dropped for tick, _ in self.claimed)
        assert after.dropped_ticks == sum(tick.dropped for tick, _ in self.claimed)
        assert after.version >= before.version
        if after.version == before.version:
            assert after == before
        if after.next_no > before.next_no:
            tick, _ = self.claimed[-1]
            assert before.active, "no tick of a lane that was stopped"
            assert tick.rate_limit == before.pace.rate_limit
            assert before.last_at is None or tick.due_at >= before.last_at + before.pace.interval


def test_whatever_replicas_saw_each_tick_is_claimed_once_and_by_the_schedule_in_force(db_url: str) -> None:
    class Here(TickMachine):
        def __init__(self) -> None:
            super().__init__(runner, pool)

    with asyncio.Runner() as runner:
        opened = connected_pool(db_url, application="ticks", size=2)
        pool = runner.run(opened.__aenter__())
        try:
            run_state_machine_as_test(
                Here,
                settings=settings(
                    max_examples=25,
                    stateful_step_count=30,
                    derandomize=True,
                    deadline=None,
                    phases=(Phase.generate,),
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(opened.__aexit__(None, None, None))
