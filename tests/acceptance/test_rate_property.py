"""The rate as a property of real processes: whatever befalls them, never more than the ticks claimed allow."""

import os
import random
from bisect import bisect_right
from collections import Counter
from datetime import timedelta
from itertools import accumulate, pairwise

import asyncpg
from tests.acceptance.cluster import Cluster
from tests.acceptance.rate_storm import Storm
from tests.acceptance.receiver import Receiver

SEED = int(os.environ.get("DISPATCHER_RATE_SEED", "2026"))
SECONDS = float(os.environ.get("DISPATCHER_RATE_SECONDS", "20"))


async def test_never_more_than_the_ticks_claimed_allow_and_all_of_them_on_the_grid(
    cluster: Cluster, receiver: Receiver
) -> None:
    storm = Storm(cluster, receiver, random.Random(SEED))
    await storm.rage(replicas=3, seconds=SECONDS)

    ticks = await cluster.pool.fetch("SELECT * FROM ticks ORDER BY no")
    the_ticks_lie_on_the_grid(
        ticks, await cluster.pool.fetch("SELECT * FROM anchors ORDER BY version"), storm
    )
    await each_tick_was_claimed_once_or_dropped(cluster, ticks)
    sent_per_tick = never_more_than_the_ticks_allow(ticks, storm)
    await nothing_was_lost_and_only_what_was_interrupted_came_twice(cluster, storm)

    assert storm.calmed_at is not None
    in_it = [tick for tick in ticks if tick["claimed_at"] < storm.calmed_at]
    full = sum(sent_per_tick[tick["no"]] == tick["rate_limit"] for tick in in_it)
    late = sorted(tick["claimed_at"] - tick["due_at"] for tick in in_it)
    print(  # noqa: T201 - the figures, with `pytest -s`
        f"\nseed {SEED}: {len(in_it)} ticks, {full} of them sent all they may, {sum(t['dropped'] for t in in_it)} "
        f"dropped, {sum(tick['waiting'] > 1 for tick in in_it)} made up or overrun; {storm.inserted} messages in {len(receiver.arrivals)} posts, "
        f"{sum(receiver.repeated.values()) - len(receiver.repeated)} of them again; "
        f"late: median {late[len(late) // 2] / timedelta(milliseconds=1):.1f} ms; "
        + ", ".join(f"{name} {times}" for name, times in sorted(storm.done.items()))
    )
    assert full > len(in_it) // 4, "the rate must have been the bound, or nothing was tested"


def the_ticks_lie_on_the_grid(
    ticks: list[asyncpg.Record], anchors: list[asyncpg.Record], storm: Storm
) -> None:
    """Each on the grid in force, to the microsecond; a grid begins only with a start or another interval."""
    for tick in ticks:
        anchor = [a for a in anchors if a["anchor_no"] <= tick["no"]][-1]
        expected = anchor["anchor_at"] + (tick["no"] - anchor["anchor_no"]) * tick["tick_interval"]
        assert tick["due_at"] == expected
        assert tick["claimed_at"] >= tick["due_at"]
        assert not any(stopped <= tick["claimed_at"] <= started for stopped, started in storm.stops)
    assert all(b["due_at"] - a["due_at"] >= b["tick_interval"] for a, b in pairwise(ticks))
    calming = 1  # which changes the interval, too
    assert len(anchors) <= 1 + storm.done["stop_and_start"] + storm.done["change_interval"] + calming


async def each_tick_was_claimed_once_or_dropped(cluster: Cluster, ticks: list[asyncpg.Record]) -> None:
    number = -1
    for tick in ticks:
        assert tick["no"] == number + 1 + tick["dropped"], "numbers rise, and each left out is counted"
        number = tick["no"]
    schedule = await cluster.pool.fetchrow("SELECT * FROM schedules WHERE lane = 'webhook'")
    assert schedule is not None
    # more may have been claimed since the ticks were read
    assert schedule["next_no"] > number
    assert schedule["dropped_ticks"] >= sum(tick["dropped"] for tick in ticks)


def never_more_than_the_ticks_allow(ticks: list[asyncpg.Record], storm: Storm) -> Counter[int]:
    """What arrived by any moment is no more than the rates of the ticks claimed by then. How many a tick sent."""
    sent_per_tick = Counter(
        int(arrival.headers["x-correlation-id"].split("-")[1]) for arrival in storm.receiver.arrivals
    )
    rates = {tick["no"]: tick["rate_limit"] for tick in ticks}
    assert all(sent <= rates[no] for no, sent in sent_per_tick.items())
    claimed_at = sorted(tick["claimed_at"] for tick in ticks)
    by_claim = sorted(ticks, key=lambda tick: tick["claimed_at"])
    allowed = [0, *accumulate(tick["rate_limit"] for tick in by_claim)]
    for arrived, moment in enumerate(storm.arrived_at, start=1):
        assert arrived <= allowed[bisect_right(claimed_at, moment)]
    return sent_per_tick


async def nothing_was_lost_and_only_what_was_interrupted_came_twice(cluster: Cluster, storm: Storm) -> None:
    assert set(storm.receiver.times) == await cluster.ids("sent")
    assert await cluster.states() == {"sent": storm.inserted}
    again = await cluster.pool.fetch("SELECT DISTINCT message_id FROM attempts WHERE outcome <> 'delivered'")
    assert set(storm.receiver.repeated) <= {row["message_id"] for row in again}
