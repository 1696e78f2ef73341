"""Give pending messages another time: one of them, or all that match a filter."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import structlog
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from dispatcher.kernel.db import Pool
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.kernel.web import BODY_PROBLEMS, PROBLEMS, BoundedRoute
from dispatcher.messages.arrived import Arrived
from dispatcher.messages.moment import TIME_SCHEMA, understood
from dispatcher.messages.move_time import move_time, move_time_all
from dispatcher.messages.query import ManyQuery, MessageId
from dispatcher.messages.routes_many import ChangedView
from dispatcher.messages.routes_one import CONFLICT, MISSING
from dispatcher.messages.view import MessageView, message_view

log = structlog.get_logger()


class NewTime(BaseModel):
    """When pending messages are to be delivered instead."""

    model_config = ConfigDict(extra="forbid")

    deliver_at: Annotated[object, WithJsonSchema(TIME_SCHEMA)] = Field(
        description="ISO 8601 with a zone, or seconds or milliseconds since 1970. Not past, at most 10 years ahead.",
        examples=["2030-12-24T18:00:00+03:00"],
    )


def move_routes(pool: Pool, arrived: Arrived, now: Callable[[], datetime]) -> APIRouter:
    """The routes that move messages in time, to what has not passed `now`.

    `arrived` is told of what was moved, after the commit.
    """
    router = APIRouter(tags=["messages"], responses=PROBLEMS | BODY_PROBLEMS, route_class=BoundedRoute)

    def time_of(new: NewTime) -> datetime:
        try:
            return understood(new.deliver_at, now())
        except ValueError as error:
            raise InvalidRequestError(f"deliver_at: {error}") from None

    @router.patch(
        "/messages/{message_id:id}", summary="Give a message another time", responses=MISSING | CONFLICT
    )
    async def move_message(message_id: MessageId, new: NewTime) -> MessageView:
        """Only a `pending` message can be moved; the answer shows its new `deliver_at`."""
        row = await move_time(pool, message_id, time_of(new), arrived=arrived)
        log.info("message_moved", message_id=message_id, deliver_at=row["deliver_at"].isoformat())
        return message_view(row)

    @router.post("/messages/move", summary="Give all pending messages that match another time")
    async def move_messages(query: Annotated[ManyQuery, Query()], new: NewTime) -> ChangedView:
        """At least one of the parameters must be given. `since` and `until` mean the `deliver_at` they have."""
        done = await move_time_all(pool, query.filter(), time_of(new), arrived=arrived)
        log.info("messages_moved", changed=done.changed, more=done.more)
        return ChangedView(changed=done.changed, more=done.more)

    return router
