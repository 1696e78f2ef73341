"""A page of an inbox, and where it goes on."""

import re

from pydantic import BaseModel, Field

from dispatcher.chat.ids import MAX_ID
from dispatcher.chat.inbox import FIRST, MAX_LIMIT, inbox
from dispatcher.chat.seat import Kind
from dispatcher.chat.views import ConversationView, InboxView
from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import InvalidRequestError


class InboxQuery(BaseModel):
    """Which page."""

    limit: int = Field(default=50, ge=1, le=MAX_LIMIT, description="Conversations per page.")
    cursor: str | None = Field(default=None, max_length=64, description="From a page's `next`.")


async def inbox_page(pool: Pool, user_id: str, query: InboxQuery, *, kind: Kind | None) -> InboxView:
    """The page."""
    after = FIRST if query.cursor is None else _place(query.cursor)
    entries = await inbox(pool, user_id, limit=query.limit + 1, after=after, kind=kind)
    shown = entries[: query.limit]
    return InboxView(
        conversations=[ConversationView.of(entry.seat, entry) for entry in shown],
        next="{}.{}".format(*shown[-1].place) if len(entries) > query.limit else None,
    )


def _place(cursor: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,19})\.([0-9]{1,19})", cursor, re.ASCII)
    if match is None or max(int(match[1]), int(match[2])) > MAX_ID:
        raise InvalidRequestError("cursor: not one that this service handed out; leave it away to begin anew")
    return int(match[1]), int(match[2])
