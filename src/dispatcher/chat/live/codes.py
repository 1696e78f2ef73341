"""Close codes: why a socket was closed, and whether connecting again makes sense.

3000-3499: connect again, after a pause that differs from client to client. 3500-3999: not before something has changed.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A close code and its reason."""

    number: int
    reason: str

    @property
    def reconnect(self) -> bool:
        """Whether the same client may connect again as it is."""
        return self.number < FIRST_FINAL


FIRST_FINAL = 3500

SHUTDOWN = Code(3000, "this replica is going away; connect again")
SLOW = Code(3001, "you read too slowly; connect again and resume")
UNAVAILABLE = Code(3002, "Postgres does not answer at the moment; connect again later")
EXPIRED = Code(3003, "the token is over; connect again with a new one")
BUG = Code(3004, "a bug here; connect again")

BAD_TOKEN = Code(3500, "the token is refused")
NO_HELLO = Code(3501, "no hello came in time")
BAD_FRAME = Code(3502, "a frame that cannot be")
TOO_MANY = Code(3503, "too many sockets of this user")
NO_USER = Code(3504, "there is no such user; POST /api/v1/users adds one")

ALL = (
    SHUTDOWN, SLOW, UNAVAILABLE, EXPIRED, BUG, BAD_TOKEN, NO_HELLO, BAD_FRAME, TOO_MANY, NO_USER,
)  # fmt: skip
