"""What the server's side of a WebSocket bounds: a client that asks and takes no answers, or takes nothing at all."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from dispatcher.chat.live.protocol import MAX_FRAME_BYTES
from dispatcher.cli.sockets import DirectSockets
from dispatcher.kernel.clock import elapsed

SMALL = 16 * 1024
"""Of the buffers of both sides' kernel, so that little fills them."""
PING = bytes((0x89, 0x80 | 125)) + bytes(4) + b"x" * 125
TEXT = bytes((0x81, 0x80 | 1)) + bytes(4) + b"x"
TEXT_BEGINS, NOTHING_MORE = bytes((0x01, 0x80, 0, 0, 0, 0)), bytes((0x00, 0x80, 0, 0, 0, 0))


class Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @property
    def connection(self) -> Any:
        (connection,) = self.server_state.connections
        return connection


@asynccontextmanager
async def talking_to(
    app: Callable[..., Any], *, ping_seconds: float = 30.0
) -> AsyncIterator[tuple[Server, ClientConnection]]:
    """A server, and a client whose kernel keeps little and who reads nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    config = uvicorn.Config(
        app,
        log_config=None,
        lifespan="off",
        ws=DirectSockets,
        ws_max_size=MAX_FRAME_BYTES,
        ws_ping_interval=ping_seconds,
        ws_ping_timeout=ping_seconds,
        ws_per_message_deflate=False,
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    end = socket.socket()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    end.setblocking(False)
    await asyncio.get_running_loop().sock_connect(end, listener.getsockname())
    try:
        async with connect(
            "ws://127.0.0.1/", sock=end, compression=None, ping_interval=None, close_timeout=0, proxy=None
        ) as client:
            client.transport.pause_reading()
            yield server, client
            client.transport.abort()
    finally:
        server.should_exit = True
        await serving


class Heard:
    """An application that takes everything, and says nothing."""

    def __init__(self) -> None:
        self.text = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            self.text.set()


async def test_pongs_that_nobody_takes_are_not_kept() -> None:
    heard = Heard()
    async with talking_to(heard) as (server, client):
        client.transport.write(PING * 20_000 + TEXT)
        async with asyncio.timeout(10):
            await heard.text.wait()
        assert server.connection.transport.get_write_buffer_size() < 512 * 1024
        client.transport.resume_reading()
        async with asyncio.timeout(5):
            await (await client.ping("still there?"))


async def test_a_frame_in_too_many_pieces_is_too_big() -> None:
    async with talking_to(Heard()) as (server, client):
        client.transport.write(TEXT_BEGINS + NOTHING_MORE * 20_000)
        client.transport.resume_reading()
        async with asyncio.timeout(5):
            await client.wait_closed()
        assert client.close_code == 1009
        assert not server.server_state.connections


async def test_a_client_that_takes_nothing_is_cut_off_when_it_misses_its_ping() -> None:
    ended = asyncio.Event()

    async def tell(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while True:
                await send({"type": "websocket.send", "text": "x" * 1000})
        finally:
            ended.set()

    async with talking_to(tell, ping_seconds=0.3):
        began = elapsed()
        async with asyncio.timeout(10):
            await ended.wait()
        assert elapsed() - began < 5
