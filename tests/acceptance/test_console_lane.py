"""Messages for the console, each at its time, over several replicas of the real program, through kills and a late start."""

import os
from collections.abc import Sequence
from contextlib import suppress
from statistics import median, quantiles
from typing import Any

import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.replica import Replica, eventually
from tests.integration.timed import put_timed

MESSAGES = int(os.environ.get("DISPATCHER_ECHO_MESSAGES", "5000"))
PER_SECOND = 2500


async def all_decided(cluster: Cluster) -> bool:
    return not {"pending", "sending"} & set(await cluster.states())


def printed_ids(replica: Replica) -> list[int]:
    return [line["dispatcher"]["message_id"] for line in replica.printed()]


def due_order(lines: Sequence[dict[str, Any]]) -> bool:
    due = [line["dispatcher"]["due_at"] for line in lines]
    return due == sorted(due)


async def test_three_replicas_print_every_line_once_and_in_due_order(cluster: Cluster) -> None:
    replicas = await cluster.start(3)
    ids = await put_timed(cluster.pool, MESSAGES, due_in=3, apart=1 / PER_SECOND)
    await eventually(lambda: all_decided(cluster), seconds=60 + MESSAGES / PER_SECOND, what="all are printed")
    lines = [replica.printed() for replica in replicas]
    every = [line["dispatcher"]["message_id"] for of_one in lines for line in of_one]
    assert sorted(every) == ids, "every line once over the union of the consoles"
    assert all(due_order(of_one) for of_one in lines)
    assert await cluster.states() == {"sent": MESSAGES}
    late = [line["dispatcher"]["late_ms"] for of_one in lines for line in of_one]
    assert min(late) >= 0
    print(  # noqa: T201 - the figures that the docs show, with `pytest -s`
        f"\n{MESSAGES} messages, {PER_SECOND} a second, by replica {[len(of_one) for of_one in lines]}; "
        f"late: median {median(late):.1f} ms, p99 {quantiles(late, n=100)[98]:.1f} ms, most {max(late):.1f} ms"
    )


@pytest.mark.parametrize("policy", ["retry", "hold"])
async def test_a_kill_in_mid_stream_loses_nothing(cluster: Cluster, policy: str) -> None:
    await cluster.configure(echo_timeout=0.1, on_uncertain=policy)
    replicas = await cluster.start(2)
    ids = await put_timed(cluster.pool, 2500, due_in=1, apart=1 / 2000)
    victim = replicas[0]

    async def printing() -> bool:
        return len(victim.printed()) > 200

    await eventually(printing, seconds=20, what="the victim prints")
    await victim.kill()
    await eventually(lambda: all_decided(cluster), seconds=40, what="all are decided")
    every = [id_ for replica in replicas for id_ in printed_ids(replica)]
    sent, held = await cluster.ids("sent"), await cluster.ids("uncertain")
    assert sent | held == set(ids), "nothing is lost"
    assert sent <= set(every), "what counts as sent is on a console"
    repeated = len(every) - len(set(every))
    in_flight = 10 * 100  # batches of one replica at the same time
    if policy == "retry":
        assert held == set()
        assert repeated <= in_flight
    else:
        assert repeated == 0, "nothing comes twice"
        assert len(held) <= in_flight
    late = await cluster.pool.fetchval(
        "SELECT count(*) FROM messages WHERE sent_at > deliver_at + interval '1 s'"
    )
    print(f"\n{policy}: {len(sent)} sent, {len(held)} held, {repeated} repeated, {late} late by the lease")  # noqa: T201


async def test_what_fell_due_while_everything_was_down_comes_oldest_first_and_marked_late(
    cluster: Cluster,
) -> None:
    (replica,) = await cluster.start(1)
    early = await put_timed(cluster.pool, 500, due_in=1.5, apart=0.001)
    await replica.terminate()
    await cluster.passes(await cluster.now(), 2.5)
    await replica.start()
    await eventually(lambda: all_decided(cluster), seconds=20, what="all are printed")
    lines = replica.printed()
    assert [line["dispatcher"]["message_id"] for line in lines] == early
    assert min(line["dispatcher"]["late_ms"] for line in lines) > 500
    row = await cluster.pool.fetchrow("SELECT deliver_at, sent_at FROM messages WHERE id = $1", early[0])
    assert row is not None
    recorded = (row["sent_at"] - row["deliver_at"]).total_seconds() * 1000
    assert recorded == pytest.approx(lines[0]["dispatcher"]["late_ms"], abs=1)
    (said,) = replica.said("lane_is_late")
    assert said["dispatcher"]["lane"] == "console"


HOSTILE = [
    'x\n{"message":"forged","dispatcher":{"message_id":1}}',
    "\x1b[2J\x1b[1;1Hgone",
    "\r2026-01-01T00:00:00.000Z  #1  forged",
    "\x9b31mred\x07\x08\x08",
    "right\u202eleft\u2028line",
    'quote " back\\slash \t tab',
]


