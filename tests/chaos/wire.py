"""A TCP path to one server that can go dead without closing: the black hole that a lost firewall state leaves."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from urllib.parse import parse_qs, urlsplit

CHUNK_BYTES = 64 * 1024

Dial = Callable[[], Awaitable[tuple[StreamReader, StreamWriter]]]
"""Opens a connection to the server."""


class _Link:
    """One connection through the wire."""

    def __init__(self, *, flows: bool) -> None:
        self._gate = asyncio.Event()
        self._dead = False
        if flows:
            self._gate.set()

    def hold(self) -> None:
        self._gate.clear()

    def go_on(self, *, dead: bool) -> None:
        """Forward what was held, late; or, dead, forward nothing any more."""
        self._dead = self._dead or dead
        self._gate.set()

    async def ask(self, reader: StreamReader, writer: StreamWriter) -> None:
        """From the client to the server, until the client closes and the server may know it."""
        await self._carry(reader, writer)

    async def answer(self, reader: StreamReader, writer: StreamWriter) -> None:
        """From the server to the client, until the server closes and the client may know it: if dead, never."""
        await self._carry(reader, writer)
        if self._dead:
            await asyncio.Event().wait()

    async def _carry(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError):  # one side was killed: an end like any other
            while chunk := await reader.read(CHUNK_BYTES):
                await self._gate.wait()
                if not self._dead:
                    writer.write(chunk)
                    await writer.drain()
        await self._gate.wait()


class Wire:
    """Forwards connections on its port to a server. `cut` holds everything; nobody's connection is closed."""

    def __init__(self, dial: Dial) -> None:
        self.port = 0
        self._dial = dial
        self._flows = True
        self._links: set[_Link] = set()

    def cut(self) -> None:
        """From now on nothing gets through, on connections that are open and on new ones, which still open."""
        self._flows = False
        for link in self._links:
            link.hold()

    def heal(self, *, late: bool) -> None:
        """New connections work again. What the old ones hold arrives late; or else they stay dead, and silent."""
        self._flows = True
        for link in self._links:
            link.go_on(dead=not late)

    async def connect(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one client, until it or the server closes."""
        link = _Link(flows=self._flows)
        self._links.add(link)
        try:
            with suppress(OSError):  # the server is away: the client finds its connection closed
                server_reader, server_writer = await self._dial()
                try:
                    await _first_of(link.ask(reader, server_writer), link.answer(server_reader, writer))
                finally:
                    server_writer.close()
        finally:
            self._links.discard(link)
            writer.close()


async def _first_of(*directions: Awaitable[None]) -> None:
    """Both at once; when one has ended so has the connection."""
    tasks = [asyncio.ensure_future(direction) for direction in directions]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def running_wire(dial: Dial) -> AsyncIterator[Wire]:
    """A wire on a port of its own."""
    wire = Wire(dial)
    clients: set[asyncio.Task[None]] = set()

    def accept(reader: StreamReader, writer: StreamWriter) -> None:
        # Our own tasks, so that they end with the wire and not with the event loop.
        task = asyncio.create_task(wire.connect(reader, writer))
        clients.add(task)
        task.add_done_callback(clients.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1024)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        for task in tuple(clients):
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


@asynccontextmanager
async def running_postgres_wire(db_url: str) -> AsyncIterator[tuple[Wire, str]]:
    """A wire to the embedded Postgres, and the address of this database through it."""
    address = urlsplit(db_url)
    (sockets,) = parse_qs(address.query)["host"]
    async with running_wire(partial(asyncio.open_unix_connection, f"{sockets}/.s.PGSQL.5432")) as wire:
        there = f"127.0.0.1:{wire.port}{address.path}"
        yield wire, f"postgresql://{address.username}@{there}?sslmode=disable"
