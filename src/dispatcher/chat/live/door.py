"""Door: who may open a socket, from where, how many, and how fast. What is turned away here has cost next to nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from dispatcher.chat.live.protocol import Hello
from dispatcher.chat.token import Tokens
from dispatcher.kernel.api_key import ApiKey
from dispatcher.kernel.bucket import Bucket
from dispatcher.kernel.errors import InvalidRequestError, UnauthenticatedError

MAX_SOCKETS = 20_000
"""Of one replica."""
MAX_OF_USER = 20
COMING_PER_SECOND = 300.0
COMING_AT_ONCE = 1500


@dataclass(frozen=True, slots=True)
class Admitted:
    """Whom the socket is for."""

    user_id: str
    until: datetime | None
    """When the token ends."""


class Door:
    """Lets in."""

    def __init__(
        self, *, tokens: Tokens | None, key: ApiKey | None, origins: Iterable[str], now: float
    ) -> None:
        """`origins` are pages of other hosts that may open sockets, e.g. `https://chat.example.com`; `*` is any."""
        self._tokens, self._key = tokens, key
        self._origins = frozenset(origins)
        self._coming = Bucket(rate=COMING_PER_SECOND, most=COMING_AT_ONCE, now=now)
        self.sockets = 0

    def is_known(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a page may open this socket: one of this host, or one that is listed. Programs send no origin."""
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not origin or origin in self._origins or "*" in self._origins:
            return True
        return urlsplit(origin).netloc.lower() == headers.get(b"host", b"").decode("latin-1").lower()

    def has_room(self, now: float) -> bool:
        """Whether one more may come now."""
        if self.sockets >= MAX_SOCKETS:
            return False
        if self._coming.take(now):
            self._coming.give_back()
            return False
        return True

    async def admit(self, hello: Hello, headers: Mapping[bytes, bytes]) -> Admitted:
        """Whom this socket is for: the token's user; the operator names one; without any keys everybody does.

        Raises:
            UnauthenticatedError: Nobody knows.
            InvalidRequestError: The operator does not say for whom.
            UnavailableError: The keys that tokens are judged by cannot be had at the moment.
        """
        token = hello.token or _bearer(headers)
        open_to_all = self._key is None and self._tokens is None and token is None
        if open_to_all or (self._key is not None and self._key.given_in(headers.items())):
            if hello.user_id is None:
                raise InvalidRequestError("user_id: say for which user")
            return Admitted(hello.user_id, None)
        if token is None or self._tokens is None:
            raise UnauthenticatedError("hello wants a token")
        identity = await self._tokens.identity(token)
        if hello.user_id not in {None, identity.user_id}:
            raise UnauthenticatedError(f"the token is {identity.user_id}'s")
        return Admitted(identity.user_id, identity.expires_at)


def _bearer(headers: Mapping[bytes, bytes]) -> str | None:
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
