"""The Python client over two replicas behind a load balancer."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import uuid4

import jwt
import pytest
from tests.acceptance.balancer import Balancer, running_balancer
from tests.acceptance.chatter import add_users
from tests.acceptance.cluster import Cluster

from dispatcher.client import (
    Arrived,
    Changed,
    ChatClient,
    ClosedError,
    Connected,
    Disconnected,
    Event,
    Message,
    Position,
    Presence,
    Receipts,
    RefusedError,
    Typing,
    UnreachableError,
    chat_api,
)
from dispatcher.kernel.clock import pause, unix_seconds

SECRET = "a secret of tests that is long enough"
E = TypeVar("E")
SECONDS = 30.0


@pytest.fixture(scope="module")
async def stage(chat_cluster: Cluster) -> Cluster:
    await chat_cluster.start(2, APP_TOKEN_SECRET=SECRET)
    return chat_cluster


@pytest.fixture
async def front(stage: Cluster) -> AsyncIterator[Balancer]:
    async with running_balancer(stage.replicas) as balancer:
        yield balancer


class Person:
    """A user whose client takes everything, and remembers."""

    def __init__(self, user_id: str, *, seconds: int = 600) -> None:
        self.user_id, self.seconds = user_id, seconds
        self.tokens = 0
        self.events: list[Event] = []
        self.changed = asyncio.Event()

    def token(self) -> str:
        self.tokens += 1
        return jwt.encode({"sub": self.user_id, "exp": unix_seconds() + self.seconds}, SECRET)

    @asynccontextmanager
    async def at(
        self, url: str, positions: Mapping[int, Position] | None = None
    ) -> AsyncIterator[ChatClient]:
        async with ChatClient(url, token=self.token, positions=positions) as client:
            task = asyncio.create_task(self._take(client))
            yield client
        await task

    async def _take(self, client: ChatClient) -> None:
        async for event in client.events():
            self.events.append(event)
            self.changed.set()

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def messages(self) -> list[Message]:
        return [event.message for event in self.all(Arrived)]

    async def until(self, true: Callable[[], object], what: str = "") -> None:
        try:
            async with asyncio.timeout(SECONDS):
                while not true():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"{self.user_id}: not {what}: {self.events[-20:]}") from None


async def people(front: Balancer, count: int, *, seconds: int = 600) -> list[Person]:
    tag = uuid4().hex[:6]
    persons = [Person(f"{name}-{tag}", seconds=seconds) for name in ("alice", "bob", "carol")[:count]]
    for one in persons:
        async with chat_api(front.url, token=one.token) as api:
            await api.add_user()
    return persons


async def test_two_people_talk(front: Balancer) -> None:
    alice, bob = await people(front, 2)
    async with alice.at(front.url) as hers, bob.at(front.url) as his:
        sent = await hers.send("Hello Bob", to=bob.user_id)
        talk = sent.conversation_id
        await bob.until(bob.messages, "a message")
        assert [(one.seq, one.content) for one in bob.messages()] == [(1, "Hello Bob")]
        # taken is delivered, without a word of the application's
        await alice.until(lambda: Receipts(talk, {bob.user_id: (1, 0)}) in alice.events, "delivered")
        his.read(talk, 1)
        await alice.until(lambda: Receipts(talk, {bob.user_id: (1, 1)}) in alice.events, "read")
        his.typing(talk)
        await alice.until(lambda: Typing(talk, bob.user_id) in alice.events, "typing")
        his.watch([alice.user_id])
        await bob.until(lambda: Presence({alice.user_id: True}) in bob.events, "presence")
        await hers.api.edit(sent, "Hello, Bob")
        await bob.until(lambda: bob.all(Changed), "an edit")
        assert bob.all(Changed)[0].message.content == "Hello, Bob"
        assert (await hers.api.receipts(sent)).by == {bob.user_id: "read"}
        with pytest.raises(RefusedError) as refused:
            await hers.send("Hello", to="nobody")
        assert refused.value.status == 404
        with pytest.raises(RefusedError, match="receiver_id"):
            await hers.send("Hello", to="no user's id")
        for content in ("", "x" * 4097, "a\0"):
            for _ in range(8):  # the service would close the socket at the 21st
                with pytest.raises(RefusedError, match="content"):
                    await hers.send(content, to=bob.user_id)
        await hers.send("x" * 4096, to=bob.user_id)
    assert not alice.all(Disconnected)


async def test_every_message_once_in_order_under_kicks_and_restarts(stage: Cluster, front: Balancer) -> None:
    alice, bob, carol = await people(front, 3)
    kicks = random.Random(5)
    async with (
        alice.at(front.url) as hers,
        bob.at(front.url) as his,
        carol.at(front.url) as carols,
    ):
        group = (await hers.api.add_group("Friends", [bob.user_id, carol.user_id])).id
        count = 20

        async def say(client: ChatClient, name: str) -> None:
            for number in range(count):
                await client.send(f"{name} {number}", to=group)
                await pause(0.05)

        async def kick() -> None:
            while True:
                await pause(kicks.uniform(0.2, 0.8))
                front.cut()

        kicking = asyncio.create_task(kick())
        saying = asyncio.gather(say(hers, "a"), say(his, "b"), say(carols, "c"))
        await alice.until(lambda: len(alice.messages()) > count, "some messages")
        await stage.replicas[0].terminate()
        await stage.replicas[0].start()
        await stage.replicas[1].kill()
        await stage.replicas[1].start()
        await saying
        kicking.cancel()
        for person in (alice, bob, carol):
            await has_everything(person, count)
        assert front.connections > 10


async def has_everything(person: Person, count: int) -> None:
    await person.until(lambda: len(person.messages()) >= 3 * count, "everything")
    assert [one.seq for one in person.messages()] == list(range(1, 3 * count + 1))
    for name in "abc":
        said = [one.content for one in person.messages() if one.content.startswith(name)]
        assert said == [f"{name} {number}" for number in range(count)]
    assert person.all(Disconnected)


async def test_racing_duplicates_are_one_message(front: Balancer) -> None:
    alice, bob = await people(front, 2)
    async with alice.at(front.url) as one, alice.at(front.url) as other, bob.at(front.url):
        sent = await asyncio.gather(
            *(client.send("once", to=bob.user_id, client_id="1") for client in (one, other) for _ in range(5))
        )
        assert len({(message.seq, message.id) for message in sent}) == 1
        last = await one.send("last", to=bob.user_id)
        await bob.until(lambda: len(bob.messages()) > 1, "the last message")
        assert [message.content for message in bob.messages()] == ["once", "last"]
        assert last.seq == 2


async def test_goes_on_from_positions_however_much_was_missed(front: Balancer) -> None:
    alice, bob, carol = await people(front, 3)
    async with alice.at(front.url) as hers:
        async with bob.at(front.url) as his:
            first = await hers.send("0", to=bob.user_id)
            talk = first.conversation_id
            await bob.until(bob.messages, "a message")
        positions = his.positions
        assert positions[talk].seq == 1
        # beyond what the service pushes after a hello, and a conversation that did not exist
        for start in range(1, 401, 100):
            await asyncio.gather(*(hers.send(str(start + n), to=talk) for n in range(100)))
        async with carol.at(front.url) as carols:
            await carols.send("new", to=bob.user_id)
        async with bob.at(front.url, positions) as his:
            await hers.send("live", to=talk)
            await bob.until(lambda: len(bob.messages()) == 403, "everything")
        got = [one for one in bob.messages() if one.conversation_id == talk]
        assert [one.seq for one in got] == list(range(1, 403))
        assert got[-1].content == "live"
        assert [one.content for one in bob.messages() if one.sender_id == carol.user_id] == ["new"]

        oldest_first = [one.seq async for one in hers.api.newer(bob.user_id)]
        newest_first = [one.seq async for one in hers.api.older(talk)]
        assert oldest_first == list(range(1, 403))
        assert newest_first == oldest_first[::-1]


async def test_conversations_that_a_hello_does_not_list(stage: Cluster, front: Balancer) -> None:
    alice, bob, carol = await people(front, 3)
    others = [f"{number}-{uuid4().hex[:8]}" for number in range(205)]
    await add_users(stage.pool, *others)
    async with alice.at(front.url) as hers:
        for text in ("1", "2", "3"):
            await hers.send(text, to=bob.user_id)
        await asyncio.gather(*(hers.send("hello", to=other) for other in others))
    alice.events.clear()
    async with alice.at(front.url), bob.at(front.url) as his, carol.at(front.url) as carols:
        assert len(alice.all(Connected)[0].conversations) == 200
        await his.send("4", to=alice.user_id)
        await alice.until(alice.messages, "a message")
        front.cut()
        await asyncio.gather(his.send("5", to=alice.user_id), carols.send("new", to=alice.user_id))
        await alice.until(lambda: len(alice.messages()) >= 3, "what was missed")
        await his.send("6", to=alice.user_id)
        await alice.until(lambda: alice.messages()[-1].content == "6", "what comes then")
        got = sorted((one.content, one.seq) for one in alice.messages())
        assert got == [("4", 4), ("5", 5), ("6", 6), ("new", 1)]


async def test_outlives_its_tokens(front: Balancer) -> None:
    alice, bob = await people(front, 2, seconds=6)
    async with alice.at(front.url) as hers, bob.at(front.url):
        before = alice.tokens
        await alice.until(lambda: alice.tokens > before + 1 or _wake_soon(alice), "a third token")
        await hers.send("still here", to=bob.user_id)
        await bob.until(bob.messages, "a message")
    assert len(alice.all(Connected)) == 1  # they were handed over, though the first ended long ago


def _wake_soon(person: Person) -> bool:
    asyncio.get_running_loop().call_later(0.1, person.changed.set)
    return False


async def test_says_why_it_cannot_connect(front: Balancer) -> None:
    with pytest.raises(ClosedError, match="no user here yet") as closed:
        async with ChatClient(front.url, token=Person("nobody").token()):
            pass
    assert closed.value.code == 3504
    with pytest.raises(ClosedError, match="the token is refused"):
        async with ChatClient(front.url, token="forged"):
            pass
    with pytest.raises(UnreachableError, match="no service answers"):
        async with ChatClient("http://127.0.0.1:1", token="any", patience=0.3):
            pass
