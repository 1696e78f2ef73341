"""Move: one message from one state to another by hand, against whatever else happens to it at the same time."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

import asyncpg

from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import ConflictError, UnavailableError
from dispatcher.messages.look import look
from dispatcher.messages.state import State

TRIES = 5
_SAID = {
    State.PENDING: "is waiting to be sent",
    State.SENDING: "is being sent at this moment",
    State.SENT: "has been sent",
    State.FAILED: "has failed",
    State.UNCERTAIN: "is uncertain",
    State.CANCELLED: "has been cancelled",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of a message: a move out of some states."""

    takes: Collection[State]
    rule: str
    """Which messages it is for, in words."""
    already: State | None = None
    """The state in which there is nothing left to do."""


async def move(
    pool: Pool, message_id: int, wish: Wish, write: Callable[[], Awaitable[asyncpg.Record | None]]
) -> asyncpg.Record:
    """What `write` answers when it has moved the message; else the message's row, if it is so already.

    A write finds nothing when somebody was quicker. If the message is then found where the wish takes it from, it has
    come back in between, and the write is made again.

    Raises:
        NotFoundError: There is no such message.
        ConflictError: It is in a state that the wish does not take.
        UnavailableError: It was never where it had just been found.
    """
    for _ in range(TRIES):
        moved = await write()
        if moved is not None:
            return moved
        row = await look(pool, message_id)
        state = State(row["state"])
        if state is wish.already:
            return row
        if state not in wish.takes:
            raise ConflictError(f"message {message_id} {_SAID[state]}; {wish.rule}")
    raise UnavailableError(f"message {message_id} changes at this moment; try again")
