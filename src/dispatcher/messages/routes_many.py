"""Cancel, retry and resolve every message that matches a filter."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from dispatcher.kernel.db import Pool
from dispatcher.kernel.web import BODY_PROBLEMS, PROBLEMS, BoundedRoute
from dispatcher.messages.cancel import cancel_all
from dispatcher.messages.move_all import AT_MOST, Changed
from dispatcher.messages.query import ManyQuery, RetryQuery
from dispatcher.messages.recent import RecentSent
from dispatcher.messages.resolve import resolve_all
from dispatcher.messages.retry import retry_all
from dispatcher.messages.routes_one import Resolution

log = structlog.get_logger()


class ChangedView(BaseModel):
    """What a call has done."""

    changed: int = Field(description="How many messages it changed.", examples=[1234])
    more: bool = Field(
        description=f"A call ends after {AT_MOST:,} messages or 3 s. True: it did; say the same again.",
        examples=[False],
    )


def many_messages_routes(pool: Pool, recent: RecentSent) -> APIRouter:
    """The routes that change many messages, in small transactions. What was changed stays, however the call ends."""
    router = APIRouter(tags=["messages"], responses=PROBLEMS, route_class=BoundedRoute)

    @router.delete("/messages", summary="Cancel all pending messages that match")
    async def delete_messages(query: Annotated[ManyQuery, Query()]) -> ChangedView:
        """At least one of the parameters must be given. `since` and `until` mean `deliver_at`."""
        return _done("messages_cancelled", await cancel_all(pool, query.filter()))

    @router.post("/messages/retry", summary="Send all messages once more that match")
    async def retry_messages(query: Annotated[RetryQuery, Query()]) -> ChangedView:
        """At least one of the parameters must be given. `since` and `until` mean when they became so."""
        return _done("messages_retried", await retry_all(pool, query.status, query.filter()))

    @router.post(
        "/messages/resolve",
        summary="Say what became of all uncertain messages that match",
        responses=BODY_PROBLEMS,
    )
    async def resolve_messages(query: Annotated[ManyQuery, Query()], resolution: Resolution) -> ChangedView:
        """At least one of the parameters must be given. `since` and `until` mean when they became uncertain."""
        wanted = query.filter()
        changed = await resolve_all(pool, resolution.verdict, wanted)
        if resolution.verdict == "sent":
            await recent.outdated(wanted.lane)
        return _done("messages_resolved", changed)

    return router


def _done(event: str, changed: Changed) -> ChangedView:
    log.info(event, changed=changed.changed, more=changed.more)
    return ChangedView(changed=changed.changed, more=changed.more)
