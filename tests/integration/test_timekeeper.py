"""From a time to come to a line on the console, with a channel that keeps what it was given."""

import asyncio
import os
from datetime import timedelta
from statistics import median

import pytest
from structlog.testing import capture_logs
from tests.integration.rows import nobody_is_at_work, someone_waits_for_a_lock, states, until, until_true
from tests.integration.timed import TimedCluster, put_timed

from dispatcher import lanes
from dispatcher.channels.console import ConsoleChannel
from dispatcher.channels.console_line import plain_line
from dispatcher.channels.console_output import ConsoleOutput
from dispatcher.channels.contract import Retry
from dispatcher.delivery import pace, schedule, settler
from dispatcher.delivery.lane import SETTLE_SECONDS
from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.db import Pool


@pytest.fixture
def cluster(pool: Pool, redis_url: str) -> TimedCluster:
    return TimedCluster(pool, redis_url)


async def test_each_message_goes_out_once_at_its_time_in_order(cluster: TimedCluster) -> None:
    async with cluster.replica("a") as one:
        ids = await put_timed(cluster.pool, 200, due_in=0.3, apart=0.005)
        await until(lambda: len(one.console.ids) == 200)
        await until_true(lambda: all_sent(cluster.pool))
    assert one.console.ids == ids
    late = one.console.late()
    assert min(late) >= 0, "never before its time"
    assert median(late) < 0.1
    rows = await cluster.pool.fetch("SELECT deliver_at, sent_at FROM messages ORDER BY id")
    recorded = [(row["sent_at"] - row["deliver_at"]).total_seconds() for row in rows]
    assert recorded == pytest.approx(late, abs=0.001), "how late it was is in the record"


async def test_what_is_far_away_is_left_alone(cluster: TimedCluster) -> None:
    async with cluster.replica("a") as one:
        await put_timed(cluster.pool, 3, due_in=600)
        near = await put_timed(cluster.pool, 1, due_in=0.2)
        await until(lambda: one.console.ids == near)
        await until_true(lambda: all_but(cluster.pool, 3))
        assert await states(cluster.pool) == {"pending": 3, "sent": 1}


async def test_a_nearer_message_overtakes_what_is_held_already(cluster: TimedCluster) -> None:
    async with cluster.replica("a") as one:
        (later,) = await put_timed(cluster.pool, 1, due_in=0.9)
        await until(lambda: one.timekeeper.held == 1)
        (sooner,) = await put_timed(cluster.pool, 1, due_in=0.2)
        await until(lambda: one.console.ids == [sooner, later])


async def test_two_replicas_print_each_message_once(cluster: TimedCluster) -> None:
    async with cluster.replica("a") as one, cluster.replica("b") as other:
        ids = await put_timed(cluster.pool, 2000, due_in=0.2, apart=0.0005)
        await until_true(lambda: all_sent(cluster.pool))
    assert sorted(one.console.ids + other.console.ids) == ids
    for console in (one.console, other.console):
        assert console.ids == sorted(console.ids), "in due order on each"
    attempts = await cluster.pool.fetchval("SELECT count(*) FROM attempts")
    assert attempts == 2000


async def test_a_stop_gives_back_what_is_held_and_its_attempt(cluster: TimedCluster) -> None:
    async with cluster.replica("a") as one:
        await put_timed(cluster.pool, 5, due_in=0.9)
        await until(lambda: one.timekeeper.held == 5)
    assert one.console.ids == []
    rows = await cluster.pool.fetch("SELECT state, attempt_count FROM messages")
    assert [tuple(row) for row in rows] == [("pending", 0)] * 5


async def test_what_the_channel_did_not_begin_spends_no_attempt(pool: Pool, redis_url: str) -> None:
    cluster = TimedCluster(pool, redis_url, echo_timeout=0.1)
    async with cluster.replica("a") as one:
        one.console.gate.clear()
        ids = await put_timed(pool, 3)
        await until(lambda: len(one.console.batches) >= 3)
        one.console.gate.set()
        await until_true(lambda: all_sent(pool))
    assert one.console.ids == ids
    assert await pool.fetchval("SELECT max(attempt_count) FROM messages") == 1


