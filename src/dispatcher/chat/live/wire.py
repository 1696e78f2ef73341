"""Wire: what has happened, as one replica tells the others over Redis."""

from datetime import datetime
from typing import Any, Final, TypeAlias

import orjson

from dispatcher.chat.happened import Changed, Happening, Marked, Rearranged, Sent
from dispatcher.chat.live.passing import Came, Typed
from dispatcher.chat.message import COLUMNS, ChatMessage

Told: TypeAlias = Happening | Typed | Came
_FIELDS: Final = tuple(COLUMNS.split(", "))
_TIMES: Final = tuple(number for number, name in enumerate(_FIELDS) if name.endswith("_at"))


def pack(told: Told) -> list[Any]:
    """As plain values; `encode` puts several of them together."""
    match told:
        case Sent(message):
            return ["sent", *(getattr(message, name) for name in _FIELDS)]
        case Changed(message):
            return ["changed", *(getattr(message, name) for name in _FIELDS)]
        case Marked(conversation_id, user_id, delivered, read):
            return ["marked", conversation_id, user_id, delivered, read]
        case Rearranged(conversation_id, what, user_ids):
            return ["rearranged", conversation_id, what, list(user_ids)]
        case Typed(conversation_id, user_id):
            return ["typed", conversation_id, user_id]
        case Came(user_id, online):
            return ["came", user_id, online]


def conversation_of(told: Told) -> int | None:
    """The conversation that it is about."""
    match told:
        case Sent(message) | Changed(message):
            return message.conversation_id
        case Came():
            return None
        case _:
            return told.conversation_id


def encode(origin: str, packed: list[list[Any]]) -> bytes:
    """One publication."""
    return orjson.dumps([origin, packed])


def decode(payload: bytes) -> tuple[str, list[Told]]:
    """Who published it, and what.

    Raises:
        ValueError: Somebody else wrote this.
    """
    try:
        origin, packed = orjson.loads(payload)
        return str(origin), [_unpack(*one) for one in packed]
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError("not a publication of ours") from error


def _unpack(kind: str, *fields: Any) -> Told:
    match kind:
        case "sent":
            return Sent(_message(fields))
        case "changed":
            return Changed(_message(fields))
        case "marked":
            return Marked(*fields)
        case "rearranged":
            return Rearranged(*fields)
        case "typed":
            return Typed(*fields)
        case "came":
            return Came(*fields)
        case _:
            raise ValueError(f"unknown: {kind}")


def _message(fields: tuple[Any, ...]) -> ChatMessage:
    values = list(fields)
    for number in _TIMES:
        if values[number] is not None:
            values[number] = datetime.fromisoformat(values[number])
    return ChatMessage(*values)
