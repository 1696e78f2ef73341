"""A message as people and programs read it."""

from datetime import datetime

import asyncpg
from pydantic import BaseModel, ConfigDict, Field

from dispatcher.messages.table import State


class MessageView(BaseModel):
    """One message. `messageId` is the receiver's; `id` is ours, and the `webhook-id` on the wire."""

    model_config = ConfigDict(
        populate_by_name=True,
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "lane": "webhook",
                    "recipient_phone": "+905551111111",
                    "content": "Your code is 481516",
                    "status": "sent",
                    "sent_status": True,
                    "sent_at": "2026-11-22T12:00:00.012345Z",
                    "messageId": "67f2f8a8-ea58-4ed0-a6f9-ff217df4d849",
                    "deliver_at": "2026-11-22T11:59:30.100000Z",
                    "attempts": 1,
                    "last_error": None,
                    "created_at": "2026-11-22T11:59:30.100000Z",
                }
            ]
        },
    )

    id: int
    lane: str
    recipient_phone: str
    content: str
    status: State
    sent_status: bool = Field(description="True exactly when it is sent.")
    sent_at: datetime | None = Field(description="When the receiver's 2xx arrived.")
    receipt_id: str | None = Field(
        serialization_alias="messageId", description="The receiver's own id for it, from its answer."
    )
    deliver_at: datetime = Field(description="The earliest time of its next attempt.")
    attempts: int = Field(description="Attempts made so far, the one under way included.")
    last_error: str | None = Field(description="Why the latest attempt did not deliver it.")
    created_at: datetime


def message_view(row: asyncpg.Record) -> MessageView:
    """The view of a row as `listing` selects it."""
    return MessageView(
        id=row["id"],
        lane=row["lane"],
        recipient_phone=row["recipient_phone"],
        content=row["content"],
        status=State(row["state"]),
        sent_status=row["sent_status"],
        sent_at=row["sent_at"],
        receipt_id=row["receipt_id"],
        deliver_at=row["deliver_at"],
        attempts=row["attempt_count"],
        last_error=row["last_error"],
        created_at=row["created_at"],
    )