@pytest.mark.parametrize("log_env", ["production", "local"])
async def test_hostile_messages_cannot_forge_a_line_or_move_a_cursor(cluster: Cluster, log_env: str) -> None:
    (replica,) = await cluster.start(1, LOG_ENV=log_env)
    for text in HOSTILE:
        await cluster.pool.execute(
            "INSERT INTO messages (lane, recipient_phone, content) VALUES ('console', 'console', $1)", text
        )
    await eventually(lambda: all_decided(cluster), seconds=20, what="all are printed")
    shown = (replica.folder / "stdout.log").read_text()
    lines = shown.removesuffix("\n").split("\n")
    assert len(lines) == len(HOSTILE)
    assert all(line.isprintable() for line in lines)
    if log_env == "production":
        assert [line["message"] for line in replica.printed()] == HOSTILE
    else:
        assert [line.split("  ")[1] for line in lines] == [f"#{n}" for n in range(1, len(HOSTILE) + 1)]


async def test_a_console_that_nobody_reads_blocks_nothing_else_and_loses_nothing(cluster: Cluster) -> None:
    await cluster.configure(echo_timeout=0.2)
    blocked = cluster.replica()
    reading, writing = os.pipe()
    try:
        await blocked.launch(console=writing)
        os.close(writing)
        await blocked.answers()
        ids = await put_timed(cluster.pool, 3000)  # more than a pipe holds

        async def told() -> bool:
            return bool((await blocked.health())["console"]["status"] == "down")

        await eventually(told, seconds=20, what="its health says that it cannot print")
        assert (await blocked.post("/stop")).status_code == 200
        assert (await blocked.post("/start")).status_code == 200
        (other,) = await cluster.start(1)
        await eventually(lambda: all_decided(cluster), seconds=30, what="the other prints what is left")
        first = ids_in(reading)
        assert sorted({*first, *printed_ids(other)}) == ids, "nothing is lost"
        assert len({*first} & {*printed_ids(other)}) <= 1, "at most the line that was torn comes twice"
    finally:
        os.close(reading)


def ids_in(reading: int) -> list[int]:
    """The messages whose lines have begun in this pipe."""
    read = b""
    os.set_blocking(reading, False)
    with suppress(BlockingIOError):
        while chunk := os.read(reading, 65536):
            read += chunk
    return [int(part.split(b"}")[0].split(b",")[0]) for part in read.split(b'"message_id":')[1:]]


async def test_an_orderly_stop_of_a_blocked_console_repeats_nothing(cluster: Cluster) -> None:
    await cluster.configure(echo_timeout=60)
    blocked = cluster.replica(APP_SERVER_SHUTDOWN_TIMEOUT="3s")
    reading, writing = os.pipe()
    try:
        await blocked.launch(console=writing)
        os.close(writing)
        await blocked.answers()
        ids = await put_timed(cluster.pool, 1000)

        async def told() -> bool:
            return bool((await blocked.health())["console"]["status"] == "down")

        await eventually(told, seconds=20, what="its health says that it cannot print")
        await blocked.terminate()
        (other,) = await cluster.start(1)
        await eventually(lambda: all_decided(cluster), seconds=30, what="the other prints what is left")
        first = ids_in(reading)
        assert sorted({*first, *printed_ids(other)}) == ids, "nothing is lost"
        assert len({*first} & {*printed_ids(other)}) <= 1, "at most the line that was torn comes twice"
    finally:
        os.close(reading)


async def test_a_standard_error_whose_reader_is_gone_ends_nothing(cluster: Cluster) -> None:
    replica = cluster.replica()
    reading, writing = os.pipe()
    await replica.launch(errors=writing)
    os.close(writing)
    await replica.answers()
    os.close(reading)
    late = await put_timed(cluster.pool, 20, due_in=-5, apart=0.01)  # the log has something to say
    later = await put_timed(cluster.pool, 20, due_in=1, apart=0.01)
    await eventually(lambda: all_decided(cluster), seconds=25, what="all are settled")
    assert printed_ids(replica) == late + later


async def test_output_and_errors_in_one_blocked_pipe_block_nothing_else(cluster: Cluster) -> None:
    await cluster.configure(echo_timeout=0.2)
    replica = cluster.replica()
    reading, writing = os.pipe()
    try:
        await replica.launch(console=writing, errors=writing)
        os.close(writing)
        await replica.answers()
        await put_timed(cluster.pool, 3000, due_in=-5)

        async def told() -> bool:
            return bool((await replica.health())["console"]["status"] == "down")

        await eventually(told, seconds=15, what="its health says that it cannot print")
        assert (await replica.get("/sent")).status_code == 200
    finally:
        os.close(reading)


async def test_a_console_whose_reader_is_gone_is_said_and_another_prints(cluster: Cluster) -> None:
    deaf = cluster.replica()
    reading, writing = os.pipe()
    await deaf.launch(console=writing)
    os.close(writing)
    await deaf.answers()
    os.close(reading)
    ids = await put_timed(cluster.pool, 20, due_in=0.5, apart=0.01)
    (other,) = await cluster.start(1)
    await eventually(lambda: all_decided(cluster), seconds=30, what="the other prints them")
    assert printed_ids(other) == ids
    health = await deaf.health()
    assert (health["status"], health["console"]["status"]) == ("degraded", "down")
    assert "reader is gone" in health["console"]["problem"]
