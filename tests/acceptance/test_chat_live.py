"""Real time over two replicas, with a standard WebSocket client."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial
from uuid import uuid4

import jwt
import orjson
import pytest
import structlog
from redis.asyncio import Redis
from tests.acceptance.chatter import Chatter, add_dm, add_users, chatting
from tests.acceptance.cluster import Cluster, running_own_cluster
from tests.acceptance.receiver import Receiver
from tests.acceptance.replica import Replica, eventually
from tests.chaos.wire import running_wire
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dispatcher.chat.change import edit
from dispatcher.chat.groups import add_group
from dispatcher.chat.happened import nobody
from dispatcher.kernel.clock import elapsed, pause

log = structlog.get_logger()

LONG = int(os.environ.get("DISPATCHER_CHAT_SECONDS", "0"))
"""Seconds that the storms last: set for a longer run, e.g. DISPATCHER_CHAT_SECONDS=120."""
KEY = "the-operator's-key"
SECRET = "a secret of more than thirty-two bytes"
PUSH_AFTER, SLACK_SECONDS = 5.0, 5.0
CHECK_SECONDS = 12.0
"""The position check, with its jitter and a little for the machine."""


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with running_own_cluster(tmp_path_factory.mktemp("chat")) as cluster:
        for settings in (
            {"APP_CHAT_PING_INTERVAL": "1s"},
            {"APP_CHAT_PING_INTERVAL": "1s"},
            {"APP_TOKEN_SECRET": SECRET, "APP_API_KEY": KEY},
        ):
            cluster.replica(**settings)
        await asyncio.gather(*(replica.start() for replica in cluster.replicas))
        yield cluster
        for replica in cluster.replicas:
            said = replica.log_path.read_bytes()
            assert not [bug for bug in (b"chat_not_passed_on", b"loop_failed") if bug in said], replica


def token(sub: str, *, seconds: float = 60, secret: str = SECRET) -> str:
    return jwt.encode({"sub": sub, "exp": time.time() + seconds}, secret, algorithm="HS256")


async def people(cluster: Cluster, count: int) -> list[str]:
    ids = [f"{number}-{uuid4().hex[:8]}" for number in range(count)]
    await add_users(cluster.pool, *ids)
    return ids


def at(cluster: Cluster, number: int) -> Sequence[Replica]:
    return cluster.replicas[number : number + 1]


async def test_two_talk_on_two_replicas(stage: Cluster) -> None:
    alice_id, bob_id = await people(stage, 2)
    alice, bob, phone = (
        Chatter(alice_id, at(stage, 0)),
        Chatter(bob_id, at(stage, 1)),
        Chatter(bob_id, at(stage, 0)),
    )
    async with chatting(alice, bob, phone):
        sent = await alice.send_surely("1", "hello", receiver_id=bob_id)
        id_ = sent["conversation_id"]
        assert (await bob.has(id_, 1)).messages[1]["content"] == "hello"
        assert (await phone.has(id_, 1)).messages[1]["client_id"] is None  # it is alice's own
        again = await alice.ask("send", client_id="1", content="hello", receiver_id=bob_id)
        assert (again["repeated"], again["message"]["seq"]) == (True, 1)
        later = await alice.ask(
            "send", content="later", conversation_id=id_, timestamp="2100-01-01T00:00:00Z"
        )
        assert (later["type"], "later go in over REST" in later["detail"]) == ("error", True)
        await alice.say("send", content="x", conversation_id=id_, client_id="scheduled:1")
        await alice.hears(lambda frame: "the service's own" in str(frame.get("detail")))
        await bob.send_surely("1", "hello yourself", conversation_id=id_)
        assert (await alice.has(id_, 2)).contents == ["hello", "hello yourself"]

        await bob.say("read", conversation_id=id_, seq=2)
        for one in (alice, phone):  # the other one, and the reader's own other device
            await marks(one, id_, bob_id, (2, 2))
        await marks(bob, id_, alice_id, (2, 1))  # she has acknowledged
        await bob.say("read", conversation_id=id_, seq=9)
        problem = await bob.hears(lambda frame: frame["type"] == "error")
        assert problem["detail"] == f"seq: the latest message of conversation {id_} is 2"

        await alice.say("typing", conversation_id=id_)
        typed = await bob.hears(lambda frame: frame["type"] == "typing")
        assert typed == {"type": "typing", "conversation_id": id_, "user_id": alice_id}

        path = f"/api/v1/conversations/{id_}/messages/{sent['id']}"
        headers = {"X-Act-As": alice_id}
        replica = stage.replicas[0]
        assert (await replica.patch(path, json={"content": "hi"}, headers=headers)).status_code == 200
        assert (await replica.delete(path, headers=headers)).status_code in {200, 204}

        async def deleted() -> bool:
            return all(one.seen[id_].messages[1]["deleted_at"] is not None for one in (alice, bob, phone))

        await eventually(deleted, seconds=5, what="everybody knows that it is deleted")


async def test_presence_is_for_those_who_talk_to_each_other(stage: Cluster) -> None:
    alice_id, bob_id, stranger = await people(stage, 3)
    await add_dm(stage.pool, alice_id, bob_id)
    alice, bob = Chatter(alice_id, at(stage, 0)), Chatter(bob_id, at(stage, 1))
    async with chatting(alice):
        answer = await alice.ask("presence", user_ids=[bob_id, stranger])
        assert answer["users"] == [{"user_id": bob_id, "online": False}]
        async with chatting(bob):
            await alice.hears(lambda f: f.get("users") == [{"user_id": bob_id, "online": True}])
        await alice.hears(lambda f: f.get("users") == [{"user_id": bob_id, "online": False}])


async def test_a_group_changes_while_people_are_in_it(stage: Cluster) -> None:
    owner_id, member_id, late_id = await people(stage, 3)
    owner, member, late = (
        Chatter(who, at(stage, number)) for who, number in ((owner_id, 0), (member_id, 1), (late_id, 1))
    )
    replica, headers = stage.replicas[0], {"X-Act-As": owner_id}
    async with chatting(owner, member, late):
        made = await replica.post(
            "/api/v1/groups", json={"name": "us", "members": [member_id]}, headers=headers
        )
        id_ = made.json()["id"]
        await member.hears(lambda frame: frame["type"] == "conversation" and "conversation" in frame)
        await owner.send_surely("1", "one", conversation_id=id_)
        await member.has(id_, 1)
        await replica.post(f"/api/v1/groups/{id_}/members", json={"user_id": late_id}, headers=headers)
        await late.hears(lambda frame: frame["type"] == "conversation" and "conversation" in frame)
        await owner.send_surely("2", "two", conversation_id=id_)
        assert (await late.has(id_, 2)).contents == [
            "two"
        ]  # what was sent before is not for those who came later
        await member.has(id_, 2)
        await marks(owner, id_, late_id, (2, 1))  # and counts as read
        await replica.delete(f"/api/v1/groups/{id_}/members/{member_id}", headers=headers)
        await member.hears(lambda frame: frame.get("what") == "left")
        await owner.send_surely("3", "three", conversation_id=id_)
        await late.has(id_, 3)
        refused = await member.ask("send", content="me too", conversation_id=id_)
        assert (refused["type"], refused["status"]) == ("error", 403)
        assert 3 not in member.seen[id_].messages
        assert (await late.ask("sync", conversation_id=id_, seq=0, change=0))["messages"][0][
            "content"
        ] == "two"


async def test_whoever_comes_back_gets_what_they_missed_up_to_a_bound(stage: Cluster) -> None:
    alice_id, bob_id = await people(stage, 2)
    id_ = await add_dm(stage.pool, alice_id, bob_id)
    alice, bob = Chatter(alice_id, at(stage, 0)), Chatter(bob_id, at(stage, 1))
    async with chatting(alice):
        async with chatting(bob):
            await alice.send_surely("first", "first", conversation_id=id_)
            await bob.has(id_, 1)
        await asyncio.gather(*(alice.send_surely(str(n), str(n), conversation_id=id_) for n in range(150)))
        async with chatting(bob):
            seen = await bob.has(id_, 151)
            assert seen.order == list(range(1, 152))
            assert seen.skipped == 0
        await fill_up(stage, id_, alice_id, 400)
        async with chatting(bob):
            seen = await bob.has(id_, 551)
            assert seen.skipped == 1  # told to read by pages, and live goes on behind them
            assert max(seen.messages) == 151
            await alice.send_surely("last", "last", conversation_id=id_)
            assert (await bob.has(id_, 552)).contents[-1] == "last"


async def test_storm_of_broken_sockets(stage: Cluster) -> None:
    """Sockets break at random while everybody writes: each ends with every message, once, in order."""
    ids = await people(stage, 12)
    group = (await add_group(stage.pool, nobody, ids[0], "storm", ids[1:])).conversation_id
    pairs = [await add_dm(stage.pool, one, other) for one, other in zip(ids[::2], ids[1::2], strict=True)]
    chatters = [Chatter(who, stage.replicas) for who in ids]
    async with chatting(*chatters):
        storm = asyncio.create_task(kick(chatters))
        counts = await asyncio.gather(
            *(write(one, [group, pairs[n // 2]], seconds=LONG or 4) for n, one in enumerate(chatters))
        )
        storm.cancel()
        total = sum(counts)
        assert total > 30, "it was a storm"
        await everything(stage, chatters, ids)
    connections = sum(one.connections for one in chatters)
    assert connections > 3 * len(chatters), "sockets did break"
    log.info("storm", messages=total, users=len(chatters), connections=connections)


async def test_what_was_committed_and_never_told_is_found(stage: Cluster) -> None:
    alice_id, bob_id, carol_id = await people(stage, 3)
    id_ = await add_dm(stage.pool, alice_id, bob_id)
    bob = Chatter(bob_id, at(stage, 1))
    async with chatting(bob):
        mine = await bob.send_surely("1", "as sent", conversation_id=id_)
        # as by a replica that was killed right after its commits
        await edit(stage.pool, nobody, id_, int(mine["id"]), bob_id, content="edited")
        await fill_up(stage, id_, alice_id, 3)
        new = await add_dm(stage.pool, bob_id, carol_id)
        await fill_up(stage, new, carol_id, 2)
        assert (await bob.has(id_, 4, seconds=CHECK_SECONDS)).order == [1, 2, 3, 4]

        async def edited() -> bool:
            content: str = bob.seen[id_].messages[1]["content"]
            return content == "edited"

        await eventually(edited, seconds=CHECK_SECONDS, what="the edit is found too")
        assert (await bob.has(new, 2, seconds=CHECK_SECONDS)).order == [1, 2]


async def test_redis_flushed_stopped_and_restarted_in_mid_traffic(stage: Cluster) -> None:
    ids = await people(stage, 6)
    group = (await add_group(stage.pool, nobody, ids[0], "redis", ids[1:])).conversation_id
    pairs = [await add_dm(stage.pool, one, other) for one, other in zip(ids[::2], ids[1::2], strict=True)]
    chatters = [Chatter(who, at(stage, number % 2)) for number, who in enumerate(ids)]
    redis = stage.servers.redis
    assert redis is not None
    async with chatting(*chatters):
        writing = asyncio.gather(
            *(write(one, [group, pairs[n // 2]], seconds=LONG or 4) for n, one in enumerate(chatters))
        )
        async with Redis.from_url(stage.redis_url) as connection:
            await connection.flushall()
        await pause(0.3)
        await redis.stop(kill=True)
        mark = await last_seq(stage, group)
        for one in chatters:  # without Redis it takes longer, and no more than that
            await one.has(group, mark, seconds=5)
        await redis.start()
        total = sum(await writing)
        await everything(stage, chatters, ids)
        assert all(one.connections == 1 for one in chatters), "nobody had to come back for it"
        log.info("redis_gone", messages=total, users=len(chatters))

        async def quick() -> bool:
            began = elapsed()
            sent = await chatters[0].send_surely(uuid4().hex, "quick", conversation_id=group)
            await chatters[1].has(group, sent["seq"])
            return elapsed() - began < 0.3

        await eventually(quick, seconds=15, what="Redis carries again")


async def test_half_open_sockets_are_closed(stage: Cluster) -> None:
    """The path goes dead without a word: the server notices by its pings, the client by missing them."""
    alice_id, bob_id = await people(stage, 2)
    await add_dm(stage.pool, alice_id, bob_id)
    replica = stage.replicas[0]
    async with running_wire(partial(asyncio.open_connection, "127.0.0.1", replica.port)) as wire:
        alice, bob = Chatter(alice_id, at(stage, 1)), Chatter(bob_id, [wire])
        async with chatting(alice), chatting(bob):
            first = await alice.send_surely("1", "there?", receiver_id=bob_id)
            await bob.has(first["conversation_id"], 1)
            await alice.ask("presence", user_ids=[bob_id])
            wire.cut()
            await alice.hears(lambda f: f.get("users") == [{"user_id": bob_id, "online": False}], seconds=10)
            await alice.send_surely("2", "gone?", receiver_id=bob_id)
            assert bob.seen[first["conversation_id"]].seq == 1
            wire.heal(late=False)
            bob.kick()
            await bob.has(first["conversation_id"], 2)  # it comes back and has missed nothing


async def test_whoever_is_cut_off_without_knowing_is_called(stage: Cluster, receiver: Receiver) -> None:
    """The path takes everything and brings nothing; pings are rare enough that the user still seems to be there."""
    alice_id, bob_id = await people(stage, 2)
    id_ = await add_dm(stage.pool, alice_id, bob_id)
    replica = stage.replicas[2]
    await stage.configure(push_webhook_url=receiver.url)

    async def pushing() -> bool:
        values = [(await one.health())["live_config"]["values"] for one in stage.replicas]
        return all(one["push_webhook_url"] and one["push_after"] == PUSH_AFTER for one in values)

    async with running_wire(partial(asyncio.open_connection, "127.0.0.1", replica.port)) as path:
        alice = Chatter(alice_id, [replica], token=token(alice_id))
        bob = Chatter(bob_id, [path], token=token(bob_id))
        async with chatting(alice, bob):
            await eventually(pushing, seconds=10, what="all know whom to call")
            first = await alice.send_surely("1", "there?", conversation_id=id_)
            await marks(alice, id_, bob_id, (1, 0))
            path.cut()
            began = elapsed()
            await alice.send_surely("2", "and now?", conversation_id=id_)

            async def called() -> bool:
                return bool(receiver.arrivals)

            await eventually(called, seconds=2 * PUSH_AFTER + SLACK_SECONDS, what="a call")
            assert receiver.arrivals[0].at - began > PUSH_AFTER
            assert [(one.to, one.content) for one in receiver.arrivals] == [(bob_id, "and now?")]
            present = await alice.ask("presence", user_ids=[bob_id])
            assert present["users"] == [{"user_id": bob_id, "online": True}], (
                "it is not presence that decides"
            )
            assert first["seq"] == bob.seen[id_].seq == 1
    await stage.delete("push_webhook_url")


async def test_a_slow_reader_is_closed_and_holds_nobody_up(stage: Cluster) -> None:
    ids = await people(stage, 7)
    group = (await add_group(stage.pool, nobody, ids[0], "slow", ids[1:])).conversation_id
    replica = stage.replicas[2]  # with pings that leave it the time to be slow
    others = [Chatter(who, [replica], token=token(who)) for who in ids[1:]]
    for one in others:
        one.acks = False
    async with (
        chatting(*others),
        connect(
            f"ws://127.0.0.1:{replica.port}/ws", compression=None, ping_interval=None, max_queue=1, proxy=None
        ) as slow,
    ):
        await slow.send(orjson.dumps({"type": "hello", "token": token(ids[0])}).decode())
        await slow.recv()
        long = "\N{GRINNING FACE}" * 4000  # and from here on it reads nothing
        await asyncio.gather(
            *(
                one.send_surely(f"{number}", long, conversation_id=group)
                for one in others
                for number in range(180)
            )
        )
        for one in others:
            await one.has(group, 6 * 180, seconds=20)
        assert not replica.said("chat_socket_failed")
        async with asyncio.timeout(10):
            with suppress(ConnectionClosed):
                while await slow.recv():
                    pass
        assert slow.close_code in {3001, 1006}, "told to come back, or cut where nothing went through"


async def test_who_may_come_in(stage: Cluster) -> None:
    (known,) = await people(stage, 1)
    replica = stage.replicas[2]

    async def says(hello: object, **options: object) -> tuple[dict[str, object], int | None]:
        url = f"ws://127.0.0.1:{replica.port}/ws"
        async with connect(url, proxy=None, **options) as socket:  # type: ignore[arg-type]  # as given
            await socket.send(hello if isinstance(hello, str) else orjson.dumps(hello).decode())
            answer = orjson.loads(await socket.recv())
            if answer["type"] != "hello" or answer["expires_at"]:
                with suppress(ConnectionClosed):
                    async with asyncio.timeout(3):
                        await socket.wait_closed()
            return answer, socket.close_code

    hello = {"type": "hello", "id": 1}
    assert (await says(hello))[1] == 3500
    assert (await says(hello | {"token": "x"}))[1] == 3500
    assert (await says(hello | {"token": token(known, seconds=-60)}))[1] == 3500
    assert (await says(hello | {"token": token(known, secret=SECRET[::-1])}))[1] == 3500
    assert (await says(hello | {"user_id": known}))[1] == 3500
    assert (await says(hello | {"token": token("nobody-here")}))[1] == 3504
    assert (await says({"type": "ping"}))[1] == 3502
    assert (await says("no JSON"))[1] == 3502
    answer, _ = await says(hello | {"user_id": known}, additional_headers={"X-API-Key": KEY})
    assert (answer["type"], answer["user_id"]) == ("hello", known)
    answer, code = await says(hello | {"token": token(known, seconds=1)})
    assert (answer["type"], code) == ("hello", 3003)  # the token ends, and so does the socket
    mine = f"http://127.0.0.1:{replica.port}"
    answer, _ = await says(hello | {"token": token(known, seconds=1)}, origin=mine)
    assert answer["type"] == "hello"
    with pytest.raises(InvalidStatus, match="403"):
        await says(hello, origin="https://evil.example")


async def test_an_orderly_end_sends_everybody_away(stage: Cluster) -> None:
    ids = await people(stage, 4)
    group = (await add_group(stage.pool, nobody, ids[0], "drain", ids[1:])).conversation_id
    replica = stage.replicas[2]
    chatters = [Chatter(who, [replica], token=token(who)) for who in ids[:3]]
    stayer = Chatter(ids[3], at(stage, 0))
    async with chatting(stayer, *chatters):
        await stayer.send_surely("1", "one", conversation_id=group)
        await chatters[0].has(group, 1)
        began = elapsed()
        assert await replica.terminate() == 0
        assert elapsed() - began < 15
        for one in chatters:
            assert one.closed[0][0] == 3000
            bye = await one.hears(lambda frame: frame["type"] == "bye")
            assert bye["reconnect"]
            assert 0 <= bye["after_ms"] <= 2000
            one.places, one.token = at(stage, 1), None
        await stayer.send_surely("2", "two", conversation_id=group)
        for one in chatters:
            await one.has(group, 2)


async def test_a_replica_killed_between_commit_and_telling(stage: Cluster) -> None:
    """SIGKILL at any moment: whoever is on another replica has everything within the position check."""
    ids = await people(stage, 4)
    group = (await add_group(stage.pool, nobody, ids[0], "kill", ids[1:])).conversation_id
    writers = [Chatter(who, at(stage, 0)) for who in ids[:2]]
    readers = [Chatter(who, at(stage, 1)) for who in ids[2:]]
    victim, rounds = stage.replicas[0], max(1, LONG // 20)
    async with chatting(*readers):
        for number in range(rounds):
            async with chatting(*writers):
                writing = [asyncio.create_task(write(one, [group], seconds=60)) for one in writers]
                await pause(random.uniform(0.2, 0.6))
                await victim.kill()
                for task in writing:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
                last = await last_seq(stage, group)
                assert last > 0
                began = elapsed()
                for reader in readers:
                    await reader.has(group, last, seconds=CHECK_SECONDS)
                assert elapsed() - began < CHECK_SECONDS
                if number + 1 < rounds:
                    await victim.start()
        await everything(stage, readers, ids[2:])
        log.info("kills", messages=await last_seq(stage, group), kills=rounds)


async def marks(one: Chatter, conversation_id: int, user_id: str, wanted: tuple[int, int]) -> None:
    async def there() -> bool:
        if (now := one.seen[conversation_id].marks.get(user_id)) != wanted:
            raise TimeoutError(f"{now}")
        return True

    await eventually(there, seconds=CHECK_SECONDS, what=f"{one.user_id} knows that {user_id} is at {wanted}")


async def last_seq(stage: Cluster, conversation_id: int) -> int:
    seq: int = await stage.pool.fetchval("SELECT last_seq FROM conversations WHERE id = $1", conversation_id)
    return seq


async def fill_up(stage: Cluster, conversation_id: int, sender_id: str, count: int) -> None:
    """Messages that nobody is told of."""
    await stage.pool.execute(
        """
        WITH numbered AS (
            UPDATE conversations SET last_seq = last_seq + $3, last_id = last_id + $3 WHERE id = $1
            RETURNING last_seq - $3 AS seq, last_id - $3 AS id
        )
        INSERT INTO chat_messages (conversation_id, id, seq, sender_id, content)
        SELECT $1, numbered.id + n, numbered.seq + n, $2, n::text FROM numbered, generate_series(1, $3::bigint) n
        """,
        conversation_id,
        sender_id,
        count,
    )


async def kick(chatters: Sequence[Chatter]) -> None:
    while True:
        await pause(random.uniform(0, 0.08))
        random.choice(chatters).kick()


async def write(one: Chatter, conversations: Sequence[int], *, seconds: float) -> int:
    """Messages, one after the other, for so long; how many. Each is sent until it is known to be in."""
    until, count = elapsed() + seconds, 0
    while elapsed() < until:
        content = f"{one.user_id} {count}"
        await one.send_surely(f"c{count}", content, conversation_id=random.choice(conversations))
        count += 1
        await pause(random.uniform(0, 0.03))
    return count


async def everything(stage: Cluster, chatters: Sequence[Chatter], ids: Sequence[str]) -> None:
    """Everybody has exactly what Postgres has of each of their conversations, each message once, in order."""
    for one, user_id in zip(chatters, ids, strict=True):
        rows = await stage.pool.fetch(
            "SELECT conversation_id FROM members WHERE user_id = $1 AND left_seq IS NULL", user_id
        )
        for row in rows:
            id_ = row["conversation_id"]
            messages = await stage.pool.fetch(
                "SELECT seq, content FROM chat_messages WHERE conversation_id = $1 ORDER BY id", id_
            )
            if not messages:
                continue
            seen = await one.has(id_, len(messages), seconds=20)
            assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
            assert seen.order == list(range(1, len(messages) + 1))
            assert seen.contents == [message["content"] for message in messages]
            assert seen.skipped == 0
