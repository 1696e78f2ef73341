"""A small world of chat on two replicas, and what its clients see of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson
import pytest
from tests.acceptance.picture import Picture, Seen
from tests.acceptance.replica import eventually

from dispatcher.chat.change import edit, erase
from dispatcher.chat.group_members import add_member, remove_member
from dispatcher.chat.groups import add_group
from dispatcher.chat.happened import Tell, nobody
from dispatcher.chat.live import snapshot
from dispatcher.chat.live.endpoint import Endpoint
from dispatcher.chat.live.live import Live
from dispatcher.chat.mark import Mark, Marks, happened, mark
from dispatcher.chat.message import ChatMessage
from dispatcher.chat.open_dm import Pairs
from dispatcher.chat.send import NewChatMessage, Sender
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import DispatcherError
from dispatcher.kernel.lifecycle import background
from dispatcher.kernel.redis import BoundedRedis

AMID = "amid "
"""Not now, but when somebody's conversations are looked at next: behind Postgres's answer, before it is acted on."""
Step = tuple[str, int, int, int]
"""What; who; where, or which one; through which side."""


@dataclass(frozen=True, slots=True)
class Side:
    """One replica; or whoever writes and tells nobody."""

    tell: Tell
    sender: Sender
    live: Live | None
    endpoint: Endpoint | None


class Client:
    """One user's client, at one replica."""

    def __init__(self, user_id: str, side: Side) -> None:
        self.picture, self._side = Picture(user_id), side
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    @property
    def there(self) -> bool:
        return self._task is not None

    async def come(self) -> None:
        assert self._side.endpoint is not None
        self._in = asyncio.Queue()
        hello = {"type": "hello", "user_id": self.picture.user_id, "positions": self.picture.positions}
        self._in.put_nowait({"type": "websocket.connect"})
        self._in.put_nowait({"type": "websocket.receive", "text": orjson.dumps(hello).decode()})
        before = self.picture.connections
        self._task = asyncio.create_task(
            self._side.endpoint({"type": "websocket", "headers": []}, self._in.get, self._out)
        )

        async def greeted() -> bool:
            return self.picture.connections > before

        await eventually(greeted, seconds=5, what="hello")

    async def go(self) -> None:
        if self._task is not None:
            self._in.put_nowait({"type": "websocket.disconnect", "code": 1001})
            await self._task
            self._task = None

    async def _out(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            frame = orjson.loads(message["text"])
            assert frame["type"] not in {"error", "bye"}, frame
            left = frame["type"] == "conversation" and frame["what"] == "left"
            if left and self.picture.user_id in frame["user_ids"]:
                self.picture.seen.pop(frame["conversation_id"], None)
            self.picture.got(frame)


class World:
    """Three users, a conversation of two, one that is opened later, a group."""

    def __init__(self, pool: Pool, sides: Sequence[Side]) -> None:
        self.pool, self.sides = pool, sides
        self.ids = [f"{n}-{uuid4().hex[:8]}" for n in range(3)]
        self.group = 0
        self.sent: list[ChatMessage] = []
        self.clients: list[Client] = []
        self.amid: list[Step] = []

    async def begin(self) -> None:
        await self.pool.execute("INSERT INTO users (id) SELECT unnest($1::text[])", self.ids)
        self.group = (await add_group(self.pool, nobody, self.ids[0], "us", self.ids[1:])).conversation_id
        first = await Pairs(self.pool, nobody).open(*self.ids[:2])
        for number in range(6):
            client = Client(self.ids[number % 3], self.sides[number // 3])
            for id_ in (self.group, first):
                client.picture.seen[id_] = Seen(begun=True)
            self.clients.append(client)

    async def looked(self) -> None:
        """Somebody's conversations have been looked at."""
        while self.amid:
            await self.step(*self.amid.pop(0))

    async def step(self, what: str, who: int, where: int, via: int) -> None:
        if what.startswith(AMID):
            self.amid.append((what.removeprefix(AMID), who, where, via))
            return
        with suppress(DispatcherError):  # may not: no member, deleted
            await self._step(what, who, where, via)

    async def _step(self, what: str, who: int, where: int, via: int) -> None:
        side, me = self.sides[via], self.ids[who % 3]
        match what:
            case "come":
                if not self.clients[who].there:
                    await self.clients[who].come()
            case "go":
                await self.clients[who].go()
            case "join":
                await add_member(self.pool, side.tell, self.group, me, by=self.ids[0], role="member")
            case "leave":
                await remove_member(self.pool, side.tell, self.group, me, by=me)
            case "send":
                id_ = await self._place(side, who, where)
                result = await side.sender.send(NewChatMessage(id_, me, "as sent", uuid4().hex))
                self.sent.append(result.message)
            case "mark":
                await self._mark(side, await self._place(side, who, where), me)
            case _:
                await self._change(side, what, where)

    async def _mark(self, side: Side, id_: int, user_id: str) -> None:
        seq = await self.pool.fetchval("SELECT last_seq FROM conversations WHERE id = $1", id_)
        wanted = Mark(id_, user_id, delivered=seq, read=max(0, seq - 1))
        (outcome,) = await mark(self.pool, [wanted])
        if isinstance(outcome, Marks) and outcome.moved:
            side.tell(happened(wanted, outcome))

    async def _change(self, side: Side, what: str, nth: int) -> None:
        if not self.sent:
            return
        one = self.sent[-1 - nth % len(self.sent)]
        which = one.conversation_id, one.id, one.sender_id
        if what == "edit":
            await edit(self.pool, side.tell, *which, content=f"edited {uuid4().hex[:4]}")
        else:
            await erase(self.pool, side.tell, *which)

    async def end(self, *, told: bool) -> None:
        """All who are there see what there is; and if everything was `told`, without comparing."""
        if told:
            await self._all_see_what_there_is()
        for client in self.clients:
            if not client.there:
                await client.come()
        for side in self.sides:
            if side.live is not None and not told:
                await side.live.check()
        await self._all_see_what_there_is()
        for client in self.clients:
            await client.go()

    async def _all_see_what_there_is(self) -> None:
        for client in self.clients:
            if not client.there:
                continue

            async def same(client: Client = client) -> bool:
                shown, fresh = await self._shown(client.picture), await self._fresh(client.picture.user_id)
                if shown != fresh:
                    different = {
                        id_: (shown.get(id_), fresh.get(id_))
                        for id_ in shown.keys() | fresh.keys()
                        if shown.get(id_) != fresh.get(id_)
                    }
                    raise TimeoutError(str(different))
                return True

            await eventually(same, seconds=6, what=f"{client.picture.user_id} sees what there is")
            for id_, seen in client.picture.seen.items():
                assert seen.order == sorted(set(seen.order)), (id_, seen.order)

    async def _place(self, side: Side, who: int, where: int) -> int:
        if where == 0:
            return self.group
        return await Pairs(self.pool, side.tell).open(self.ids[who], self.ids[(who + where) % 3])

    async def _fresh(self, user_id: str) -> dict[int, Any]:
        rows = await self.pool.fetch(
            """
            SELECT m.conversation_id, m.joined_seq, c.kind,
                   array(SELECT (x.seq, x.content)::text FROM chat_messages x
                         WHERE x.conversation_id = c.id AND x.seq > m.joined_seq ORDER BY x.seq) AS messages,
                   array(SELECT (o.user_id, CASE WHEN o.user_id <> m.user_id THEN o.delivered_seq END, o.read_seq)::text FROM members o
                         WHERE o.conversation_id = c.id AND c.kind = 'dm' ORDER BY o.user_id) AS marks
            FROM members m JOIN conversations c ON c.id = m.conversation_id
            WHERE m.user_id = $1 AND m.left_seq IS NULL
            """,
            user_id,
        )
        return {row["conversation_id"]: (list(row["messages"]), list(row["marks"])) for row in rows}

    async def _shown(self, picture: Picture) -> dict[int, Any]:
        seats = await self.pool.fetch(
            "SELECT conversation_id, joined_seq, left_seq FROM members WHERE user_id = $1", picture.user_id
        )
        shown: dict[int, Any] = {}
        for seat in seats:
            id_ = seat["conversation_id"]
            seen = picture.seen.get(id_)
            if seen is None or (seat["left_seq"] is not None and not self._listed(picture, id_)):
                continue
            await self._page(id_, seen)
            messages = [
                f"({seq},{_quoted(one['content'])})"
                for seq, one in sorted(seen.messages.items())
                if seq > seat["joined_seq"]
            ]
            marks = (
                [
                    f"({who},{'' if who == picture.user_id else d},{r})"
                    for who, (d, r) in sorted(seen.marks.items())
                ]
                if id_ != self.group
                else []
            )
            shown[id_] = messages, marks
        return shown

    def _listed(self, picture: Picture, id_: int) -> bool:
        return any(one["id"] == id_ for one in picture.hello["conversations"]) and id_ in picture.seen

    async def _page(self, id_: int, seen: Seen) -> None:
        """Whatever it had to begin behind: read by pages, as a client does."""
        for seq in range(1, seen.seq + 1):
            if seq not in seen.messages:
                row = await self.pool.fetchrow(
                    "SELECT seq, content FROM chat_messages WHERE conversation_id = $1 AND seq = $2", id_, seq
                )
                assert row is not None
                seen.messages[seq] = dict(row)


def _quoted(content: str) -> str:
    return f'"{content}"' if " " in content or not content else content


@contextmanager
def amid(world: World) -> Iterator[None]:
    """Have the world take its steps that are to be amid a look."""
    look = snapshot.standings

    async def looked(pool: Pool, user_id: str) -> list[snapshot.Standing]:
        found = await look(pool, user_id)
        await world.looked()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "standings", looked)
        yield


@asynccontextmanager
async def replica(pool: Pool, redis_url: str, prefix: str, name: str) -> AsyncIterator[Side]:
    redis = BoundedRedis(redis_url, password=None, db=0, prefix=prefix)
    live = Live(pool, redis, redis_url, password=None, db=0, replica=name)
    sender = Sender(pool, live.tell)
    async with (
        background("sender", sender.run),
        live.running(
            sender, Pairs(pool, live.tell), tokens=None, key=None, origins=(), ping_seconds=20
        ) as endpoint,
    ):

        async def hears() -> bool:
            return not live._channels.deaf  # noqa: SLF001 - until then it compares instead

        await eventually(hears, seconds=5, what="a connection to Redis")
        yield Side(live.tell, sender, live, endpoint)
    await redis.close()
