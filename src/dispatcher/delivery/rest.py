"""The rest that a channel gets after a failure: for so long nothing is begun. Pure."""

from dispatcher.kernel import backoff


class Rest:
    """Doubles with each further failure in a row.

    What began before the end of the latest rest was under way when that failure happened: it tells nothing new, and
    changes nothing. So however many attempts fail at once, that is one step.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._until = float("-inf")

    def lasts(self, now: float) -> bool:
        """Whether attempts have failed so recently that none should begin."""
        return now < self._until

    def failed(self, *, began: float, now: float, base: float, cap: float) -> None:
        """An attempt that began then has failed now."""
        if began >= self._until:
            self._failures += 1
            self._until = now + backoff.delay(self._failures, base=base, cap=cap)

    def worked(self, *, began: float) -> None:
        """An attempt that began then has worked."""
        if began >= self._until:
            self._failures = 0
