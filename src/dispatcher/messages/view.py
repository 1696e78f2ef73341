"""A message as people and programs read it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import asyncpg
from pydantic import BaseModel, ConfigDict, Field

from dispatcher.messages.state import Priority, State

COLUMNS = """id, lane, recipient_phone, content, state, sent_status, sent_at, receipt_id, priority, deliver_at,
             attempt_count, last_error, created_at"""
"""What `message_view` needs of a row."""

PriorityName = Literal["high", "normal", "low"]
_NAMES: dict[int, PriorityName] = {Priority.HIGH: "high", Priority.NORMAL: "normal", Priority.LOW: "low"}
_MILLISECOND = timedelta(milliseconds=1)
_EXAMPLE: dict[str, Any] = {
    "id": 1,
    "lane": "webhook",
    "recipient_phone": "+905551111111",
    "content": "Your code is 481516",
    "status": "sent",
    "sent_status": True,
    "sent_at": "2026-11-22T12:00:00.012345Z",
    "messageId": "67f2f8a8-ea58-4ed0-a6f9-ff217df4d849",
    "priority": "normal",
    "deliver_at": "2026-11-22T11:59:30.100000Z",
    "attempt_count": 1,
    "last_error": None,
    "created_at": "2026-11-22T11:59:30.100000Z",
    "late_ms": 29912.345,
}
_ATTEMPT: dict[str, Any] = {
    "number": 1,
    "started_at": "2026-11-22T12:00:00.002345Z",
    "duration_ms": 10,
    "outcome": "delivered",
    "status": 202,
    "error": None,
    "response_excerpt": '{"message":"Accepted","messageId":"67f2f8a8-ea58-4ed0-a6f9-ff217df4d849"}',
    "tick_no": 41,
    "replica": "vm-26923",
}


class MessageView(BaseModel):
    """One message. `messageId` is the receiver's; `id` is ours, and the `webhook-id` on the wire."""

    model_config = ConfigDict(populate_by_name=True, json_schema_extra={"examples": [_EXAMPLE]})

    id: int
    lane: str
    recipient_phone: str
    content: str
    status: State
    sent_status: bool = Field(description="True exactly when it is sent.")
    sent_at: datetime | None = Field(
        description="When the receiver's 2xx arrived, or when a person resolved it as sent."
    )
    receipt_id: str | None = Field(
        serialization_alias="messageId", description="The receiver's own id for it, from its answer."
    )
    priority: PriorityName
    deliver_at: datetime = Field(description="The earliest time of its next attempt.")
    attempt_count: int = Field(description="Attempts made so far, the one under way included.")
    last_error: str | None = Field(description="Why the latest attempt did not deliver it.")
    created_at: datetime
    late_ms: float | None = Field(
        description="`sent_at` - `deliver_at`, once it is sent. In the lane `console` it is how late it was printed; "
        "in `webhook` how long it waited for a tick, with what the attempt took."
    )


class AttemptView(BaseModel):
    """One attempt to deliver a message."""

    number: int
    started_at: datetime
    duration_ms: int
    outcome: Literal["delivered", "retry", "rejected", "interrupted"] = Field(
        description="`interrupted`: whoever made it died, or lost Postgres, before it ended."
    )
    status: int | None = Field(description="The receiver's HTTP status; None when there was no answer.")
    error: str | None
    response_excerpt: str | None = Field(description="The beginning of the receiver's answer.")
    tick_no: int | None = Field(description="The tick it was made in; None when it was interrupted.")
    replica: str


class WholeMessageView(MessageView):
    """One message and every attempt made for it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE | {"attempts": [_ATTEMPT]}]})

    attempts: list[AttemptView] = Field(description="Oldest first; of more than 1,000 the latest.")


def message_view(row: asyncpg.Record) -> MessageView:
    """The view of a row that has COLUMNS."""
    return MessageView(**_fields(row))


def whole_message_view(row: asyncpg.Record, attempts: Sequence[asyncpg.Record]) -> WholeMessageView:
    """The view of a row that has COLUMNS, with rows of its attempts."""
    return WholeMessageView(**_fields(row), attempts=[AttemptView(**attempt) for attempt in attempts])


def _fields(row: asyncpg.Record) -> dict[str, Any]:
    shown = {name: row[name] for name in MessageView.model_fields if name in row}
    sent_at = row["sent_at"]
    return shown | {
        "status": State(row["state"]),
        "priority": _NAMES[row["priority"]],
        "late_ms": None if sent_at is None else (sent_at - row["deliver_at"]) / _MILLISECOND,
    }
