"""What starts and stops the lanes, all of them or one, on every replica."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dispatcher.delivery import pace, schedule
from dispatcher.delivery.state import SchedulerState, scheduler_model
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class LaneSwitch:
    """A lane, as far as it is started, stopped and looked at."""

    name: str
    changed: Callable[[], None]
    """To be called after each change."""
    blocked: Callable[[], str | None]
    """Why this replica cannot send, if it cannot."""


class Switches:
    """The lanes' switches. Where no lane is named all are meant, and the state is that of the one with the ticks."""

    def __init__(self, pool: Pool, ticking: LaneSwitch, *timed: LaneSwitch) -> None:
        self._pool = pool
        self.ticking = ticking
        self.timed = timed

    async def start(self, name: str | None = None) -> SchedulerState:
        """The state after it."""
        for lane in self._asked(name):
            await schedule.change(self._pool, lane.name, pace.start)
            lane.changed()
        return await self.state(name)

    async def stop(self, name: str | None = None) -> SchedulerState:
        """The state after it: no replica claims anything more."""
        for lane in self._asked(name):
            await schedule.change(self._pool, lane.name, lambda row, _: pace.stop(row))
            lane.changed()
        return await self.state(name)

    async def state(self, name: str | None = None) -> SchedulerState:
        """The same whichever replica is asked."""
        lane = self._asked(name)[0]
        return scheduler_model(await schedule.look(self._pool, lane.name), blocked_here=lane.blocked())

    def _asked(self, name: str | None) -> Sequence[LaneSwitch]:
        lanes = (self.ticking, *self.timed)
        if name is None:
            return lanes
        found = [lane for lane in lanes if lane.name == name]
        if not found:
            known = ", ".join(lane.name for lane in lanes)
            raise InvalidRequestError(f"lane: there is no lane {name!r}; there are {known}")
        return found
