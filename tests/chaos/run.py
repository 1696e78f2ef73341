"""A chaos run: rounds of faults under load, then a calm in which everything must come to its end, then the accounts."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.receiver import Arrival
from tests.acceptance.replica import NOT_YET, eventually
from tests.chaos.faults import FAILING, FAULTS, Struck
from tests.chaos.stage import TIMEOUT_SECONDS, Stage, running_stage
from tests.chaos.verdict import ENDED, REFUSED, Excuses, Repeat, lost, repeats

from dispatcher.kernel.clock import elapsed, pause

RECOVERY_SECONDS = 60.0
"""A fault after whose end nothing is delivered for this long ends the run."""
DRAIN_SECONDS = 60.0
"""What has not come to its end after this much calm is lost."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to play. The seed decides faults, victims and times, not how the processes interleave."""

    seed: int
    rounds: int
    replicas: int
    on_uncertain: str
    kinds: Sequence[str] = tuple(FAULTS)

    def faults(self) -> list[str]:
        """One a round, each as often as any other, in the order that the seed gives them."""
        dice = random.Random(f"{self.seed} order")
        drawn: list[str] = []
        while len(drawn) < self.rounds:
            drawn += dice.sample(self.kinds, len(self.kinds))
        return drawn[: self.rounds]


@dataclass(frozen=True, slots=True)
class Round:
    """One fault, and the load around it."""

    number: int
    fault: str
    struck: Struck


@dataclass(frozen=True, slots=True)
class Accounts:
    """Everything that a run is judged by."""

    plan: Plan
    rounds: list[Round]
    accepted: Mapping[int, int]
    """Message to round."""
    states: Mapping[int, str]
    arrivals: list[Arrival]
    lost: Mapping[int, str]
    repeats: list[Repeat]

    @property
    def delivered_at(self) -> dict[int, float]:
        """When each message was first had by the receiver."""
        return {a.webhook_id: a.at for a in reversed(self.arrivals) if a.answer.status != REFUSED}

    @property
    def illegitimate(self) -> list[Repeat]:
        """The repeats that nothing excuses."""
        return [repeat for repeat in self.repeats if repeat.excuse is None]


async def play(plan: Plan, folder: Path, *, told: Callable[[Round], None]) -> Accounts:
    """Play the plan; `told` hears of each round when it is over. Logs of the replicas stay in the folder.

    Raises:
        AssertionError: A replica ended by itself, or nothing was delivered any more.
    """
    rounds: list[Round] = []
    async with running_stage(
        folder, replicas=plan.replicas, on_uncertain=plan.on_uncertain, seed=plan.seed
    ) as stage:
        async with asyncio.TaskGroup() as group:
            group.create_task(stage.load.run())
            for number, fault in enumerate(plan.faults(), 1):
                rounds.append(await _round(stage, plan, number, fault))
                told(rounds[-1])
            stage.load.stop()
        await _calm(stage)
        return await _accounts(stage, plan, rounds)


async def _round(stage: Stage, plan: Plan, number: int, fault: str) -> Round:
    dice = random.Random(f"{plan.seed} round {number}")
    stage.load.round = number
    await pause(dice.uniform(0.2, 0.8))
    struck = await FAULTS[fault](stage, dice)

    async def delivers() -> bool:
        return any(
            arrival.answer.status != REFUSED and (arrival.answered_at or 0) > struck.over
            for arrival in stage.receiver.arrivals[-100:]
        )

    await eventually(delivers, seconds=RECOVERY_SECONDS, what=f"a message is delivered after {fault}")
    for node in stage.nodes:
        assert node.replica.runs, f"{node.name} ended by itself: {node.replica.log_path.read_text()[-2000:]}"
    return Round(number, fault, struck)


async def _calm(stage: Stage) -> None:
    """Wait until every message has ended, or for as long as that may take."""
    until = elapsed() + DRAIN_SECONDS
    while elapsed() < until:
        try:
            if set(await stage.cluster.states()) <= ENDED:
                return
        except NOT_YET:
            pass  # the harness's own connections were cut by the last fault
        await pause(0.1)


async def _accounts(stage: Stage, plan: Plan, rounds: list[Round]) -> Accounts:
    accepted = await stage.load.accepted()
    states = {
        row["id"]: row["state"] for row in await stage.cluster.pool.fetch("SELECT id, state FROM messages")
    }
    arrivals = list(stage.receiver.arrivals)
    disturbances = [each.struck.disturbance for each in rounds if each.struck.disturbance]
    excuses = Excuses(TIMEOUT_SECONDS, FAILING, disturbances, hold=plan.on_uncertain == "hold")
    had = {arrival.webhook_id for arrival in arrivals if arrival.answer.status != REFUSED}
    return Accounts(
        plan, rounds, accepted, states, arrivals, lost(accepted, states, had), repeats(arrivals, excuses)
    )