async def test_a_console_with_a_problem_leaves_messages_to_others(cluster: TimedCluster) -> None:
    async with cluster.replica("a") as one:
        ids = await put_timed(cluster.pool, 3, due_in=0.9)
        await until(lambda: one.timekeeper.held == 3)
        one.console.problem = "closed"
        await until(lambda: one.timekeeper.held == 0)
        async with cluster.replica("b") as other:
            await until(lambda: other.console.ids == ids)
        assert one.console.batches == []


async def test_a_failed_attempt_is_made_again_and_the_message_keeps_its_time(cluster: TimedCluster) -> None:
    async with cluster.replica("a") as one:
        one.console.fails_with = [TORN]
        (message_id,) = await put_timed(cluster.pool, 1)
        due = await cluster.pool.fetchval("SELECT deliver_at FROM messages")
        await until(lambda: len(one.console.batches) == 2)
        one.console.fails_with = []
        await until(lambda: one.console.ids == [message_id])
    assert one.console.printed[0][0].due_at == due
    outcomes = await cluster.pool.fetch("SELECT outcome FROM attempts ORDER BY number")
    assert [row["outcome"] for row in outcomes][-1] == "delivered"
    assert {row["outcome"] for row in outcomes[:-1]} == {"retry"}


async def test_an_unknown_end_is_held_for_a_person_where_that_is_wanted(pool: Pool, redis_url: str) -> None:
    cluster = TimedCluster(pool, redis_url, on_uncertain="hold")
    async with cluster.replica("a") as one:
        one.console.fails_with = [TORN]
        await put_timed(pool, 2)
        await until_true(lambda: all_are(pool, "uncertain"))
    assert sum(one.console.batches) == 2, "nothing is printed twice"


async def test_with_hold_only_what_was_begun_at_a_kill_is_uncertain(pool: Pool, redis_url: str) -> None:
    cluster = TimedCluster(pool, redis_url, on_uncertain="hold")
    async with cluster.replica("a") as one:
        one.console.gate.clear()
        begun = await put_timed(pool, 2)
        await until(lambda: sum(one.console.batches) == 2)
        later = await put_timed(pool, 3, due_in=0.9)
        await until(lambda: one.timekeeper.held == 3)
        await stop(pool)  # so that nobody claims them anew
        # what a dead holder leaves behind; the one that holds them here finds its leases lost
        await expire_leases(pool)
        await one.rescuer.rescue_once()
        rows = await pool.fetch("SELECT id, state, attempt_count FROM messages ORDER BY id")
        assert [tuple(row) for row in rows[:2]] == [(id_, "uncertain", 1) for id_ in begun]
        assert [tuple(row) for row in rows[2:]] == [(id_, "pending", 0) for id_ in later]
        one.console.gate.set()
    assert await states(pool) == {"uncertain": 2, "pending": 3}, "who lost its lease changes nothing"


async def test_workers_and_batches_follow_the_live_config(pool: Pool, redis_url: str) -> None:
    cluster = TimedCluster(pool, redis_url, echo_workers=2, echo_batch_size=3, echo_timeout=60)
    async with cluster.replica("a") as one:
        one.console.gate.clear()
        await put_timed(pool, 40)
        await until(lambda: one.timekeeper.held == 34 and len(one.console.batches) == 2)
        assert one.console.batches == [3, 3], "two batches of three, and no more at the same time"
        cluster.retune(echo_workers=4, echo_batch_size=10)
        await until(lambda: one.timekeeper.held == 14 and len(one.console.batches) == 4)
        assert one.console.batches == [3, 3, 10, 10]
        one.console.gate.set()
        await until_true(lambda: all_sent(pool))
    assert max(one.console.batches) == 10


