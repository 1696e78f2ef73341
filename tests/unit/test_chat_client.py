"""What of the client needs no service: tokens, close codes, what is said again, what waits."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime

import jwt
import pytest

from dispatcher.client.closing import may_ask_again, may_connect_again
from dispatcher.client.errors import ClosedError, RefusedError
from dispatcher.client.events import Arrived, Typing
from dispatcher.client.mailbox import Mailbox
from dispatcher.client.models import Message
from dispatcher.client.outgoing import Outgoing
from dispatcher.client.token import TokenKeeper, due
from dispatcher.kernel.clock import unix_seconds


def message(seq: int, conversation_id: int = 1) -> Message:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    return Message(seq, conversation_id, seq, "bob", f"{seq}", now, None, None, None, None, None)


@pytest.mark.parametrize("code", [3000, 3003, 3499, 1000, 1001, 1006, 1011, 1012, 1013])
def test_connects_again(code: int) -> None:
    assert may_connect_again(code)


@pytest.mark.parametrize("code", [3500, 3504, 3999, 4000, 1002, 1008, 1009])
def test_does_not_connect_again(code: int) -> None:
    assert not may_connect_again(code)


def test_asks_again_what_may_be_answered_otherwise_later() -> None:
    assert [status for status in (400, 401, 403, 404, 408, 422, 429, 500, 503) if may_ask_again(status)] == [
        408,
        429,
        500,
        503,
    ]


def test_a_token_is_due_a_minute_before_its_end_or_when_a_fifth_is_left() -> None:
    def ends(at: float) -> str:
        return jwt.encode({"sub": "alice", "exp": at}, "a secret that is long enough for this")

    assert due(ends(4600), 1000) == 4600 - 60
    assert due(ends(1100), 1000) == 1100 - 20
    assert due(ends(900), 1000) == 900 + 20
    for no_end in ("", "text", "a.b.c", jwt.encode({"sub": "a"}, "a secret that is long enough for this")):
        assert due(no_end, 1000) is None


async def test_a_token_is_fetched_when_there_is_none_when_it_is_due_and_when_it_was_refused() -> None:
    ends = unix_seconds() + 3600
    given: list[str] = []

    async def fetch() -> str:
        claims = {"sub": "alice", "exp": ends, "n": len(given)}
        given.append(jwt.encode(claims, "a secret that is long enough for this"))
        return given[-1]

    keeper = TokenKeeper(fetch)
    first = await keeper.get()
    assert await keeper.get() == first
    assert await keeper.get(other_than="another") == first
    ends = unix_seconds() - 10
    second = await keeper.get(other_than=first)
    assert second == given[1] != first
    assert await keeper.get() == given[2]
    assert len(given) == 3
    assert await TokenKeeper("fixed").get(other_than="fixed") == "fixed"


async def test_says_again_what_has_no_answer_in_its_order_and_nothing_else() -> None:
    outgoing = Outgoing(lambda _: (7, 5))
    sends = [
        asyncio.create_task(outgoing.send({"content": str(number), "client_id": str(number)}))
        for number in range(3)
    ]
    await outgoing.wake.wait()
    outgoing.mark(1)
    outgoing.passing(type="typing", conversation_id=1)
    said = [json.loads(frame) for frame in iter(outgoing.take, None)]
    assert [one["content"] for one in said[:3]] == ["0", "1", "2"]
    assert [(one["type"], one.get("seq")) for one in said[3:]] == [("ack", 7), ("read", 5), ("typing", None)]

    outgoing.answered(said[1]["id"], message(2))
    assert await sends[1] == message(2)
    outgoing.passing(type="typing", conversation_id=1)
    outgoing.disconnected()
    outgoing.connected({1: (7, 4)})
    again = [json.loads(frame) for frame in iter(outgoing.take, None)]
    assert [one.get("client_id") for one in again] == ["0", "2", None, None]
    assert [one["type"] for one in again[2:]] == ["ack", "read"]

    outgoing.connected({1: (7, 5)})
    assert [json.loads(frame)["type"] for frame in iter(outgoing.take, None)] == ["send", "send"]
    outgoing.refused(said[0]["id"], RefusedError(404, "no"), again_in=None)
    with pytest.raises(RefusedError):
        await sends[0]
    outgoing.wake.clear()
    outgoing.refused(said[2]["id"], RefusedError(503, "later"), again_in=0.0)
    assert outgoing.take() is None
    async with asyncio.timeout(5):
        await outgoing.wake.wait()
    frame = outgoing.take()
    assert frame is not None
    assert json.loads(frame)["client_id"] == "2"
    outgoing.end(ClosedError("closed"))
    with pytest.raises(ClosedError):
        await sends[2]
    with pytest.raises(ClosedError):
        await outgoing.send({})


async def test_a_send_that_was_given_up_is_not_said() -> None:
    outgoing = Outgoing(lambda _: (0, 0))
    sending = asyncio.create_task(outgoing.send({"client_id": "1"}))
    await outgoing.wake.wait()
    sending.cancel()
    await asyncio.wait([sending])
    assert outgoing.take() is None


async def test_the_mailbox_is_bounded_and_ends_when_it_is_empty() -> None:
    mailbox = Mailbox(limit=4)
    for seq in range(4):
        await mailbox.room()
        mailbox.put(Arrived(message(seq)))
    mailbox.put(Typing(1, "bob"))  # dropped: many wait
    waiting = asyncio.create_task(mailbox.room())
    others = asyncio.create_task(mailbox.room())
    done, _ = await asyncio.wait([waiting, others], timeout=0)
    assert not done
    assert await mailbox.take() == Arrived(message(0))
    async with asyncio.timeout(5):
        await asyncio.gather(waiting, others)
    mailbox.end(ClosedError("closed"))
    assert [await mailbox.take() for _ in range(3)] == [Arrived(message(seq)) for seq in (1, 2, 3)]
    with pytest.raises(ClosedError):
        await mailbox.take()


def test_the_client_alone_imports_nothing_of_the_service() -> None:
    script = "import sys, dispatcher.client; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not {"pydantic", "fastapi", "asyncpg", "sqlalchemy", "structlog", "rich", "uvicorn"} & set(
        out.split()
    )
