"""What a client has from its snapshot and what was pushed is what a fresh look shows, whatever happens, told or not."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from uuid import uuid4

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from tests.property.chat_world import AMID, Side, Step, World, amid, replica

from dispatcher.chat.happened import nobody
from dispatcher.chat.send import Sender
from dispatcher.kernel.db import connected_pool
from dispatcher.kernel.lifecycle import background

EXAMPLES = os.environ.get("DISPATCHER_CHAT_EXAMPLES")
"""How many runs, each from another seed; without it a fixed few, the same each time."""
LOST = 2
"""Whoever wrote it died before it was told."""
VIA = st.integers(0, LOST)
WHO = st.integers(0, 2)
WHERE = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.just("send"), WHO, WHERE, VIA),
    st.tuples(st.just("send"), WHO, WHERE, VIA),
    st.tuples(st.just("edit"), WHO, st.integers(0, 9), VIA),
    st.tuples(st.just("erase"), WHO, st.integers(0, 9), VIA),
    st.tuples(st.just("mark"), WHO, WHERE, VIA),
    st.tuples(st.just("come"), st.integers(0, 5), st.just(0), VIA),
    st.tuples(st.just("go"), st.integers(0, 5), st.just(0), VIA),
    st.tuples(st.just("join"), st.just(2), st.just(0), VIA),
    st.tuples(st.just("leave"), st.just(2), st.just(0), VIA),
    st.tuples(st.sampled_from([f"{AMID}send", f"{AMID}edit", f"{AMID}mark"]), WHO, WHERE, VIA),
    st.tuples(st.sampled_from([f"{AMID}leave", f"{AMID}join"]), st.just(2), st.just(0), VIA),
)

BACK_UNTOLD = [("come", 2, 0, 0), ("come", 5, 0, 0), ("leave", 2, 0, 0), ("join", 2, 0, LOST)]
"""They have left and come back to where they were, and only the first was told."""
TOLD_AMID = [("amid send", 0, 1, 0), ("come", 1, 0, 0)]
"""It was told, to a replica that does not know yet to whom it is to be passed on."""


def test_snapshot_and_what_is_pushed_are_a_fresh_snapshot(db_url: str, redis_url: str) -> None:
    with asyncio.Runner() as runner:

        async def run(steps: Sequence[Step], *, told: bool) -> None:
            async with AsyncExitStack() as stack:
                pool = await stack.enter_async_context(connected_pool(db_url, application="test", size=10))
                prefix = f"test:{uuid4().hex}:"
                sides = [
                    await stack.enter_async_context(replica(pool, redis_url, prefix, name))
                    for name in ("a", "b")
                ]
                lost = Sender(pool, nobody)
                await stack.enter_async_context(background("lost", lost.run))
                world = World(pool, [*sides, Side(nobody, lost, None, None)])
                await world.begin()
                stack.enter_context(amid(world))
                for what, who, where, via in steps:
                    await world.step(what, who, where, via % LOST if told else via)
                await world.end(told=told)

        @settings(
            max_examples=int(EXAMPLES or 8),
            derandomize=EXAMPLES is None,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )
        @example(steps=BACK_UNTOLD, told=False)
        @example(steps=TOLD_AMID, told=True)
        @given(steps=st.lists(STEPS, min_size=10, max_size=60), told=st.booleans())
        def examples(*, steps: list[Step], told: bool) -> None:
            runner.run(run(steps, told=told))

        examples()
