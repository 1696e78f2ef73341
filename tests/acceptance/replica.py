"""One `dispatcher serve` as its users run it: a process, an environment, signals, a log, an HTTP API."""

import asyncio
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import orjson

from dispatcher.kernel.clock import elapsed, pause
from dispatcher.kernel.db import UNAVAILABLE

T = TypeVar("T")
COMMAND = Path(sys.executable).with_name("dispatcher")
START_SECONDS = 30.0
POLL_SECONDS = 0.02
NOT_YET: tuple[type[Exception], ...] = (*UNAVAILABLE, httpx2.TransportError)
FIRST_PORT, PORTS_A_WORKER = 20_000, 1000


async def eventually(condition: Callable[[], Awaitable[T]], *, seconds: float, what: str) -> T:
    """The first true answer of the condition; AssertionError with its last answer when there is none in time.

    A server that is away counts as an answer that is not true yet.
    """
    until = elapsed() + seconds
    while True:
        last: object
        try:
            if answer := await condition():
                return answer
            last = answer
        except NOT_YET as error:
            last = error
        assert elapsed() < until, f"not within {seconds:g} s: {what} (last: {last!r})"
        await pause(POLL_SECONDS)


def free_port() -> int:
    """A port for a process that is started later and again: no other worker of this run gets it meanwhile.

    Nor does the kernel give it away: those that it hands out by itself begin higher, wherever that is not set.
    """
    while True:
        port = next(_ports)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def _ports_of_this_worker() -> Iterator[int]:
    first = FIRST_PORT + PORTS_A_WORKER * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    # not from the first one on: another run on this machine may be at that
    begin = random.SystemRandom().randrange(PORTS_A_WORKER)
    return cycle([*range(first + begin, first + PORTS_A_WORKER), *range(first, first + begin)])


_ports = _ports_of_this_worker()


class Replica:
    """A process that can be started, asked, terminated and killed, again and again, on the same port."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.log_path = folder / "stderr.log"
        self.environment = {
            "PATH": os.defpath,
            "HOME": str(folder),
            "APP_PORT": str(self.port),
            "APP_DATA_DIR": str(folder / "data"),
            "LOG_ENV": "production",
            **environment,
        }
        self._process: Process | None = None
        self._client = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", timeout=10, trust_env=False
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def name(self) -> str:
        """What the service calls this process in its records."""
        return f"{socket.gethostname()}-{self.pid}"

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def below_etcd(self, **values: object) -> None:
        """Live values of this replica alone, from its next start on: its file, which counts where etcd says nothing."""
        path = self.folder / "live.yaml"
        path.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
        self.environment["APP_DYNAMIC_CONFIG"] = str(path)

    async def launch(self, *arguments: str, console: int | None = None, errors: int | None = None) -> None:
        """Begin to start it, and do not wait for it.

        `console` and `errors`: what its standard output and standard error are, instead of files.
        """
        with self.log_path.open("ab") as log, (self.folder / "stdout.log").open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                str(COMMAND),
                *(arguments or ("serve",)),
                cwd=self.folder,
                env=self.environment,
                stdin=DEVNULL,
                stdout=out if console is None else console,
                stderr=log if errors is None else errors,
                start_new_session=True,
            )

    async def start(self) -> None:
        """Start it; return when it answers."""
        await self.launch()
        await self.answers()

    async def answers(self) -> None:
        """Wait until it answers at all."""

        async def up() -> bool:
            assert self.runs, f"it ended: {self.log_path.read_text()[-2000:]}"
            return (await self.get("/health")).status_code > 0

        await eventually(up, seconds=START_SECONDS, what="the service answers")

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, *, seconds: float = 30.0) -> int:
        """Its exit code, when it has ended."""
        assert self._process is not None
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def terminate(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.send(number)
        return await self.ended()

    async def kill(self) -> None:
        """SIGKILL; nothing of it is left when this returns."""
        if self.runs:
            self.send(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    async def close(self) -> None:
        await self.kill()
        await self._client.aclose()

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self._client.get(path, **options)

    async def post(self, path: str, **options: Any) -> httpx2.Response:
        return await self._client.post(path, **options)

    async def put(self, path: str, **options: Any) -> httpx2.Response:
        return await self._client.put(path, **options)

    async def patch(self, path: str, **options: Any) -> httpx2.Response:
        return await self._client.patch(path, **options)

    async def delete(self, path: str, **options: Any) -> httpx2.Response:
        return await self._client.delete(path, **options)

    async def health(self) -> dict[str, Any]:
        """All of it, as the operator sees it."""
        key = self.environment.get("APP_API_KEY")
        headers = {"X-API-Key": key} if key else {}
        answer: dict[str, Any] = (await self.get("/health", headers=headers)).json()
        return answer

    def log(self) -> list[dict[str, Any]]:
        """Its log so far; every line must be a JSON object."""
        lines = [orjson.loads(line) for line in self.log_path.read_bytes().splitlines()]
        assert all(isinstance(line, dict) for line in lines)
        return lines

    def printed(self) -> list[dict[str, Any]]:
        """What its console shows, in order, of all its starts; a line that a kill has torn is left out."""
        lines = (self.folder / "stdout.log").read_bytes().split(b"\n")
        return [orjson.loads(line) for line in lines[:-1] if line.endswith(b"}")]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of this event."""
        return [line for line in self.log() if line["message"] == event]
