"""The short form of `make chaos`: every kind of fault once under load, for each policy. `docs/chaos.md`."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.chaos.faults import FAULTS
from tests.chaos.report import problems
from tests.chaos.run import Plan, play

SEED = int(os.environ.get("DISPATCHER_CHAOS_SEED", "37"))
INTERRUPTING = ("SIGKILL", "SIGSTOP", "Postgres kill -9", "webhook path dead", "receiver fails")


@pytest.mark.alone  # the verdict allows each settlement a second
@pytest.mark.parametrize(("policy", "kinds"), [("retry", tuple(FAULTS)), ("hold", INTERRUPTING)])
async def test_a_fault_of_each_kind_loses_nothing_and_repeats_only_what_was_in_flight(
    tmp_path: Path, policy: str, kinds: Sequence[str]
) -> None:
    plan = Plan(SEED, rounds=len(kinds), replicas=2, on_uncertain=policy, kinds=kinds)
    accounts = await play(plan, tmp_path, told=lambda _: None)
    assert not problems(accounts), "\n".join(problems(accounts))
    assert {each.fault for each in accounts.rounds} == set(kinds)
    ends = {accounts.states[message_id] for message_id in accounts.accepted}
    if policy == "retry":
        assert ends == {"sent"}
        assert accounts.repeats, "some were in flight"
    else:
        assert ends == {"sent", "uncertain"}
