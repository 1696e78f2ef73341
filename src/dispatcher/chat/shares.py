"""Shares: how much one user may send, so that nobody fills a replica for all others."""

from dispatcher.kernel.bucket import Bucket
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.errors import TooManyRequestsError

MESSAGES_PER_SECOND = 100.0
MESSAGES_AT_ONCE = 500
"""As of a socket's frames."""
REMEMBERED = 10_000
"""Users; of whoever is forgotten, it was longest ago that they sent anything."""


class Shares:
    """What each user has left on this replica."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}

    def take(self, user_id: str) -> None:
        """Nothing, when this user may send one more message now.

        Raises:
            TooManyRequestsError: They may not yet.
        """
        now = elapsed()
        bucket = self._buckets.pop(user_id, None) or Bucket(
            rate=MESSAGES_PER_SECOND, most=MESSAGES_AT_ONCE, now=now
        )
        self._buckets[user_id] = bucket
        if len(self._buckets) > REMEMBERED:
            del self._buckets[next(iter(self._buckets))]
        if bucket.take(now) > 0:
            bucket.give_back()
            raise TooManyRequestsError(
                f"you send more than {MESSAGES_PER_SECOND:g} messages a second; this one is not in; try again"
            )
