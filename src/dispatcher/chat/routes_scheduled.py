"""/conversations/{id}/scheduled: one's own messages for later, and calling them off."""

from typing import Annotated

from fastapi import APIRouter, Path

from dispatcher.chat.bodies import ConversationPath
from dispatcher.chat.caller import Asker
from dispatcher.chat.parts import ChatParts
from dispatcher.chat.seat import find_seat
from dispatcher.chat.views import ScheduledListView, ScheduledView
from dispatcher.chat.waiting import call_off, waiting
from dispatcher.kernel.web import BoundedRoute, documented

ScheduledPath = Annotated[int, Path(ge=1, lt=2**63, description="The `scheduled_id` of a message for later.")]


def scheduled_routes(parts: ChatParts) -> APIRouter:
    """The routes of messages for later."""
    router = APIRouter(route_class=BoundedRoute)

    @router.get("/conversations/{conversation_id}/scheduled", summary="Your messages for later")
    async def get_scheduled(asker: Asker, conversation_id: ConversationPath) -> ScheduledListView:
        """Those that wait, soonest first. Nobody else sees them."""
        seat = await find_seat(parts.pool, conversation_id, asker.acting())
        found = await waiting(parts.pool, seat)
        return ScheduledListView(
            scheduled=[ScheduledView.of(one, conversation_id, seat.user_id) for one in found]
        )

    @router.delete(
        "/conversations/{conversation_id}/scheduled/{scheduled_id}",
        status_code=204,
        summary="Call off a message for later",
        responses={409: documented("It is being sent, or has been: delete the message itself.")},
    )
    async def delete_scheduled(
        asker: Asker, conversation_id: ConversationPath, scheduled_id: ScheduledPath
    ) -> None:
        """One of your own. Once this has answered, it is not sent. Idempotent."""
        await call_off(parts.pool, await find_seat(parts.pool, conversation_id, asker.acting()), scheduled_id)

    return router