async def test_nothing_is_claimed_after_a_stop_of_the_lane(cluster: TimedCluster) -> None:
    async with cluster.replica("a") as one:
        await put_timed(cluster.pool, 1)
        await until(lambda: len(one.console.ids) == 1)
        async with cluster.pool.acquire() as other, other.transaction():
            await other.execute("SELECT FROM schedules WHERE lane = 'console' FOR UPDATE")
            stopping = asyncio.create_task(stop(cluster.pool))
            await until_true(lambda: someone_waits_for_a_lock(cluster.pool))
            await put_timed(cluster.pool, 1)
            await until_true(
                lambda: someone_waits_for_a_lock(cluster.pool, others=1)
            )  # the claim that finds it
        await stopping
        await until_true(lambda: nobody_is_at_work(cluster.pool))
        assert await states(cluster.pool) == {"sent": 1, "pending": 1}
        await schedule.change(cluster.pool, "console", pace.start)
        one.timekeeper.wake()
        await until(lambda: len(one.console.ids) == 2)


async def test_what_fell_due_while_nobody_ran_goes_out_oldest_first(cluster: TimedCluster) -> None:
    ids = await put_timed(cluster.pool, 3000, due_in=-3600, apart=0.01)
    async with cluster.replica("a") as one:
        await until_true(lambda: all_sent(cluster.pool))
    assert one.console.ids == ids
    assert min(one.console.late()) > 3500


async def test_a_stop_gives_back_what_is_held_though_the_console_is_blocked(
    pool: Pool, redis_url: str
) -> None:
    cluster = TimedCluster(pool, redis_url, echo_workers=1, echo_batch_size=1, echo_timeout=30)
    async with cluster.replica("a") as one:
        one.console.gate.clear()
        await put_timed(pool, 1)
        await until(lambda: len(one.console.batches) == 1)
        await put_timed(pool, 3, due_in=0.3)
        await until(lambda: one.timekeeper.held == 3)
        one.timekeeper.stop()
        await until_true(lambda: all_are(pool, "pending"), seconds=5)
    assert await pool.fetchval("SELECT max(attempt_count) FROM messages") == 0


TORN = Retry("torn", maybe_delivered=True)


@pytest.mark.parametrize("failure", [TORN, None], ids=["torn", "refused at once"])
async def test_after_a_failure_nothing_is_begun_for_the_backoff(
    pool: Pool, redis_url: str, failure: Retry | None
) -> None:
    cluster = TimedCluster(pool, redis_url, echo_backoff_base=600, echo_backoff_cap=600, echo_batch_size=1)
    async with cluster.replica("a") as one:
        one.console.fails_with = [failure]
        ids = await put_timed(pool, 5, due_in=0.4, apart=0.03)
        await until(lambda: len(one.console.batches) == 1)
        await until_true(lambda: all_are(pool, "pending"))
        async with cluster.replica("b") as other:
            await until(lambda: sorted(other.console.ids) == ids)
        assert len(one.console.batches) == 1


async def test_a_full_disk_gets_its_rest_and_health_says_why(pool: Pool, redis_url: str) -> None:
    cluster = TimedCluster(pool, redis_url, echo_backoff_base=600, echo_backoff_cap=600)
    full = os.open("/dev/full", os.O_WRONLY)
    console = ConsoleChannel(ConsoleOutput(full), line=plain_line, now=utc_now)
    async with cluster.replica("a", console) as one:
        ids = await put_timed(pool, 3)
        await until(lambda: one.timekeeper.problem is not None)
        await until(lambda: console.problem is None)  # as far as the channel knows it may be tried again
        async with cluster.replica("b") as other:
            await until(lambda: sorted(other.console.ids) == ids)
        assert one.timekeeper.problem == "standard output takes nothing: no space left on device"
        assert console.problem is None, "it was not tried again"
    console.close()
    os.close(full)


async def test_batches_that_fail_together_are_one_failure(pool: Pool, redis_url: str) -> None:
    cluster = TimedCluster(
        pool, redis_url, echo_backoff_base=0.1, echo_backoff_cap=3600, echo_workers=8, echo_batch_size=1
    )
    async with cluster.replica("a") as one:
        one.console.fails_with = [TORN]
        one.console.gate.clear()
        await put_timed(pool, 8)
        for failed in (0, 8, 16):  # each is attempted three times, well before the cap is reached
            await until(lambda already=failed: len(one.console.batches) >= already + 8)  # type: ignore[misc]
            one.console.gate.set()
            await until_true(lambda: all_are(pool, "pending"))
            one.console.gate.clear()


