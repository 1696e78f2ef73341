"""A client of Dispatcher's chat: async, typed, connecting again by itself. It needs nothing else of Dispatcher's."""

from dispatcher.client.api import ChatApi, Talk, chat_api
from dispatcher.client.client import ChatClient
from dispatcher.client.errors import ChatError, ClosedError, RefusedError, UnreachableError
from dispatcher.client.events import (
    Arrived,
    Changed,
    Connected,
    Disconnected,
    Event,
    Outdated,
    Presence,
    Rearranged,
    Receipts,
    Typing,
)
from dispatcher.client.models import (
    Conversation,
    Member,
    Message,
    MessageReceipts,
    Page,
    Position,
    Scheduled,
    User,
)

__all__ = [
    "Arrived", "Changed", "ChatApi", "ChatClient", "ChatError", "ClosedError", "Connected", "Conversation",
    "Disconnected", "Event", "Member", "Message", "MessageReceipts", "Outdated", "Page", "Position", "Presence",
    "Rearranged", "Receipts", "RefusedError", "Scheduled", "Talk", "Typing", "UnreachableError", "User", "chat_api",
]  # fmt: skip
