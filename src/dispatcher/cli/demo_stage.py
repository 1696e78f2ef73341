"""The demo's stage: servers, a receiver and two replicas of the service, all of which end with the demo."""

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aetcd
import httpx2

from dispatcher.cli.api_record import ApiRecord
from dispatcher.embedded.accounts import own_account
from dispatcher.embedded.launch import launch
from dispatcher.embedded.receiver import running_receiver
from dispatcher.embedded.servers import Addresses, embedded_servers
from dispatcher.kernel.clock import elapsed, pause
from dispatcher.kernel.db import Pool, connected_pool
from dispatcher.kernel.errors import DispatcherError
from dispatcher.kernel.etcd import connected
from dispatcher.kernel.migrate import migrate

START_SECONDS = 60.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.1
PREFIX = b"/app/config/"
BEGINNING = {
    "scheduler_interval": "1",
    "rate_limit": "2",
    # short, so that what a killed replica held comes back within the demo
    "webhook_timeout": "2",
    "lease_seconds": "5",
}


class DemoError(DispatcherError):
    """Something that the demo promises did not hold."""


@dataclass(slots=True)
class Replica:
    """One `dispatcher serve` of the two."""

    letter: str
    process: asyncio.subprocess.Process
    url: str = ""

    @property
    def name(self) -> str:
        """What it is called in the history of ticks."""
        return f"{socket.gethostname()}-{self.process.pid}"

    async def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """In order; by force where that takes too long."""
        if self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.process.wait()
        except TimeoutError:
            await self.kill()


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that the demo acts on."""

    a: Replica
    b: Replica
    receiver: str
    pool: Pool
    etcd: aetcd.Client
    http: httpx2.AsyncClient

    async def put(self, key: str, value: str) -> None:
        """What `dispatcher config set`, or etcdctl put, does."""
        await self.etcd.put(PREFIX + key.encode(), value.encode())

    def letter(self, name: str) -> str:
        """Which of the two a tick's replica is."""
        return next((r.letter for r in (self.a, self.b) if r.name == name), "?")


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Set it up; both replicas answer when the block begins."""
    async with AsyncExitStack() as stack:
        addresses = await stack.enter_async_context(
            embedded_servers(folder, postgres=True, redis=True, etcd=True)
        )
        receiver = await stack.enter_async_context(running_receiver(folder))
        assert addresses.db_url
        assert addresses.etcd_endpoints
        await migrate(addresses.db_url)
        pool = await stack.enter_async_context(
            connected_pool(addresses.db_url, application="dispatcher demo", size=2)
        )
        etcd = await stack.enter_async_context(connected(addresses.etcd_endpoints[0]))
        for key, value in {**BEGINNING, "webhook_url": f"{receiver}/webhook"}.items():
            await etcd.put(PREFIX + key.encode(), value.encode())
        a, b = [await _launched(letter, _made(folder / letter.lower()), addresses) for letter in "AB"]
        for replica in (a, b):
            stack.push_async_callback(replica.stop)
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=10.0))
        for replica in (a, b):
            replica.url = await _ready(replica, folder / replica.letter.lower())
        yield Stage(a, b, receiver, pool, etcd, http)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def _launched(letter: str, folder: Path, addresses: Addresses) -> Replica:
    """On a folder of its own, which is also where it works: no .env and no YAML file of the user's has a say."""
    known = [
        f"APP_DB_URL={addresses.db_url}",
        f"APP_REDIS_ADDR={addresses.redis_addr}",
        f"APP_REMOTE_ETCD_ENDPOINTS={','.join(addresses.etcd_endpoints or ())}",
    ]
    output = os.open(folder / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        process = await launch(
            [
                shutil.which("env") or "/usr/bin/env",
                *known,
                f"APP_DATA_DIR={folder}",
                "LOG_LEVEL=warning",
                "LOG_DIR=off",
                *(sys.executable, "-m", "dispatcher.cli.main", "serve"),
            ],
            account=own_account(),
            stop=signal.SIGTERM,
            folder=folder,
            output=output,
        )
    finally:
        os.close(output)
    return Replica(letter, process)


async def _ready(replica: Replica, folder: Path) -> str:
    """Its address, as soon as it has noted it: it does when it serves."""
    until = elapsed() + START_SECONDS
    while elapsed() < until and replica.process.returncode is None:
        url = ApiRecord(folder).read()
        if url is not None:
            return url
        await pause(LOOK_SECONDS)
    tail = "\n".join((folder / "log").read_text(errors="replace").splitlines()[-5:])
    ended = replica.process.returncode is not None
    problem = "ended at its start" if ended else f"did not start within {START_SECONDS:g} s"
    raise DemoError(f"replica {replica.letter} {problem}:\n{tail}")
