"""Real time over two replicas: how long from one person's send to the other's screen, a large group, an idle socket.

Everything shares this machine: two replicas, Postgres, Redis and all the clients.
"""

import argparse
import asyncio
import gc
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

import asyncpg
import httpx2
import orjson
import psutil
import uvloop
from rich.console import Console

from bench.figure import cpu
from bench.machine import environment, free_port, machine
from dispatcher.embedded.servers import Addresses, embedded_servers
from dispatcher.kernel.migrate import migrate

AT_ONCE = 50
"""Connections that are opened together."""


class Client(asyncio.Protocol):
    """A socket that acknowledges what it gets and notes when it came.

    It speaks WebSocket itself, in as few steps as can be: the clients share the machine with what is measured.
    """

    def __init__(self, user_id: str, port: int) -> None:
        self.user_id, self.port = user_id, port
        self.came: dict[str, float] = {}
        self._greeted: asyncio.Future[None]
        self._transport: asyncio.Transport
        self._buffer = b""
        self._upgraded = False

    async def open(self) -> None:
        """Connect and say hello."""
        loop = asyncio.get_running_loop()
        self._greeted = loop.create_future()
        await loop.create_connection(lambda: self, "127.0.0.1", self.port)
        async with asyncio.timeout(60):
            await self._greeted

    def close(self) -> None:
        """Leave."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for an upgrade."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def say(self, **frame: object) -> None:
        """Send a frame, masked with zeros."""
        payload = orjson.dumps(frame)
        length = len(payload)
        head = (
            struct.pack("!BB", 0x81, 0x80 | length)
            if length < 126
            else struct.pack("!BBH", 0x81, 0xFE, length)
        )
        self._transport.write(head + b"\0\0\0\0" + payload)

    def data_received(self, data: bytes) -> None:
        """Take it apart."""
        buffer = self._buffer + data
        if not self._upgraded:
            head, found, buffer = buffer.partition(b"\r\n\r\n")
            if not found:
                self._buffer = head
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._upgraded = True
            self.say(type="hello", user_id=self.user_id)
        while len(buffer) >= 2:
            length, begin = buffer[1], 2
            if length == 126:
                begin = 4
                length = int.from_bytes(buffer[2:4], "big") if len(buffer) >= 4 else 1 << 16
            if len(buffer) < begin + length:
                break
            if buffer[0] == 0x81:
                self._got(buffer[begin : begin + length])
            elif buffer[0] == 0x89:  # a ping
                self._transport.write(
                    struct.pack("!BB", 0x8A, 0x80 | length) + b"\0\0\0\0" + buffer[begin : begin + length]
                )
            buffer = buffer[begin + length :]
        self._buffer = buffer

    def _got(self, payload: bytes) -> None:
        frame = orjson.loads(payload)
        match frame["type"]:
            case "message":
                message = frame["message"]
                self.came[message["content"]] = time.perf_counter()
                if message["sender_id"] != self.user_id:
                    self.say(type="ack", conversation_id=message["conversation_id"], seq=message["seq"])
            case "hello":
                self._greeted.set_result(None)
            case kind:
                assert kind in {"sent", "receipts", "bye"}, frame


@asynccontextmanager
async def replica(addresses: Addresses, folder: Path) -> AsyncIterator[tuple[int, psutil.Process]]:
    """A replica that is ready: its port and its process."""
    port = free_port()
    settings = environment(
        addresses, APP_PORT=str(port), APP_DATA_DIR=str(folder), LOG_ENV="production", LOG_LEVEL="warning"
    )
    with folder.with_suffix(".log").open("w") as log:
        process = subprocess.Popen([f"{sys.prefix}/bin/dispatcher", "serve"], env=settings, stderr=log)
    try:
        async with httpx2.AsyncClient() as client:
            while True:
                try:
                    if (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200:
                        break
                except httpx2.TransportError:
                    assert process.poll() is None, folder.with_suffix(".log").read_text()
                await asyncio.sleep(0.1)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


async def people(db_url: str, count: int) -> tuple[list[str], list[int], int]:
    """Users, a conversation for each two of them, and a group of all."""
    connection = await asyncpg.connect(db_url)
    try:
        ids = [f"user-{number:05}" for number in range(count)]
        await connection.execute("INSERT INTO users (id) SELECT unnest($1::text[])", ids)
        pairs = await connection.fetch(
            """
            INSERT INTO conversations (kind, low_user, high_user, last_id, member_count)
            SELECT 'dm', low, high, 0, 2 FROM unnest($1::text[], $2::text[]) AS p (low, high)
            RETURNING id, low_user, high_user
            """,
            ids[::2],
            ids[1::2],
        )
        group: int = await connection.fetchval(
            "INSERT INTO conversations (kind, name, last_id, member_count) VALUES ('group', 'all', 0, $1) RETURNING id",
            count,
        )
        seats = [(row["id"], user) for row in pairs for user in (row["low_user"], row["high_user"])]
        seats += [(group, user) for user in ids]
        await connection.executemany(
            """
            INSERT INTO members (conversation_id, user_id, joined_seq, joined_id, delivered_seq, read_seq)
            VALUES ($1, $2, 0, 0, 0, 0)
            """,
            seats,
        )
        await connection.execute("ANALYZE")
        by_user = {row["low_user"]: row["id"] for row in pairs}
        return ids, [by_user[user] for user in ids[::2]], group
    finally:
        await connection.close()


async def open_all(clients: Sequence[Client]) -> None:
    for first in range(0, len(clients), AT_ONCE):
        await asyncio.gather(*(client.open() for client in clients[first : first + AT_ONCE]))


async def talk(
    clients: Sequence[Client], pairs: Sequence[int], *, rate: float, seconds: float
) -> list[float]:
    """Seconds from when each message was due to be sent until the other one had it."""
    began = time.perf_counter() + 0.2
    due: dict[str, float] = {}
    receivers: dict[str, Client] = {}
    for number in range(int(rate * seconds)):
        at = began + number / rate
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        pair = number % len(pairs)
        which = (number // len(pairs)) % 2
        content = f"m{number}"
        due[content], receivers[content] = at, clients[2 * pair + 1 - which]
        clients[2 * pair + which].say(type="send", id=number, conversation_id=pairs[pair], content=content)
    until = time.perf_counter() + 10
    while any(content not in receivers[content].came for content in due) and time.perf_counter() < until:
        await asyncio.sleep(0.05)
    return [receivers[content].came[content] - at for content, at in due.items()]


async def shout(clients: Sequence[Client], group: int, *, count: int) -> list[float]:
    """Seconds from each send until the last of all members had it."""
    took = []
    for number in range(count):
        content = f"g{number}"
        began = time.perf_counter()
        clients[number % len(clients)].say(type="send", id=number, conversation_id=group, content=content)
        until = began + 10
        while any(content not in client.came for client in clients) and time.perf_counter() < until:
            await asyncio.sleep(0.005)
        took.append(max(client.came[content] for client in clients) - began)
        await asyncio.sleep(0.5)  # their acknowledgements
    return took


async def main(*, sockets: int, rate: float, seconds: float, shouts: int) -> None:
    """Measure, and print three lines."""
    console = Console()
    console.print(machine())
    with tempfile.TemporaryDirectory(prefix="dispatcher-bench-") as name:
        async with AsyncExitStack() as stack:
            addresses = await stack.enter_async_context(
                embedded_servers(Path(name), postgres=True, redis=True, etcd=True)
            )
            assert addresses.db_url
            await migrate(addresses.db_url)
            started = await asyncio.gather(
                *(stack.enter_async_context(replica(addresses, Path(name) / f"replica-{n}")) for n in (0, 1))
            )
            processes = [process for _, process in started]
            ids, pairs, group = await people(addresses.db_url, sockets)
            clients = [Client(user, started[number % 2][0]) for number, user in enumerate(ids)]
            warm = [Client(user, started[number % 2][0]) for number, user in enumerate(ids[:100])]
            await open_all(warm)
            for client in warm:
                client.close()
            await asyncio.sleep(1)
            before = sum(process.memory_info().rss for process in processes)
            began = time.perf_counter()
            await open_all(clients)
            opened = time.perf_counter() - began
            await asyncio.sleep(2)
            after = sum(process.memory_info().rss for process in processes)
            console.print(
                f"{sockets} idle sockets: {(after - before) / sockets / 1024:.1f} KiB each, opened in {opened:.1f} s"
            )
            gc.collect()
            gc.freeze()
            await talk(clients, pairs, rate=rate, seconds=2)  # warm
            for client in clients:
                client.came.clear()
            used, own = cpu(processes), time.process_time()
            took = sorted(await talk(clients, pairs, rate=rate, seconds=seconds))
            console.print(
                f"{len(took)} messages at {rate:.0f}/s from one replica to the other: "
                f"median {statistics.median(took) * 1e3:.1f} ms, p99 {took[int(len(took) * 0.99)] * 1e3:.1f} ms, "
                f"longest {took[-1] * 1e3:.1f} ms; {(cpu(processes) - used) / len(took) * 1e3:.2f} ms CPU a message, "
                f"the clients' {(time.process_time() - own) / len(took) * 1e3:.2f} ms besides"
            )
            took = sorted(await shout(clients, group, count=shouts))
            console.print(
                f"{shouts} messages to a group of {sockets}, until the last one has it: "
                f"median {statistics.median(took) * 1e3:.0f} ms, longest {took[-1] * 1e3:.0f} ms"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, default=1000, help="an even number (default: 1000)")
    parser.add_argument("--rate", type=float, default=500, help="messages a second (default: 500)")
    parser.add_argument("--seconds", type=float, default=20, help="how long (default: 20)")
    parser.add_argument("--shouts", type=int, default=20, help="messages to the group (default: 20)")
    given = parser.parse_args()
    uvloop.run(main(sockets=given.sockets, rate=given.rate, seconds=given.seconds, shouts=given.shouts))
