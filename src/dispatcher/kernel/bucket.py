"""Bucket: how many at once, and how many a second."""


class Bucket:
    """So many at once, and so many a second. Pure."""

    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, *, rate: float, most: float, now: float) -> None:
        self._rate, self._most, self._left, self._at = rate, most, most, now

    def take(self, now: float) -> float:
        """Take one; the seconds until that is all right, 0 when it is now."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate) - 1
        self._at = now
        return max(0.0, -self._left / self._rate)

    def give_back(self) -> None:
        """The one taken last was not used."""
        self._left += 1
