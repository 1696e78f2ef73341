"""A peer under measurement: its worker in processes of its own, prepared, started and stopped by lines."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

from bench.arrivals import Arrivals
from bench.figure import Figure, cpu, figure


class DriverError(Exception):
    """A peer's driver ended, or said something unexpected; the text is what it printed."""


@dataclass(frozen=True, slots=True)
class Driver:
    """One process of a peer's worker."""

    process: asyncio.subprocess.Process
    log: Path

    async def ask(self, line: str, answer: str) -> None:
        """Say a line and wait for the answer."""
        self.say(line)
        await self.hear(answer)

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def hear(self, answer: str) -> None:
        assert self.process.stdout is not None
        heard = (await self.process.stdout.readline()).decode().strip()
        if heard != answer:
            raise DriverError(f"{answer!r} was expected, not {heard!r}:\n{self.log.read_text()[-2000:]}")


@asynccontextmanager
async def driver(command: Sequence[str | Path], log: Path) -> AsyncIterator[Driver]:
    """The driver, ready, for as long as the block lasts."""
    with log.open("a") as errors:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
    try:
        started = Driver(process, log)
        await started.hear("ready")
        yield started
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@dataclass(frozen=True, slots=True)
class Running:
    """All processes of one peer, on a database of its own."""

    drivers: Sequence[Driver]
    db_url: str
    left: str
    """SQL: whether any message is not settled yet."""

    async def measure(self, arrivals: Arrivals, count: int) -> Figure:
        """From `go` until the last of `count` messages is settled in Postgres."""
        processes = [psutil.Process(each.process.pid) for each in self.drivers]
        connection = await asyncpg.connect(self.db_url)
        try:
            await connection.execute("CHECKPOINT")
            await self.drivers[0].ask(f"fill {count}", "filled")
            await connection.execute("VACUUM ANALYZE")
            await arrivals.restart()
            began, cpu_before = time.perf_counter(), cpu(processes)
            for each in self.drivers:
                each.say("go")
            await arrivals.wait_for(count, seconds=120)
            while await connection.fetchval(self.left):
                await asyncio.sleep(0.005)
            measured = figure(processes, cpu_before, count, time.perf_counter() - began)
            for each in self.drivers:
                await each.ask("stop", "stopped")
            arrived = await arrivals.since()
            assert arrived == count, f"{arrived} of {count} messages have arrived"
            return measured
        finally:
            await connection.close()


@asynccontextmanager
async def running(
    commands: Sequence[Sequence[str | Path]], db_url: str, left: str, log: Path
) -> AsyncIterator[Running]:
    """The peer with one process per command; the first makes its tables before the next starts."""
    async with AsyncExitStack() as stack:
        drivers = [await stack.enter_async_context(driver(command, log)) for command in commands]
        yield Running(drivers, db_url, left)
