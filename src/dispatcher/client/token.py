"""Where a client's token comes from, and when the next one is due."""

import base64
import binascii
import inspect
import json
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from dispatcher.kernel.clock import utc_now

TokenSource: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A token, or what fetches one: then it is called again before the token ends, and when the service refuses it."""

EARLY_SECONDS = 60
"""How long before its end a token is replaced; short ones when a fifth is left."""
_LEFT = 5


class TokenKeeper:
    """Keeps one token that is good."""

    def __init__(self, source: TokenSource | None) -> None:
        self._source = source
        self._token: str | None = None
        self._due: float | None = None

    @property
    def renewable(self) -> bool:
        """Whether there can be another one."""
        return callable(self._source)

    async def get(self, *, other_than: str | None = None) -> str | None:
        """A token; None where none is needed. Another one, if need be, than that which was refused."""
        if not callable(self._source):
            return self._source
        over = self._due is not None and _now() >= self._due
        if self._token is None or over or self._token == other_than:
            answer = self._source()
            self._token = await answer if inspect.isawaitable(answer) else answer
            self._due = due(self._token, _now())
        return self._token

    @property
    def seconds_left(self) -> float | None:
        """Until the token should be replaced; None when it need not, or cannot."""
        return None if self._due is None else max(0.0, self._due - _now())


def due(token: str, now: float) -> float | None:
    """When a token that was fetched now should be replaced, in seconds since 1970. None when it does not say its end.

    Its `exp` is read, and nothing verified: that is for the service.
    """
    try:
        payload = token.split(".")[1]
        exp = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        end = float(exp)
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return None
    return end - min(EARLY_SECONDS, (end - now) / _LEFT)


def _now() -> float:
    return utc_now().timestamp()
