"""When the timekeeper looks at Postgres, what it claims then, and what it leaves alone."""

from itertools import pairwise

import pytest
from structlog.testing import capture_logs
from tests.integration.rows import states, until, until_true
from tests.integration.timed import TimedCluster, WatchedFrontier, put_timed

from dispatcher.delivery import timekeeper
from dispatcher.delivery.claim_size import CLAIM_AT_MOST
from dispatcher.delivery.timekeeper import QUIET_POLL_SECONDS
from dispatcher.kernel.clock import elapsed, utc_now
from dispatcher.kernel.db import Pool
from dispatcher.kernel.live import Origin, Snapshot


@pytest.fixture
def cluster(pool: Pool, redis_url: str) -> TimedCluster:
    return TimedCluster(pool, redis_url)


async def test_what_arrives_here_is_looked_for_at_once(cluster: TimedCluster) -> None:
    async with cluster.replica("a", poll_seconds=600) as one:
        await until(lambda: len(one.frontier.looks) > 0)
        for printed in range(3):  # others may ask for a look too, but only at the start
            await put_timed(cluster.pool, 1)
            one.timekeeper.arrived(utc_now())
            await until(lambda before=printed: len(one.console.ids) > before)  # type: ignore[misc]


async def test_what_comes_in_behind_a_claim_is_found_by_the_next_look(cluster: TimedCluster) -> None:
    frontier = WatchedFrontier(longest_wait_seconds=3600)
    now = elapsed()  # the last search from the head took an hour: the next one is far away
    frontier.searched(frontier.search(now), {}, now=now, seconds=3600)
    async with cluster.replica("a", frontier=frontier) as one:
        (later,) = await put_timed(cluster.pool, 1, due_in=0.9)
        await until(lambda: one.timekeeper.held == 1)
        (sooner,) = await put_timed(cluster.pool, 1, due_in=0.2)
        await until(lambda: one.console.ids == [sooner, later])


async def test_a_replica_that_cannot_print_claims_nothing(cluster: TimedCluster) -> None:
    async with cluster.replica("a") as one:
        one.console.problem = "closed"
        await put_timed(cluster.pool, 3)
        await one.looks_again()
        assert one.frontier.claims == 0


async def test_a_replica_whose_console_rests_claims_nothing(pool: Pool, redis_url: str) -> None:
    cluster = TimedCluster(pool, redis_url, echo_backoff_base=600, echo_backoff_cap=600)
    async with cluster.replica("a") as one:
        one.console.fails_with = [None]
        await put_timed(pool, 3)
        await until(lambda: len(one.console.batches) == 1)
        await until_true(lambda: all_pending(pool))
        await one.looks_again()
        claims = one.frontier.claims
        await one.looks_again()
        assert one.frontier.claims == claims


async def test_no_more_is_held_than_there_is_room_for(
    cluster: TimedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timekeeper, "HELD_AT_MOST", 5)
    async with cluster.replica("a") as one:
        ids = await put_timed(cluster.pool, 12, due_in=0.9)
        await until(lambda: one.timekeeper.held == 5)
        await one.looks_again()
        assert one.timekeeper.held <= 5
        await until(lambda: sorted(one.console.ids) == ids)


async def test_of_a_downtime_little_more_is_claimed_than_is_being_printed(pool: Pool, redis_url: str) -> None:
    cluster = TimedCluster(pool, redis_url, echo_workers=1, echo_batch_size=1, echo_timeout=60)
    async with cluster.replica("a") as one:
        one.console.gate.clear()
        await put_timed(pool, 3 * CLAIM_AT_MOST, due_in=-3600)
        await until(lambda: one.timekeeper.held >= CLAIM_AT_MOST)
        await one.looks_again()
        await one.looks_again()
        assert one.timekeeper.held < 2 * CLAIM_AT_MOST
        cluster.retune(echo_batch_size=CLAIM_AT_MOST)
        one.console.gate.set()
        await until_true(lambda: all_sent(pool), seconds=30)


async def test_when_nothing_comes_the_looks_become_seldom(
    cluster: TimedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timekeeper, "QUIET_SECONDS", 0.0)
    async with cluster.replica("a") as one:
        await until(lambda: len(one.frontier.looks) == 4)
    gaps = [
        after - before for before, after in pairwise(one.frontier.looks[1:4])
    ]  # the tuner asks for the first
    assert min(gaps) > 0.9 * QUIET_POLL_SECONDS


async def test_a_replica_that_lags_behind_the_live_config_catches_up(cluster: TimedCluster) -> None:
    async with cluster.replica("a") as one:
        await until(lambda: len(one.frontier.looks) > 1)
        await cluster.pool.execute("UPDATE schedules SET epoch = 0, revision = 99")  # another replica's

        async def catch_up() -> None:
            cluster.live.publish(Snapshot(cluster.live.value, Origin(0, 99)))

        cluster.catch_up = catch_up
        (message_id,) = await put_timed(cluster.pool, 1)
        await until(lambda: one.console.ids == [message_id])


async def test_a_look_that_breaks_ends_no_attempt_and_is_made_again(cluster: TimedCluster) -> None:
    async with cluster.replica("a") as one:
        one.console.gate.clear()
        (begun,) = await put_timed(cluster.pool, 1)
        await until(lambda: len(one.console.batches) == 1)
        await cluster.pool.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
            CREATE TRIGGER refuse BEFORE INSERT ON messages_sending FOR EACH ROW EXECUTE FUNCTION refuse()
            """
        )
        with capture_logs() as said:
            (refused,) = await put_timed(cluster.pool, 1)
            await until(lambda: "look_broke" in {line["event"] for line in said})
        one.console.gate.set()
        await until(lambda: one.console.ids == [begun])
        await cluster.pool.execute("DROP TRIGGER refuse ON messages_sending")
        await until(lambda: one.console.ids == [begun, refused])


async def all_pending(pool: Pool) -> bool:
    return set(await states(pool)) == {"pending"}


async def all_sent(pool: Pool) -> bool:
    return set(await states(pool)) == {"sent"}
