"""Postgres, Redis and etcd for as long as a block runs, on data in one folder. Stopped, or killed, they lose nothing."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from dispatcher.embedded.accounts import own_account
from dispatcher.embedded.addresses import Addresses, shell_lines
from dispatcher.embedded.errors import EmbeddedError
from dispatcher.embedded.etcd import EtcdProgram
from dispatcher.embedded.folders import discard_outside, private_folder
from dispatcher.embedded.lock import HeldLock, hold, recorded_addresses
from dispatcher.embedded.postgres import PostgresProgram
from dispatcher.embedded.redis import RedisProgram
from dispatcher.embedded.server import EmbeddedServer

__all__ = [
    "Addresses",
    "EmbeddedError",
    "EmbeddedServer",
    "RunningServers",
    "embedded_servers",
    "recorded_addresses",
    "running_servers",
    "shell_lines",
]


@dataclass(frozen=True, slots=True)
class RunningServers:
    """The servers of one folder, with a handle on each that was started here."""

    addresses: Addresses
    postgres: EmbeddedServer | None
    redis: EmbeddedServer | None
    etcd: EmbeddedServer | None


@asynccontextmanager
async def embedded_servers(
    data_dir: Path, *, postgres: bool, redis: bool, etcd: bool
) -> AsyncIterator[Addresses]:
    """Run the servers asked for during the block, ready at its start; see `running_servers`."""
    async with running_servers(data_dir, postgres=postgres, redis=redis, etcd=etcd) as running:
        yield running.addresses


@asynccontextmanager
async def running_servers(
    data_dir: Path, *, postgres: bool, redis: bool, etcd: bool
) -> AsyncIterator[RunningServers]:
    """Run the servers asked for during the block; EmbeddedError if one cannot be had.

    The folder is made (private to this user) and locked; `<data_dir>/env` holds the lines that let a shell use
    the servers. What a killed predecessor left running is stopped first. Call it on the main thread.
    """
    folder = _data_folder(data_dir)
    async with hold(folder) as lock, AsyncExitStack() as stopping:
        redis_program = RedisProgram(folder) if redis else None
        etcd_program = EtcdProgram(folder) if etcd else None
        postgres_program = PostgresProgram(folder) if postgres else None
        handles = [
            EmbeddedServer(program) if program is not None else None
            for program in (postgres_program, redis_program, etcd_program)
        ]
        for sockets in (
            program.sockets for program in (postgres_program, redis_program) if program is not None
        ):
            stopping.callback(discard_outside, folder, sockets)
        for server in handles:
            if server is not None:
                stopping.push_async_callback(server.stop)
        await _start_all([server for server in handles if server is not None])
        addresses = Addresses(
            db_url=postgres_program.address if postgres_program is not None else None,
            redis_addr=redis_program.address if redis_program is not None else None,
            etcd_endpoints=(etcd_program.address,) if etcd_program is not None else None,
        )
        stopping.callback(_withdraw, folder, lock)
        _publish(folder, lock, addresses)
        yield RunningServers(addresses, *handles)


async def _start_all(servers: list[EmbeddedServer]) -> None:
    """All at once; the first that fails is the error, and the others' starts are given up."""
    failed: EmbeddedError | None = None
    try:
        async with asyncio.TaskGroup() as starting:
            for server in servers:
                starting.create_task(server.start())
    except* EmbeddedError as group:
        failed = next(error for error in group.exceptions if isinstance(error, EmbeddedError))
    if failed is not None:
        raise failed


def _data_folder(data_dir: Path) -> Path:
    """A folder that is there keeps its mode: it may hold more than what is ours."""
    folder = data_dir.resolve()
    if folder.is_dir():
        return folder
    # Root's Postgres is somebody else and must pass through; what lies inside is private by itself.
    return private_folder(folder, own_account(), 0o711 if os.geteuid() == 0 else 0o700)


def _publish(folder: Path, lock: HeldLock, addresses: Addresses) -> None:
    new = folder / "env.new"
    new.touch(mode=0o600)
    new.write_text("".join(f"{line}\n" for line in shell_lines(addresses)))
    new.replace(folder / "env")
    lock.record(addresses)


def _withdraw(folder: Path, lock: HeldLock) -> None:
    (folder / "env").unlink(missing_ok=True)
    lock.record(None)