async def test_what_works_between_failures_keeps_the_rests_short(pool: Pool, redis_url: str) -> None:
    cluster = TimedCluster(pool, redis_url, echo_backoff_base=0.1, echo_backoff_cap=3600)
    async with cluster.replica("a") as one:
        for failures in range(1, 9):  # a row of eight would rest for longer than this waits
            one.console.fails_with = [TORN]
            await put_timed(pool, 1)
            await until_true(lambda n=failures: interrupted(pool, n))  # type: ignore[misc]
            one.console.fails_with = []
            await until_true(lambda: all_sent(pool))


async def test_a_batch_that_breaks_ends_no_other(cluster: TimedCluster) -> None:
    async with cluster.replica("a") as one:
        one.console.fails_with = ["no outcome"]  # type: ignore[list-item]  # a bug
        with capture_logs() as said:
            await put_timed(cluster.pool, 1)
            await until(lambda: "batch_broke" in {line["event"] for line in said})
        one.console.fails_with = []
        ids = await put_timed(cluster.pool, 1)
        await until(lambda: one.console.ids == ids)


async def test_nothing_is_printed_whose_attempt_cannot_be_written_down(pool: Pool, redis_url: str) -> None:
    cluster = TimedCluster(pool, redis_url, on_uncertain="hold")
    async with cluster.replica("a") as one:
        await pool.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
            CREATE TRIGGER refuse BEFORE UPDATE ON messages_sending FOR EACH ROW EXECUTE FUNCTION refuse()
            """
        )
        with capture_logs() as said:
            ids = await put_timed(pool, 1)
            await until(lambda: [line["event"] for line in said].count("begin_failed") == 2)
        assert one.console.batches == []
        await pool.execute("DROP TRIGGER refuse ON messages_sending")
        await until(lambda: one.console.ids == ids)


async def test_what_postgres_refuses_to_take_back_ends_no_attempt(pool: Pool, redis_url: str) -> None:
    cluster = TimedCluster(pool, redis_url, echo_workers=2, echo_batch_size=1)
    async with cluster.replica("a") as one:
        one.console.gate.clear()
        (begun,) = await put_timed(pool, 1)
        await until(lambda: len(one.console.batches) == 1)
        (held,) = await put_timed(pool, 1, due_in=0.9)
        await until(lambda: one.timekeeper.held == 1)
        await pool.execute(  # by hand, and by mistake
            "INSERT INTO messages (id, lane, recipient_phone, content) VALUES ($1, 'other', 'x', 'x')", held
        )
        one.console.problem = "blocked for a moment"
        await until(lambda: one.timekeeper.held == 0)
        one.console.gate.set()
        await until(lambda: one.console.ids == [begun])


async def test_one_message_that_cannot_go_back_keeps_no_other_from_it(cluster: TimedCluster) -> None:
    pool = cluster.pool
    async with cluster.replica("a") as one:
        ids = await put_timed(pool, 3, due_in=0.9)
        await until(lambda: one.timekeeper.held == 3)
        await pool.execute(  # by hand, and by mistake
            "INSERT INTO messages (id, lane, recipient_phone, content) VALUES ($1, 'other', 'x', 'x')", ids[1]
        )
        with capture_logs() as said:
            one.console.problem = "blocked"
            await until(lambda: "release_refused" in {line["event"] for line in said})

        async def others_are_back() -> bool:
            left: list[int] = await pool.fetchval("SELECT array_agg(id) FROM messages_sending")
            return left == ids[1:2]

        await until_true(others_are_back, seconds=5)


async def test_what_has_not_begun_goes_back_however_long_the_settler_takes(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settler, "BACKLOG", 1)
    cluster = TimedCluster(pool, redis_url, echo_backoff_base=600, echo_backoff_cap=600)
    async with cluster.replica("a") as one:
        one.console.gate.clear()
        (first,) = await put_timed(pool, 1)
        await until(lambda: len(one.console.batches) == 1)
        async with pool.acquire() as other, other.transaction():
            await other.execute("SELECT FROM messages_sending WHERE id = $1 FOR UPDATE", first)
            one.console.gate.set()
            await until_true(lambda: someone_waits_for_a_lock(pool))
            one.console.fails_with = [TORN, None]
            ids = await put_timed(pool, 2, due_in=-1)
            await until(lambda: one.console.batches == [1, 2])

            async def one_is_back() -> bool:
                return await states(pool) == {"sending": 2, "pending": 1}

            await until_true(one_is_back, seconds=5)
            assert await pool.fetchval("SELECT array_agg(id) FROM messages_pending") == ids[1:]


async def test_an_attempt_that_cannot_be_written_down_holds_up_no_other(pool: Pool, redis_url: str) -> None:
    cluster = TimedCluster(pool, redis_url, on_uncertain="hold", echo_timeout=60)
    async with cluster.replica("a") as one:
        (away,) = await put_timed(pool, 1, due_in=0.9)
        await pool.execute(
            f"""
            CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql
                AS 'BEGIN RAISE EXCEPTION ''away'' USING ERRCODE = ''57P03''; END';
            CREATE TRIGGER away BEFORE UPDATE OR DELETE ON messages_sending
                FOR EACH ROW WHEN (OLD.id = {away}) EXECUTE FUNCTION away()
            """
        )
        with capture_logs() as said:
            await until(lambda: "begin_failed" in {line["event"] for line in said})
        (other,) = await put_timed(pool, 1)
        await until(lambda: one.console.ids == [other])
        await pool.execute("DROP TRIGGER away ON messages_sending")
        await until(lambda: one.console.ids == [other, away])


def leases_last(seconds: float, cluster: TimedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the leases of the lane last for so long from now on."""
    change = seconds - lanes.console_terms(cluster.live.value).lease_seconds
    monkeypatch.setattr(lanes, "WAIT_SECONDS", lanes.WAIT_SECONDS + change)


