"""History against a plain list: every page, from either end, around, within a span of time, in any combination."""

import asyncio
from datetime import UTC, date, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.chat import history
from dispatcher.chat.history import Span
from dispatcher.chat.ids import SHIFT, first_id, sent_at
from dispatcher.chat.message import ChatMessage
from dispatcher.chat.months import PARENT, Month
from dispatcher.chat.seat import Seat, find_seat
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.kernel.partitions import make_partition

BEGINS = datetime(2024, 11, 20, 12, tzinfo=UTC)
MONTHS = [Month(date(2024, 11, 1)).plus(n) for n in range(5)]
COUNT = 60
# Two in a millisecond, seconds, hours, and weeks across months that hold none.
GAPS = [timedelta(0), timedelta(milliseconds=1), timedelta(seconds=7), timedelta(hours=9), timedelta(days=3)]
TIMES = [BEGINS + sum((GAPS[n % 7 % 5] for n in range(count)), timedelta(0)) for count in range(COUNT)]
IDS = [first_id(moment) + n for n, moment in enumerate(TIMES)]
JOINED = 9
"""The second member came after so many messages."""

places = st.sampled_from(IDS).flatmap(lambda id_: st.sampled_from([id_ - 1, id_, id_ + 1])) | st.sampled_from(
    [0, 1, 2**63 - 1]
)
moments = st.none() | st.builds(
    lambda moment, off: moment + off,
    st.sampled_from(TIMES),
    st.sampled_from([timedelta(0), timedelta(microseconds=1), timedelta(microseconds=-1), timedelta(days=1)]),
)


async def fill(pool: Pool) -> int:
    """The conversation's id; another one has messages at the same times."""
    async with pool.acquire() as connection, connection.transaction():
        for month in MONTHS:
            await make_partition(
                connection, PARENT, month.name, begins=month.begins, ends=month.plus(1).begins
            )
        await connection.execute("INSERT INTO users (id) VALUES ('a'), ('b'), ('c')")
        places = []
        for low, high in (("a", "b"), ("a", "c")):
            place = await connection.fetchval(
                "INSERT INTO conversations (kind, low_user, high_user, last_seq, last_id) "
                "VALUES ('dm', $1, $2, $3, $4) RETURNING id",
                *(low, high, COUNT, IDS[-1]),
            )
            places.append(place)
            await connection.executemany(
                "INSERT INTO chat_messages (conversation_id, id, seq, sender_id, content) VALUES ($1, $2, $3, $4, $5)",
                [(place, id_, seq, high, f"{place} {seq}") for seq, id_ in enumerate(IDS, 1)],
            )
        for user_id, joined in (("a", 0), ("b", JOINED)):
            await connection.execute(
                """
                INSERT INTO members (conversation_id, user_id, joined_seq, joined_id, delivered_seq, read_seq)
                VALUES ($1, $2, $3, $4, $3, $3)
                """,
                *(places[0], user_id, joined, IDS[joined - 1] if joined else 0),
            )
    first: int = places[0]
    return first


def test_every_page_is_what_a_list_would_give(db_url: str) -> None:
    with asyncio.Runner() as runner:
        opened = connected_pool(db_url, application="test", size=2)
        pool = runner.run(opened.__aenter__())
        place = runner.run(fill(pool))
        seats = {who: runner.run(find_seat(pool, place, who)) for who in ("a", "b")}
        everything = [
            ChatMessage(place, id_, seq, "b", None, f"{place} {seq}") for seq, id_ in enumerate(IDS, 1)
        ]

        @settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(
            who=st.sampled_from(["a", "b"]),
            how=st.sampled_from(["newest", "before", "after", "around"]),
            at=places,
            limit=st.integers(1, 25),
            begins=moments,
            ends=moments,
        )
        def check(
            *, who: str, how: str, at: int, limit: int, begins: datetime | None, ends: datetime | None
        ) -> None:
            span = Span(begins, ends)
            within = [
                message
                for message in everything
                if (who == "a" or message.seq > JOINED)
                and (begins is None or message.sent_at >= begins)
                and (ends is None or message.sent_at < ends)
            ]
            page = runner.run(asked(pool, seats[who], how, at, limit=limit, span=span))
            old = within if how == "newest" else [message for message in within if message.id < at]
            new = [message for message in within if message.id >= (at if how == "around" else at + 1)]
            wanted = {
                "newest": old[-limit:],
                "before": old[-limit:],
                "after": new[:limit],
                "around": [*(old[-(limit // 2) :] if limit > 1 else []), *new[: limit - limit // 2]],
            }[how]
            assert list(page.messages) == wanted
            if wanted:
                # no claim that there is nothing more where there is
                assert page.older or not [m for m in within if m.id < wanted[0].id]
                assert page.newer or not [m for m in within if m.id > wanted[-1].id]

        try:
            check()
            runner.run(walks(pool, seats["a"], [message.id for message in everything]))
            runner.run(reach(pool, seats["b"], everything))
        finally:
            runner.run(opened.__aexit__(None, None, None))


async def asked(pool: Pool, seat: Seat, how: str, at: int, *, limit: int, span: Span) -> history.Page:
    if how == "newest":
        return await history.newest(pool, seat, limit=limit, span=span)
    ask = {"before": history.before, "after": history.after, "around": history.around}[how]
    return await ask(pool, seat, at, limit=limit, span=span)


async def walks(pool: Pool, seat: Seat, ids: list[int]) -> None:
    """From either end to the other, by what the pages say."""
    page = await history.newest(pool, seat, limit=7)
    seen = [message.id for message in page.messages]
    assert not page.newer
    while page.older:
        page = await history.before(pool, seat, seen[0], limit=7)
        seen = [*(message.id for message in page.messages), *seen]
    assert seen == ids
    page = await history.after(pool, seat, 0, limit=7)
    seen = [message.id for message in page.messages]
    assert not page.older
    while page.newer:
        page = await history.after(pool, seat, seen[-1], limit=7)
        seen += [message.id for message in page.messages]
    assert seen == ids


async def reach(pool: Pool, seat: Seat, everything: list[ChatMessage]) -> None:
    """All behind a number, or none of them when they are too many."""
    for seq in (0, JOINED - 1, JOINED, JOINED + 1, COUNT - 1, COUNT, COUNT + 5):
        found = await history.behind(pool, seat, seq, at_most=COUNT)
        assert found == [message for message in everything if message.seq > max(seq, JOINED)]
    assert await history.behind(pool, seat, COUNT - 10, at_most=9) is None


@given(moment=st.datetimes(datetime(1970, 1, 1), datetime(2248, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - of UTC
def test_an_id_holds_its_time(moment: datetime) -> None:
    id_ = first_id(moment)
    assert moment <= sent_at(id_) < moment + timedelta(milliseconds=1)
    assert sent_at(id_ - 1) < moment or id_ == 0
    assert id_ % (1 << SHIFT) == 0
