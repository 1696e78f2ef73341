"""The frames that the server sends, as text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from dispatcher.chat.live.codes import Code
from dispatcher.chat.live.snapshot import Standing
from dispatcher.chat.message import ChatMessage
from dispatcher.kernel.errors import DispatcherError, UnavailableError


def encode(type_: str, **fields: Any) -> str:
    """A frame with these fields."""
    return orjson.dumps({"type": type_, **fields}, option=orjson.OPT_UTC_Z).decode()


def message(one: ChatMessage, *, mine: bool, marks: tuple[int, int] | None = None) -> str:
    """A new message; `marks` are its sender's watermarks after it, where they are known."""
    more = {} if marks is None else {"marks": marks}
    return encode("message", message=view(one, mine=mine), **more)


def changed(one: ChatMessage, *, mine: bool) -> str:
    """A message that was edited or deleted, as it is now."""
    return encode("changed", change=one.change, message=view(one, mine=mine))


def receipts(conversation_id: int, marks: Iterable[tuple[str, int, int]]) -> str:
    """How far members have received and read."""
    listed = [
        {"user_id": who, "delivered_seq": delivered, "read_seq": read} for who, delivered, read in marks
    ]
    return encode("receipts", conversation_id=conversation_id, marks=listed)


def behind(conversation_id: int, seq: int, change: int) -> str:
    """More is missing than is pushed: it is to be read by pages; live goes on behind these."""
    return encode("behind", conversation_id=conversation_id, seq=seq, change=change)


def conversation(conversation_id: int, what: str, user_ids: Sequence[str], standing: Standing | None) -> str:
    """Something of the conversation itself is different; `standing` is for those who have just come in."""
    more = {} if standing is None else {"conversation": standing_view(standing)}
    return encode("conversation", conversation_id=conversation_id, what=what, user_ids=user_ids, **more)


def typing(conversation_id: int, user_id: str) -> str:
    """A member is writing."""
    return encode("typing", conversation_id=conversation_id, user_id=user_id)


def presence(states: Iterable[tuple[str, bool]], *, id_: int | None = None) -> str:
    """Who is there and who is not."""
    more: Mapping[str, Any] = {} if id_ is None else {"id": id_}
    return encode("presence", **more, users=[{"user_id": who, "online": online} for who, online in states])


def bye(code: Code, *, after_ms: int) -> str:
    """The socket is about to be closed, and its client may come back."""
    return encode("bye", code=code.number, reason=code.reason, reconnect=code.reconnect, after_ms=after_ms)


def error(id_: int | None, problem: DispatcherError, *, retry_after_ms: int | None = None) -> str:
    """What went wrong with a frame. After a temporary one the same frame may be sent again."""
    more: Mapping[str, Any] = {} if retry_after_ms is None else {"retry_after_ms": retry_after_ms}
    return encode(
        "error",
        id=id_,
        status=problem.status,
        title=problem.title,
        detail=problem.detail,
        temporary=isinstance(problem, UnavailableError) or retry_after_ms is not None,
        **more,
    )


def view(one: ChatMessage, *, mine: bool) -> dict[str, Any]:
    """A message, in the words of the REST API."""
    return {
        "id": str(one.id),
        "conversation_id": one.conversation_id,
        "seq": one.seq,
        "sender_id": one.sender_id,
        "content": one.content,
        "timestamp": one.sent_at,
        "client_timestamp": one.client_at,
        "client_id": one.client_id if mine else None,
        "edited_at": one.edited_at,
        "deleted_at": one.deleted_at,
    }


def standing_view(one: Standing) -> dict[str, Any]:
    """A conversation, in the words of the REST API, and how far its other user is."""
    seat = one.seat
    shown: dict[str, Any] = {
        "id": seat.conversation_id,
        "kind": seat.kind,
        "peer_id": seat.peer,
        "name": seat.name,
        "role": seat.role,
        "joined_seq": seat.joined_seq,
        "last_seq": seat.last_seq,
        "last_change": seat.last_change,
        "delivered_seq": seat.delivered_seq,
        "read_seq": seat.read_seq,
        "unread": seat.unread,
        "closed": seat.closed_at is not None,
    }
    if one.peer_marks is not None:
        shown["peer_delivered_seq"], shown["peer_read_seq"] = one.peer_marks
    return shown
