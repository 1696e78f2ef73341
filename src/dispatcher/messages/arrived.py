"""Arrived: who is told, after the commit, that messages of a lane have come in or were moved, and when the first is due."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TypeAlias

from dispatcher.messages.insert import NewMessage

Arrived: TypeAlias = Mapping[str, Callable[[datetime], None]]
"""By lane: whom to tell the earliest `deliver_at`. A lane that finds what is due by itself is not in it."""


def tell(arrived: Arrived, messages: Iterable[NewMessage], at: datetime) -> None:
    """Tell each lane once of those that were committed at this time."""
    if not arrived:
        return
    earliest: dict[str, datetime] = {}
    for message in messages:
        if message.lane in arrived:
            due = message.deliver_at or at
            earliest[message.lane] = min(due, earliest.get(message.lane, due))
    for lane, due in earliest.items():
        arrived[lane](max(due, at))
