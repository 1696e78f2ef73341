"""The breaker: counts how often in a row the target has failed, as one replica meets it. Pure."""

from dispatcher.channels.contract import Outcome, Retry
from dispatcher.delivery.pace import Tick


def failed(outcome: Outcome) -> bool:
    """Whether the target itself failed, and not this message."""
    return isinstance(outcome, Retry) and outcome.target_failed


class Breaker:
    """Trips once per run of failures; any other answer begins the count anew.

    So does another target, and a lane that has resumed: what is learnt afterwards of attempts from before does not
    count, however late they end.
    """

    def __init__(self) -> None:
        self._target = ""
        self._grid_no = -1
        self._failures = 0

    def trips(self, outcome: Outcome, tick: Tick, target: str, *, limit: int) -> bool:
        """Count the outcome of an attempt that this tick made there. Whether it is the failure that is too many."""
        if tick.probe or tick.grid_no < self._grid_no:
            return False
        if tick.grid_no > self._grid_no or target != self._target:
            self._target, self._grid_no, self._failures = target, tick.grid_no, 0
        self._failures = self._failures + 1 if failed(outcome) else 0
        if self._failures < limit:
            return False
        self._failures = 0
        return True
