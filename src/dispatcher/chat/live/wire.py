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
        return str(origin), [_unpack(one) for one in packed]
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError("not a publication of ours") from error


def _unpack(packed: list[Any]) -> Told:
    match packed:
        case ["sent", int(), int(), int(), str(), str() | None, str(), *_]:
            return Sent(_message(packed[1:]))
        case ["changed", int(), int(), int(), str(), str() | None, str(), *_, int()]:
            return Changed(_message(packed[1:]))
        case ["marked", int(id_), str(user_id), int(delivered), int(read)]:
            return Marked(id_, user_id, delivered, read)
        case ["rearranged", int(id_), str(what), list(user_ids)]:
            return Rearranged(id_, what, user_ids)  # type: ignore[arg-type]  # a newer replica may know more of them
        case ["typed", int(id_), str(user_id)]:
            return Typed(id_, user_id)
        case ["came", str(user_id), bool(online)]:
            return Came(user_id, online)
        case _:
            raise ValueError(f"unknown: {packed}")


def _message(values: list[Any]) -> ChatMessage:
    for number in _TIMES:
        if values[number] is not None:
            values[number] = datetime.fromisoformat(values[number])
    return ChatMessage(*values)
