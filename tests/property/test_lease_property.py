"""Whatever happens to messages under leases, in whatever order: Postgres holds exactly what is promised."""

import asyncio
import os
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.property.lease_steps import LANES, Leases

from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.messages.state import State

EXAMPLES = os.environ.get("DISPATCHER_LEASE_EXAMPLES")
"""How many runs, each from another seed; without it a fixed few, the same each time."""
NTH = st.integers(0, 30)
DUE_IN = st.sampled_from([timedelta(days=-2), timedelta(hours=-1), timedelta(0), timedelta(days=1)])
SENT_AGO = st.sampled_from([timedelta(0), timedelta(hours=23), timedelta(days=2000), timedelta(days=-2000)])
ENDS = st.sampled_from([State.SENT, State.PENDING, State.FAILED, State.UNCERTAIN])
FOREIGN = st.none() | st.none() | st.just(UUID(int=7))


class LeaseMachine(RuleBasedStateMachine):
    """Draws the steps; `Leases` takes them, in an event loop of this test's own."""

    def __init__(self, runner: asyncio.Runner, pool: Pool) -> None:
        super().__init__()
        self._runner = runner
        self.leases = Leases(pool)
        self.run(self.leases.begin())

    def run(self, step: Coroutine[Any, Any, None]) -> None:
        self._runner.run(step)

    def teardown(self) -> None:
        self.run(self.leases.end())

    @rule(lane=st.sampled_from(LANES), priority=st.integers(0, 2), due_in=DUE_IN, count=st.integers(1, 4))
    def insert(self, lane: str, priority: int, due_in: timedelta, count: int) -> None:
        self.run(self.leases.insert(lane, priority, due_in, count))

    @rule()
    def insert_plainly(self) -> None:
        self.run(self.leases.insert_plainly())

    @rule(who=st.integers(0, 2), limit=st.integers(1, 5), from_head=st.booleans())
    def claim(self, who: int, limit: int, from_head: bool) -> None:  # noqa: FBT001 - drawn by name
        self.run(self.leases.claim(who, limit=limit, from_head=from_head))

    @rule(who=st.integers(0, 2), limit=st.integers(1, 5))
    def claim_from_the_head(self, who: int, limit: int) -> None:
        self.run(self.leases.claim(who, limit=limit, from_head=True))

    @precondition(lambda self: self.leases.claims)
    @rule(
        ends=st.lists(
            st.tuples(NTH, ENDS, FOREIGN, SENT_AGO, st.sampled_from([timedelta(0), timedelta(days=1)])),
            min_size=1,
            max_size=4,
        )
    )
    def settle(self, ends: list[tuple[int, State, UUID | None, timedelta, timedelta]]) -> None:
        self.run(self.leases.settle(ends))

    @precondition(lambda self: self.leases.claims)
    @rule(nths=st.lists(NTH, min_size=1, max_size=3))
    def release(self, nths: list[int]) -> None:
        self.run(self.leases.release(nths))

    @precondition(lambda self: self.leases.model.of(State.SENDING))
    @rule(nth=NTH)
    def expire(self, nth: int) -> None:
        self.run(self.leases.expire(nth))

    @rule()
    def look_for_expired(self) -> None:
        self.run(self.leases.look_for_expired())

    @precondition(lambda self: self.leases.seen_expired)
    @rule(
        policy=st.sampled_from(["retry", "hold"]),
        max_attempts=st.integers(1, 3),
        with_receipt=st.integers(0, 15),
    )
    def rescue(self, policy: str, max_attempts: int, with_receipt: int) -> None:
        self.run(self.leases.rescue(policy, max_attempts, with_receipt=with_receipt))

    @precondition(lambda self: self.leases.model.of(State.SENDING))
    @rule(nth=NTH)
    def outlive(self, nth: int) -> None:
        self.run(self.leases.outlive(nth))

    @precondition(lambda self: any(not k.locked for k in self.leases.model.of(State.PENDING)))
    @rule(nth=NTH)
    def cancel(self, nth: int) -> None:
        self.run(self.leases.cancel(nth))

    @precondition(lambda self: self.leases.model.of(State.UNCERTAIN))
    @rule(nth=NTH, state=st.sampled_from([State.SENT, State.PENDING]))
    def resolve(self, nth: int, state: State) -> None:
        self.run(self.leases.resolve(nth, state))

    @precondition(lambda self: self.leases.model.of(State.PENDING))
    @rule(nths=st.lists(NTH, min_size=1, max_size=3))
    def lock(self, nths: list[int]) -> None:
        self.run(self.leases.lock(nths))

    @rule()
    def let_go(self) -> None:
        self.run(self.leases.let_go())

    @rule(running=st.booleans())
    def switch(self, running: bool) -> None:  # noqa: FBT001 - drawn by name
        self.run(self.leases.switch(running=running))

    @rule()
    def retain(self) -> None:
        self.run(self.leases.retain())

    @invariant()
    def postgres_holds_what_the_model_holds(self) -> None:
        self.run(self.leases.check())


def test_whatever_happens_postgres_holds_what_is_promised(db_url: str) -> None:
    class Here(LeaseMachine):
        def __init__(self) -> None:
            super().__init__(runner, pool)

    with asyncio.Runner() as runner:
        opened = connected_pool(db_url, application="leases", size=3)
        pool = runner.run(opened.__aenter__())
        try:
            run_state_machine_as_test(
                Here,
                settings=settings(
                    max_examples=int(EXAMPLES or 14),
                    stateful_step_count=40,
                    derandomize=EXAMPLES is None,
                    deadline=None,
                    # to make a failure small takes minutes: for whoever looks into it, not for CI
                    phases=tuple(Phase) if EXAMPLES else (Phase.generate,),
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(opened.__aexit__(None, None, None))
