"""/conversations/{id}/messages/{id}: look at one message, edit it, delete it."""

from typing import Any

from fastapi import APIRouter

from dispatcher.chat.bodies import ConversationPath, Edit, MessagePath
from dispatcher.chat.caller import Asker
from dispatcher.chat.change import edit, erase
from dispatcher.chat.history import look
from dispatcher.chat.message import ChatMessage
from dispatcher.chat.parts import ChatParts
from dispatcher.chat.seat import Seat, find_seat
from dispatcher.chat.status import find_hindmost, find_receipts
from dispatcher.chat.views import ChatMessageView, ReceiptsView
from dispatcher.kernel.db import Pool
from dispatcher.kernel.web import BODY_PROBLEMS, BoundedRoute, documented

_DELETED: dict[int | str, dict[str, Any]] = {409: documented("The message is deleted.")}


def one_message_routes(parts: ChatParts) -> APIRouter:
    """The routes of one message."""
    router = APIRouter(route_class=BoundedRoute)

    @router.get("/conversations/{conversation_id}/messages/{message_id}", summary="One message")
    async def get_message(
        asker: Asker, conversation_id: ConversationPath, message_id: MessagePath
    ) -> ChatMessageView:
        """For the members of its conversation."""
        seat = await find_seat(parts.pool, conversation_id, asker.acting())
        return await _shown(parts.pool, seat, await look(parts.pool, seat, message_id))

    @router.get(
        "/conversations/{conversation_id}/messages/{message_id}/receipts",
        summary="How many have received and read a message, and who",
    )
    async def get_receipts(
        asker: Asker, conversation_id: ConversationPath, message_id: MessagePath
    ) -> ReceiptsView:
        """For the members of its conversation."""
        seat = await find_seat(parts.pool, conversation_id, asker.acting())
        message = await look(parts.pool, seat, message_id)
        return ReceiptsView.of(await find_receipts(parts.pool, message, member_count=seat.member_count))

    @router.patch(
        "/conversations/{conversation_id}/messages/{message_id}",
        summary="Edit a message",
        responses=BODY_PROBLEMS | _DELETED,
    )
    async def patch_message(
        asker: Asker, conversation_id: ConversationPath, message_id: MessagePath, given: Edit
    ) -> ChatMessageView:
        """One of your own."""
        me = asker.acting()
        message = await edit(parts.pool, parts.tell, conversation_id, message_id, me, content=given.content)
        return await _shown(parts.pool, await find_seat(parts.pool, conversation_id, me), message)

    @router.delete("/conversations/{conversation_id}/messages/{message_id}", summary="Delete a message")
    async def delete_message(
        asker: Asker, conversation_id: ConversationPath, message_id: MessagePath
    ) -> ChatMessageView:
        """One of your own. Its place stays, its content goes. Idempotent."""
        me = asker.acting()
        message = await erase(parts.pool, parts.tell, conversation_id, message_id, me)
        return await _shown(parts.pool, await find_seat(parts.pool, conversation_id, me), message)

    return router


async def _shown(pool: Pool, seat: Seat, message: ChatMessage) -> ChatMessageView:
    hindmost = await find_hindmost(pool, seat.conversation_id)
    return ChatMessageView.of(message, me=seat.user_id, peer=seat.peer, status=hindmost.status(message))
