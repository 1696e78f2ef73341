"""One embedded server: started, asked until it answers, watched, stopped. What differs is a `ServerProgram`."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from pathlib import Path
from typing import Literal, Protocol

import structlog

from dispatcher.embedded.accounts import Account
from dispatcher.embedded.errors import EmbeddedError
from dispatcher.embedded.launch import launch
from dispatcher.embedded.leftovers import stop_leftovers
from dispatcher.embedded.logfile import LogFile
from dispatcher.kernel.clock import elapsed, pause

log = structlog.get_logger()

Answer = Literal["ready", "recovering", "silent"]

SILENT_SECONDS = 30.0
"""How long a server may take to answer at all; a first start on a slow machine included."""
RECOVERING_SECONDS = 600.0
"""How long it may answer that it is still reading its data back after a crash."""
STOP_SECONDS = 10.0
"""How long a clean stop may take before SIGKILL."""
_ASK_AGAIN = 0.02
_ADDRESSES_TRIED = 5


class ServerProgram(Protocol):
    """What one kind of server is."""

    name: str
    executable: str
    """The process's name, as the OS shows it."""
    tag: str
    """What its command line carries, so that a later start can find it."""
    account: Account
    folder: Path
    stop_signal: signal.Signals
    """The signal that stops it cleanly and at once."""

    async def prepare(self) -> None:
        """Make everything its command needs; no server of this folder is running."""

    def command(self) -> list[str]:
        """Its command line, the program's absolute path first."""

    async def answer(self) -> Answer:
        """Ask it, once and bounded in time."""

    def moved(self, log_tail: str) -> bool:
        """Whether it ended because its address was taken, and now has another."""


class EmbeddedServer:
    """A handle on one server: it can be stopped, killed and started again, on the same address and data."""

    def __init__(self, program: ServerProgram) -> None:
        self._program = program
        self._log_file = LogFile(program.folder / "server.log")
        self._process: Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def name(self) -> str:
        return self._program.name

    @property
    def pid(self) -> int | None:
        """Its process while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Return when it answers; EmbeddedError with the end of its log if it does not. Nothing if it runs."""
        if self.pid is not None:
            return
        await self.stop()
        began, program = elapsed(), self._program
        await stop_leftovers(program.executable, program.tag, program.account.uid, program.stop_signal)
        until = elapsed() + SILENT_SECONDS
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                await program.prepare()
        except TimeoutError:
            raise EmbeddedError(
                f"{self.name} could not be set up in {SILENT_SECONDS:g} s in {program.folder}"
            ) from None
        for _ in range(_ADDRESSES_TRIED):
            process = await self._spawn()
            if await self._ready(process, until):
                self._watch = asyncio.create_task(self._report_death(process), name=f"embedded-{self.name}")
                log.info("embedded_server_ready", server=self.name, seconds=round(elapsed() - began, 2))
                return
            if not program.moved(self._log_file.tail()):
                break
        raise EmbeddedError(f"{self.name} ended while starting; {self._last_lines()}")

    async def stop(self, *, kill: bool = False) -> None:
        """Stop it cleanly, by SIGKILL after ten seconds or at once with `kill`; nothing if it does not run."""
        process = self._process
        if process is None:
            return
        self._stopping = True
        try:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL if kill else self._program.stop_signal)
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            log.warning("embedded_server_killed", server=self.name, pid=process.pid, after=STOP_SECONDS)
        finally:
            # Also when we are cancelled: nothing may stay behind, and all three survive a kill.
            if process.returncode is None:
                process.kill()
        await process.wait()
        if self._watch is not None:
            await self._watch
        self._process = self._watch = None

    async def _spawn(self) -> Process:
        program = self._program
        self._stopping = False
        output = self._log_file.open()
        try:
            self._process = await launch(
                program.command(),
                account=program.account,
                stop=program.stop_signal,
                folder=program.folder,
                output=output,
            )
        finally:
            os.close(output)
        return self._process

    async def _ready(self, process: Process, until: float) -> bool:
        """True when it answers, False when it ended."""
        last = elapsed() + RECOVERING_SECONDS
        while process.returncode is None:
            answer = await self._program.answer()
            if answer == "ready" and process.returncode is None:
                return True
            if answer == "recovering":
                until = min(elapsed() + SILENT_SECONDS, last)
            if elapsed() > until:
                await self.stop()
                raise EmbeddedError(f"{self.name} did not answer in time; {self._last_lines()}")
            await pause(_ASK_AGAIN)
        return False

    async def _report_death(self, process: Process) -> None:
        code = await process.wait()
        if not self._stopping:
            log.error(
                "embedded_server_died",
                server=self.name,
                pid=process.pid,
                exit_code=code,
                log_tail=self._log_file.tail(),
            )

    def _last_lines(self) -> str:
        return f"the end of {self._log_file.path}:\n{self._log_file.tail() or '(empty)'}"