async def test_an_attempt_ends_before_its_lease(
    pool: Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = TimedCluster(pool, redis_url, echo_timeout=60)
    leases_last(SETTLE_SECONDS + 1, cluster, monkeypatch)
    async with cluster.replica("a") as one:
        one.console.gate.clear()
        await put_timed(pool, 1)
        await until(lambda: len(one.console.batches) >= 2)
    rows = await pool.fetch("SELECT state, attempt_count FROM messages")
    assert [tuple(row) for row in rows] == [("pending", 0)]


async def test_no_attempt_begins_that_its_lease_leaves_no_time_for(
    cluster: TimedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = cluster.pool
    async with cluster.replica("a") as one:
        usual = lanes.console_terms(cluster.live.value).lease_seconds
        leases_last(SETTLE_SECONDS, cluster, monkeypatch)
        ids = await put_timed(pool, 2)
        await until(lambda: one.frontier.claims >= 2)
        assert one.console.batches == []
        leases_last(usual, cluster, monkeypatch)
        await until_true(lambda: all_sent(pool))
    assert one.console.ids == ids
    assert await pool.fetchval("SELECT max(attempt_count) FROM messages") == 1


async def test_a_claim_that_had_to_wait_does_not_hide_what_comes_back(cluster: TimedCluster) -> None:
    pool = cluster.pool
    async with cluster.replica("a") as one:
        await put_timed(pool, 1)
        await until(lambda: len(one.console.ids) == 1)
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM schedules WHERE lane = 'console' FOR UPDATE")
            await put_timed(pool, 1)
            # a search from the head, as all are while they are quick: this one seems to take a second
            await until_true(lambda: someone_waits_for_a_lock(pool, seconds=1.0))
        await until(lambda: len(one.console.ids) == 2)
        await put_timed(pool, 1, due_in=-60)  # where rescue and release put it
        await until(lambda: len(one.console.ids) == 3, seconds=5)


async def test_one_reserved_message_that_cannot_go_back_keeps_no_other_from_it(
    pool: Pool, redis_url: str
) -> None:
    cluster = TimedCluster(pool, redis_url, on_uncertain="hold")
    async with cluster.replica("a") as one:
        ids = await put_timed(pool, 2, due_in=0.9)
        await until(lambda: one.timekeeper.held == 2)
        await stop(pool)  # so that nobody claims them anew
        await expire_leases(pool)
        await pool.execute(  # by hand, and by mistake
            "INSERT INTO messages (id, lane, recipient_phone, content) VALUES ($1, 'other', 'x', 'x')", ids[0]
        )
        await one.rescuer.rescue_once()
        assert await pool.fetchval("SELECT array_agg(id) FROM messages_sending") == ids[:1]


async def test_a_replica_that_starts_after_a_jump_leaves_leases_alone(
    wall_clock: "WallClock", cluster: TimedCluster
) -> None:
    async with cluster.replica("a") as one:
        one.console.gate.clear()
        ids = await put_timed(cluster.pool, 3)
        await until(lambda: sum(one.console.batches) == 3)  # being printed
        await wall_clock.jump(timedelta(hours=1))
        async with cluster.replica("b") as other:
            await other.rescuer.rescue_once()
            one.console.gate.set()
            await until_true(lambda: all_sent(cluster.pool))
            assert sorted(one.console.ids + other.console.ids) == ids


@pytest.fixture
async def wall_clock(pool: Pool) -> "WallClock":
    """The database's clock, to be set. What the service's statements call is found here before Postgres's own."""
    database = await pool.fetchval("SELECT current_database()")
    await pool.execute("CREATE SCHEMA skewed; CREATE TABLE skewed.clock AS SELECT interval '0' AS ahead")
    for name in ("now", "clock_timestamp"):
        await pool.execute(
            f"""CREATE FUNCTION skewed.{name}() RETURNS timestamptz STABLE LANGUAGE sql
                AS 'SELECT pg_catalog.{name}() + ahead FROM skewed.clock'"""
        )
    await pool.execute(f'ALTER DATABASE "{database}" SET search_path = skewed, pg_catalog, public')
    await pool.expire_connections()
    return WallClock(pool)


class WallClock:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def jump(self, ahead: timedelta) -> None:
        await self._pool.execute("UPDATE skewed.clock SET ahead = ahead + $1", ahead)


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_jumps_neither_repeats_nor_drops_a_message(
    wall_clock: WallClock, cluster: TimedCluster, hours: int
) -> None:
    async with cluster.replica("a") as one, cluster.replica("b") as other:
        ids = await put_timed(cluster.pool, 400, due_in=0.2, apart=0.005)
        for replica in (one, other):
            await replica.rescuer.rescue_once()
        await until(lambda: len(one.console.ids + other.console.ids) > 50)
        await wall_clock.jump(timedelta(hours=hours))
        for replica in (one, other):
            await replica.rescuer.rescue_once()
            await replica.rescuer.rescue_once()
        if hours < 0:
            await until(lambda: one.timekeeper.held + other.timekeeper.held == 0)
            await wall_clock.jump(timedelta(hours=1))
        await until_true(lambda: all_sent(cluster.pool), seconds=20)
    assert sorted(one.console.ids + other.console.ids) == ids
    assert await cluster.pool.fetchval("SELECT max(attempt_count) FROM messages") == 1


async def interrupted(pool: Pool, times: int) -> bool:
    found: int = await pool.fetchval("SELECT count(*) FROM attempts WHERE outcome = 'retry'")
    return found >= times


async def all_sent(pool: Pool) -> bool:
    return await all_are(pool, "sent")


async def all_are(pool: Pool, state: str) -> bool:
    return set(await states(pool)) == {state}


async def all_but(pool: Pool, pending: int) -> bool:
    found = await states(pool)
    return found.get("pending") == pending and "sending" not in found


async def stop(pool: Pool) -> None:
    await schedule.change(pool, "console", lambda row, _: pace.stop(row))


async def expire_leases(pool: Pool) -> None:
    await pool.execute(
        "UPDATE messages SET leased_until = now() - interval '1 second' WHERE state = 'sending'"
    )
