"""How a client ends: with what went wrong, when it is told to, and without leaving anything open."""

import asyncio
import json
from functools import partial
from uuid import uuid4

import jwt
import pytest
from tests.chaos.wire import running_wire
from websockets.asyncio.server import ServerConnection, serve

from dispatcher.client import ChatClient, Connected, Position, RefusedError
from dispatcher.client.api import ChatApi
from dispatcher.client.gaps import Gaps
from dispatcher.client.http import Http
from dispatcher.client.mailbox import Mailbox
from dispatcher.client.token import TokenKeeper
from dispatcher.client.track import Track
from dispatcher.kernel.clock import unix_seconds


async def greet(socket: ServerConnection) -> None:
    """What any service says first; and then nothing."""
    await socket.recv()
    await socket.send(json.dumps({"type": "hello", "user_id": "alice", "conversations": [], "more": False}))
    await socket.wait_closed()


async def test_what_the_applications_own_function_raises_comes_out_where_it_waits() -> None:
    def no_token() -> str:
        raise KeyError("no token")

    client = ChatClient("http://127.0.0.1:1", token=no_token)
    with pytest.raises(KeyError, match="no token"):
        async with client:
            pass
    with pytest.raises(KeyError, match="no token"):
        await client.next_event()
    with pytest.raises(KeyError, match="no token"):
        await client.send("hello", to="bob")


async def test_what_cannot_be_said_is_refused_at_once() -> None:
    async with serve(greet, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with ChatClient(url, user_id="alice") as client, asyncio.timeout(5):
            for content, client_id in (("half a pair: \ud83d", None), ("hello", "\udc00")):
                with pytest.raises(RefusedError, match="surrogate"):
                    await client.send(content, to="bob", client_id=client_id)
            with pytest.raises(TypeError, match="UUID"):
                await client.send("hello", to=uuid4())  # type: ignore[arg-type]  # what nobody checks


async def test_what_breaks_beside_reading_ends_the_client_and_is_told() -> None:
    tokens = ["", "the first"]

    def fetch() -> str:
        if not tokens.pop():
            raise KeyError("no second token")
        ends = unix_seconds() + 1
        return jwt.encode({"sub": "alice", "exp": ends}, "a secret that is long enough for this")

    async with serve(greet, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with ChatClient(url, user_id="alice") as client, asyncio.timeout(5):
            assert isinstance(await client.next_event(), Connected)
            client.typing(uuid4())  # type: ignore[arg-type]  # what nobody checks
            with pytest.raises(TypeError, match="UUID"):
                await client.next_event()
        async with ChatClient(url, token=fetch) as client, asyncio.timeout(20):
            assert isinstance(await client.next_event(), Connected)
            with pytest.raises(KeyError, match="no second token"):
                await client.next_event()


async def test_who_leaves_is_not_held_up_for_longer_than_they_want_to_wait() -> None:
    """The connection is dead: to close it takes a while, and the caller's own timeout counts meanwhile."""
    async with (
        serve(greet, "127.0.0.1", 0) as server,
        running_wire(
            partial(asyncio.open_connection, "127.0.0.1", server.sockets[0].getsockname()[1])
        ) as path,
    ):
        client = await ChatClient(f"http://127.0.0.1:{path.port}", user_id="alice").__aenter__()
        assert isinstance(await client.next_event(), Connected)
        path.cut()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await client.__aexit__(None, None, None)
        path.heal(late=True)


async def test_a_gap_is_passed_over_where_the_user_is_no_longer_and_not_where_nobody_knows() -> None:
    for status, gone in ((403, True), (404, True), (401, False), (422, False)):

        async def answer(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int = status
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f'HTTP/1.1 {status} x\r\ncontent-length: 17\r\n\r\n{{"detail": "no!"}}'.encode())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        http = Http(url, token=TokenKeeper("over"), user_id=None, api_key=None, tls=True)
        gaps, track = Gaps(ChatApi(http), Mailbox()), Track(Position(3, id=30))
        track.exists(5)
        gaps.want(1, track)
        filling = asyncio.create_task(gaps.run())
        if gone:
            async with asyncio.timeout(5):
                while track.missing:
                    await asyncio.wait([filling], timeout=0.01)
            filling.cancel()
        else:
            with pytest.raises(RefusedError, match="no!"):
                await asyncio.wait_for(filling, 5)
            assert track.position == Position(3, id=30), "what is missing is missing still"
        await asyncio.wait([filling])
        await http.close()
        server.close()
