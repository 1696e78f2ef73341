"""What the routes of chat are made of."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from dispatcher.chat.caller import Callers
from dispatcher.chat.happened import Tell
from dispatcher.chat.open_dm import Pairs
from dispatcher.chat.schedule import Scheduled
from dispatcher.chat.send import NewChatMessage, Sender
from dispatcher.kernel.db import Pool

Schedule: TypeAlias = Callable[[NewChatMessage, datetime], Awaitable[Scheduled]]


@dataclass(frozen=True, slots=True)
class ChatParts:
    """One replica's."""

    pool: Pool
    callers: Callers
    sender: Sender
    pairs: Pairs
    tell: Tell
    schedule: Schedule | None
    """None where nothing delivers the lane of messages for later: they are refused then, rather than kept for ever."""
