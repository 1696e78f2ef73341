"""A webhook that misbehaves in every way at once: each outcome as documented, and nobody else waits for it."""

from datetime import timedelta

import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Answer, Arrival, Receiver

OK_BODY = b'{"messageId": "kept"}'
ANSWERS = {
    "500": Answer(500, b"oops"),
    "429": Answer(429, b"slow down", headers=("retry-after: 1",)),
    "404": Answer(404, b"nobody here"),
    "301": Answer(301, b"", headers=("location: http://127.0.0.1:1/elsewhere",)),
    "hang": Answer(ending="hang"),
    "close": Answer(ending="close"),
    "endless": Answer(ending="endless"),
    "not json": Answer(200, b"{broken"),
    "slow": Answer(202, OK_BODY, delay=0.4),
}
ATTEMPTS = 2
EXPECTED = {
    # what it answers: state, attempts, outcome of the last one, status, words of the error
    "500": ("failed", ATTEMPTS, "retry", 500, "answered 500"),
    "429": ("failed", ATTEMPTS, "retry", 429, "answered 429"),
    "404": ("failed", 1, "rejected", 404, "check webhook_url"),
    "301": ("failed", ATTEMPTS, "retry", 301, "set webhook_url to the final address"),
    "hang": ("failed", ATTEMPTS, "retry", None, "no answer within 1 s"),
    "close": ("failed", ATTEMPTS, "retry", None, "closed without an answer"),
    "endless": ("sent", 1, "delivered", 200, None),
    "not json": ("sent", 1, "delivered", 200, None),
    "slow": ("sent", 1, "delivered", 202, None),
}
GOOD = 20


def by_content(arrival: Arrival) -> Answer:
    return ANSWERS.get(arrival.content, Answer())


@pytest.fixture
async def hostile(cluster: Cluster, receiver: Receiver) -> Cluster:
    receiver.answer = by_content
    await cluster.configure(
        rate_limit=100,
        scheduler_interval=0.2,
        webhook_timeout=1,
        lease_seconds=3,
        max_attempts=ATTEMPTS,
        backoff_base=0.05,
        webhook_url=receiver.url,
    )
    return cluster


@pytest.mark.alone
async def test_each_answer_has_its_documented_outcome_and_delays_no_other(
    hostile: Cluster, receiver: Receiver
) -> None:
    cluster = hostile
    ids = {kind: (await cluster.insert(1, content=kind))[0] for kind in ANSWERS}
    good = await cluster.insert(GOOD)
    (replica,) = await cluster.start(1)
    await cluster.reaches(sent=GOOD + 3, failed=6, seconds=20)

    for kind, (state, made, outcome, status, words) in EXPECTED.items():
        row = await cluster.pool.fetchrow("SELECT * FROM messages WHERE id = $1", ids[kind])
        attempts = await cluster.pool.fetch(
            "SELECT * FROM attempts WHERE message_id = $1 ORDER BY number", ids[kind]
        )
        assert row is not None
        assert (row["state"], row["attempt_count"], len(attempts)) == (state, made, made), kind
        assert [attempt["number"] for attempt in attempts] == list(range(1, made + 1)), kind
        assert (attempts[-1]["outcome"], attempts[-1]["status"]) == (outcome, status), kind
        assert receiver.times[ids[kind]] == made, kind
        if words is None:
            assert row["last_error"] is None
        else:
            assert words in row["last_error"], kind
            assert words in attempts[-1]["error"], kind
        assert row["receipt_id"] == ("kept" if kind == "slow" else None), kind
        for attempt in attempts:
            assert len(attempt["response_excerpt"] or "") <= 1024
            assert attempt["duration_ms"] < 1500, "one deadline"

    first, second = (arrival.at for arrival in receiver.arrivals if arrival.content == "429")
    assert second - first >= 1, "it asked to be left alone for a second"
    spread = await cluster.pool.fetchval(
        "SELECT max(started_at + duration_ms * interval '1 ms') - min(started_at) "
        "FROM attempts WHERE message_id = ANY($1)",
        good,
    )
    assert spread < timedelta(seconds=0.7), "the good ones waited for none of the others"
    failed = (await replica.get("/messages", params={"status": "failed"})).json()
    assert {message["id"] for message in failed} == {
        ids[kind] for kind in ids if EXPECTED[kind][0] == "failed"
    }
    assert (await replica.health())["status"] == "healthy"


async def test_hold_sends_nothing_twice_that_may_have_arrived(hostile: Cluster, receiver: Receiver) -> None:
    cluster = hostile
    await cluster.configure(on_uncertain="hold")
    ids = {kind: (await cluster.insert(1, content=kind))[0] for kind in ("hang", "close", "500")}
    (replica,) = await cluster.start(1)
    await cluster.reaches(uncertain=2, failed=1, seconds=20)
    held = (await replica.get("/messages", params={"status": "uncertain"})).json()
    assert {message["id"]: message["last_error"] for message in held} == {
        ids["hang"]: "no answer within 1 s",
        ids["close"]: "closed without an answer",
    }
    assert receiver.times == {ids["hang"]: 1, ids["close"]: 1, ids["500"]: ATTEMPTS}


async def test_as_many_hanging_answers_as_workers_and_afterwards_all_goes_on(
    hostile: Cluster, receiver: Receiver
) -> None:
    cluster = hostile
    await cluster.configure(webhook_concurrency=4, max_attempts=1, webhook_timeout=3)
    await cluster.insert(2, content="hang")
    await cluster.insert(2, content="endless")
    await cluster.insert(2, content="hang")
    good = await cluster.insert(GOOD)
    await cluster.start(1)
    await cluster.reaches(sent=GOOD + 2, failed=4, seconds=25)
    assert set(good) <= set(receiver.times)
    assert receiver.repeated == {}


async def test_a_receiver_that_is_away_costs_attempts_and_the_rate_counts_them(
    cluster: Cluster, receiver: Receiver
) -> None:
    """Retries spend the same budget: never more than `rate_limit` attempts a tick."""
    receiver.answer = lambda _: Answer(503, b"")
    await cluster.configure(
        rate_limit=3,
        scheduler_interval=0.2,
        max_attempts=4,
        backoff_base=0.01,
        breaker_failures=0,
        webhook_url=receiver.url,
    )
    await cluster.insert(6)
    await cluster.start(2)
    await cluster.reaches(failed=6, seconds=20)
    assert len(receiver.arrivals) == 24
    per_tick = await cluster.pool.fetch("SELECT count(*) AS made FROM attempts GROUP BY tick_no")
    assert max(row["made"] for row in per_tick) == 3
