"""The short form of `make chaos`: every kind of fault once under load, for each policy. `docs/chaos.md`."""

import os
from pathlib import Path

import pytest
from tests.chaos.faults import FAULTS
from tests.chaos.report import problems
from tests.chaos.run import Plan, play

SEED = int(os.environ.get("DISPATCHER_CHAOS_SEED", "5"))


@pytest.mark.parametrize("policy", ["retry", "hold"])
async def test_every_kind_of_fault_loses_nothing_and_repeats_only_what_was_in_flight(
    tmp_path: Path, policy: str
) -> None:
    plan = Plan(SEED, rounds=len(FAULTS), replicas=3, on_uncertain=policy)
    accounts = await play(plan, tmp_path, told=lambda _: None)
    assert not problems(accounts), "\n".join(problems(accounts))
    assert {each.fault for each in accounts.rounds} == set(FAULTS)
    ends = {accounts.states[message_id] for message_id in accounts.accepted}
    if policy == "retry":
        assert ends == {"sent"}
        assert accounts.repeats, "some were in flight"
    else:
        assert ends == {"sent", "uncertain"}
