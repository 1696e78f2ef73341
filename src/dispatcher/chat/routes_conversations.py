"""/conversations: a user's inbox, and how far they have received and read."""

from typing import Annotated

from fastapi import APIRouter, Query

from dispatcher.chat.bodies import ConversationChange, ConversationPath, Seen
from dispatcher.chat.caller import Asker
from dispatcher.chat.inbox_page import InboxQuery, inbox_page
from dispatcher.chat.mark import Mark, Marks, TooHigh, happened, mark
from dispatcher.chat.mute import mute
from dispatcher.chat.parts import ChatParts
from dispatcher.chat.seat import find_seat
from dispatcher.chat.views import ConversationView, InboxView, MarksView
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.kernel.web import BODY_PROBLEMS, BoundedRoute


def conversation_routes(parts: ChatParts) -> APIRouter:
    """The routes of conversations."""
    router = APIRouter(route_class=BoundedRoute)

    @router.get("/conversations", summary="Your conversations, the latest active first")
    async def get_conversations(asker: Asker, query: Annotated[InboxQuery, Query()]) -> InboxView:
        """Each with its last message and how many you have not read."""
        return await inbox_page(parts.pool, asker.acting(), query, kind=None)

    @router.get("/conversations/{conversation_id}", summary="One conversation")
    async def get_conversation(asker: Asker, conversation_id: ConversationPath) -> ConversationView:
        """For its members."""
        return ConversationView.of(await find_seat(parts.pool, conversation_id, asker.acting()))

    @router.patch("/conversations/{conversation_id}", summary="Mute a conversation", responses=BODY_PROBLEMS)
    async def patch_conversation(
        asker: Asker, conversation_id: ConversationPath, change: ConversationChange
    ) -> ConversationView:
        """For you alone."""
        seat = await mute(parts.pool, conversation_id, asker.acting(), muted=change.muted)
        return ConversationView.of(seat)

    @router.post(
        "/conversations/{conversation_id}/delivered",
        summary="Say how far you have received",
        responses=BODY_PROBLEMS,
    )
    async def post_delivered(asker: Asker, conversation_id: ConversationPath, seen: Seen) -> MarksView:
        """Forward only: a lower or repeated `seq` changes nothing. 422 for one that nobody has sent yet."""
        return await _moved(parts, Mark(conversation_id, asker.acting(), delivered=seen.seq))

    @router.post(
        "/conversations/{conversation_id}/read", summary="Say how far you have read", responses=BODY_PROBLEMS
    )
    async def post_read(asker: Asker, conversation_id: ConversationPath, seen: Seen) -> MarksView:
        """What was read was received too. Forward only, as above."""
        return await _moved(parts, Mark(conversation_id, asker.acting(), read=seen.seq))

    return router


async def _moved(parts: ChatParts, wanted: Mark) -> MarksView:
    (outcome,) = await mark(parts.pool, [wanted])
    if isinstance(outcome, Marks):
        if outcome.moved:
            parts.tell(happened(wanted, outcome))
        return MarksView.of(outcome)
    if isinstance(outcome, TooHigh):
        raise InvalidRequestError(f"seq: the latest message is {outcome.last_seq}")
    await find_seat(parts.pool, wanted.conversation_id, wanted.user_id)  # says what is wrong
    raise InvalidRequestError("seq: you have come in just now; try again")
