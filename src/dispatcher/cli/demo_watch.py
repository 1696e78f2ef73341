"""What the demo sees: ticks as they happen, and conditions that must come true in time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

import httpx2
from rich.text import Text

from dispatcher.cli.console import out
from dispatcher.cli.demo_stage import LOOK_SECONDS, DemoError, Replica, Stage
from dispatcher.kernel.clock import elapsed, pause

PATIENCE_SECONDS = 30.0
"""Far more than anything here takes on an idle machine; the demo must also work on a busy one."""
HISTORY = 1000
_COLOURS = {"A": "cyan", "B": "magenta"}


@dataclass(frozen=True, slots=True)
class Grid:
    """Tick n is due at anchor_at + (n - anchor_no) * interval, until something moves the anchor."""

    anchor_no: int
    anchor_at: datetime
    interval: timedelta


class Watch:
    """Looks through one replica's API; `through` may change, the other one tells the same."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.through: Replica = stage.a
        self._seen = -1
        self.grids: list[Grid] = []

    async def get(self, path: str) -> Any:
        """A JSON answer of the service."""
        return await self.ask("GET", f"{self.through.url}{path}")

    async def ask(self, method: str, url: str) -> Any:
        """Any JSON answer, which must be a 2xx one."""
        try:
            response = await self._stage.http.request(method, url)
            response.raise_for_status()
        except httpx2.HTTPError as error:
            raise DemoError(f"{method} {url}: {str(error) or type(error).__name__}") from None
        return response.json()

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it holds.

        Raises:
            DemoError: It did not, for PATIENCE_SECONDS.
        """
        deadline = elapsed() + PATIENCE_SECONDS
        while not await holds():
            if elapsed() > deadline:
                raise DemoError(f"{what}: not within {PATIENCE_SECONDS:g} s")
            await pause(LOOK_SECONDS)

    async def from_now_on(self) -> None:
        """Show only ticks that are claimed after this."""
        latest = await self.get("/ticks?limit=1")
        self._seen = latest[0]["no"] if latest else -1

    async def note_grid(self) -> None:
        """Remember the grid that ticks are on now; to be called after whatever moves it."""
        state = await self.get("/scheduler")
        interval = timedelta(seconds=state["interval_seconds"])
        self.grids.append(Grid(state["anchor_no"], datetime.fromisoformat(state["anchor_at"]), interval))

    async def ticks(self, count: int) -> list[dict[str, Any]]:
        """Show the next ticks as they finish; at least so many."""
        shown: list[dict[str, Any]] = []

        async def enough() -> bool:
            shown.extend(await self.catch_up())
            return len(shown) >= count

        await self.until(f"{count} ticks", enough)
        return shown

    async def catch_up(self) -> list[dict[str, Any]]:
        """Show the ticks that have finished since the last one shown."""
        new = [tick for tick in reversed(await self.get("/ticks?limit=50")) if tick["no"] > self._seen]
        finished = list(takewhile(self._is_over, new))
        for tick in finished:
            self._seen = tick["no"]
            self._show(tick)
        return finished

    def _is_over(self, tick: dict[str, Any]) -> bool:
        """A tick that a killed replica was working off never gets its end."""
        killed = [r.name for r in (self._stage.a, self._stage.b) if r.process.returncode is not None]
        return tick["finished_at"] is not None or tick["replica"] in killed

    async def arrived(self) -> int:
        """How many POSTs the receiver has had."""
        response = await self._stage.http.get(f"{self._stage.receiver}/received?limit=1")
        return int(response.headers["x-total-count"])

    async def arrivals(self) -> list[dict[str, Any]]:
        """The POSTs themselves."""
        found = await self.ask("GET", f"{self._stage.receiver}/received?limit={HISTORY}")
        assert isinstance(found, list)
        return found

    async def nothing_in_flight(self) -> None:
        """Wait until no message is claimed."""

        async def none() -> bool:
            count = await self._stage.pool.fetchval("SELECT count(*) FROM messages WHERE state = 'sending'")
            return bool(count == 0)

        await self.until("what was claimed is settled", none)

    def _show(self, tick: dict[str, Any]) -> None:
        letter = self._stage.letter(tick["replica"])
        due = datetime.fromisoformat(tick["due_at"]).astimezone()
        out.print(
            Text.assemble(
                f"  tick {tick['no']:>3}  due {due:%H:%M:%S.%f}  ",
                (f"+{tick['late_ms']:.1f} ms".rjust(11), "dim"),
                "  by ",
                (letter, f"bold {_COLOURS.get(letter, 'white')}"),
                "  ",
                ("● " * tick["sent"], "green"),
            )
        )
