"""What the routes of chat are made of."""

from dataclasses import dataclass

from dispatcher.chat.caller import Callers
from dispatcher.chat.happened import Tell
from dispatcher.chat.open_dm import Pairs
from dispatcher.chat.send import Sender
from dispatcher.chat.shares import Shares
from dispatcher.kernel.db import Pool
from dispatcher.messages.arrived import Arrived


@dataclass(frozen=True, slots=True)
class ChatParts:
    """One replica's."""

    pool: Pool
    callers: Callers
    sender: Sender
    pairs: Pairs
    tell: Tell
    arrived: Arrived
    """Whom to tell of messages for later."""
    shares: Shares
