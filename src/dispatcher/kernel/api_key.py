"""The operator's key, and where a request carries it."""

from collections.abc import Iterable
from hmac import compare_digest

HEADER = "X-API-Key"
_HEADER = HEADER.lower().encode()
_BEARER = b"bearer "


class ApiKey:
    """The key, compared in constant time."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def given_in(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether it is in these headers: as `X-API-Key`, or as `Authorization: Bearer`."""
        given = False
        for name, value in headers:
            if name == _HEADER or (name == b"authorization" and value[:7].lower() == _BEARER):
                presented = value if name == _HEADER else value[7:].strip()
                given |= compare_digest(presented, self._key)
        return given
