"""GET /messages: what was said in a conversation, page by page."""

from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dispatcher.chat import history
from dispatcher.chat.caller import Asker
from dispatcher.chat.fields import ConversationId, UserId
from dispatcher.chat.groups import find_group
from dispatcher.chat.history import Page, Span
from dispatcher.chat.parts import ChatParts
from dispatcher.chat.seat import Seat, find_seat
from dispatcher.chat.status import find_hindmost
from dispatcher.chat.views import PageView
from dispatcher.kernel.db import Pool
from dispatcher.kernel.web import BoundedRoute
from dispatcher.messages.query import Moment

_Place = Annotated[int | None, Field(ge=0, lt=2**63)]


class HistoryQuery(BaseModel):
    """Which messages of which conversation."""

    model_config = ConfigDict(extra="forbid")

    with_: UserId | None = Field(
        default=None, alias="with", description="The conversation with this user.", examples=["bob"]
    )
    group: ConversationId | None = Field(default=None, description="Or of this group.")
    conversation: ConversationId | None = Field(default=None, description="Or any, by its id.")
    from_: Moment | None = Field(default=None, alias="from", description="Sent from this time (ISO 8601).")
    to: Moment | None = Field(default=None, description="Sent before this time (ISO 8601).")
    before: _Place = Field(default=None, description="Older than this message: a page's `older`.")
    after: _Place = Field(
        default=None, description="Newer than this message: a page's `newer`. 0: from the oldest on."
    )
    around: _Place = Field(default=None, description="With this message in the middle.")
    limit: int = Field(default=50, ge=1, le=history.MAX_LIMIT, description="Messages per page.")

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if sum(place is not None for place in (self.with_, self.group, self.conversation)) != 1:
            raise ValueError("say one of with, group and conversation")
        if sum(place is not None for place in (self.before, self.after, self.around)) > 1:
            raise ValueError("say at most one of before, after and around")
        return self


def history_routes(parts: ChatParts) -> APIRouter:
    """The route that lists chat messages."""
    router = APIRouter(route_class=BoundedRoute)

    @router.get("/messages", summary="The messages of a conversation, page by page")
    async def get_messages(asker: Asker, query: Annotated[HistoryQuery, Query()]) -> PageView:
        """Oldest first in a page. Unless `before`, `after` or `around` says which page, it is the newest one.

        `from` and `to` go together with any of them. Nothing has been said with a user you have not written to.
        """
        seat = await _seat(parts, asker.acting(), query)
        if seat is None:
            return PageView(messages=[], older=None, newer=None)
        page = await _page(parts.pool, seat, query)
        return PageView.of(page, seat, await find_hindmost(parts.pool, seat.conversation_id))

    return router


async def _seat(parts: ChatParts, me: str, query: HistoryQuery) -> Seat | None:
    if query.group is not None:
        return await find_group(parts.pool, query.group, me)
    conversation_id = query.conversation
    if query.with_ is not None:
        conversation_id = await parts.pairs.find(me, query.with_)
    return None if conversation_id is None else await find_seat(parts.pool, conversation_id, me)


async def _page(pool: Pool, seat: Seat, query: HistoryQuery) -> Page:
    span, limit = Span(query.from_, query.to), query.limit
    if query.before is not None:
        return await history.before(pool, seat, query.before, limit=limit, span=span)
    if query.after is not None:
        return await history.after(pool, seat, query.after, limit=limit, span=span)
    if query.around is not None:
        return await history.around(pool, seat, query.around, limit=limit, span=span)
    return await history.newest(pool, seat, limit=limit, span=span)
