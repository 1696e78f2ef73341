"""POST /messages: send a chat message, now or later."""

from fastapi import APIRouter, Response

from dispatcher.chat.bodies import NewMessage
from dispatcher.chat.caller import Asker
from dispatcher.chat.parts import ChatParts
from dispatcher.chat.schedule import Scheduled, find_earlier, find_result, is_later, schedule
from dispatcher.chat.seat import Kind
from dispatcher.chat.send import NewChatMessage, SendResult
from dispatcher.chat.status import Status, find_hindmost
from dispatcher.chat.views import ChatMessageView, ScheduledView
from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.kernel.web import BODY_PROBLEMS, BoundedRoute, documented
from dispatcher.messages.moment import MAX_AHEAD


def send_routes(parts: ChatParts) -> APIRouter:
    """The route that sends."""
    router = APIRouter(route_class=BoundedRoute)

    @router.post(
        "/messages",
        status_code=201,
        summary="Send a message to a user or a group",
        responses=BODY_PROBLEMS
        | {
            200: {
                "model": ChatMessageView | ScheduledView,
                "description": "It was in before: the earlier message, as it is now.",
            },
            202: {"model": ScheduledView, "description": "It will be sent at its `timestamp`."},
            409: documented("The conversation is closed, or holds too many of your messages for later."),
            429: documented("You send more than a user may; try again in a moment."),
        },
        response_model=ChatMessageView | ScheduledView,
    )
    async def post_message(
        asker: Asker, new: NewMessage, response: Response
    ) -> ChatMessageView | ScheduledView:
        """The answer comes after the commit. With a `client_id` it can be repeated, after a lost answer or a 503."""
        me = asker.acting(new.sender_id)
        if not asker.operator:
            parts.shares.take(me)
        wanted = await _placed(parts, me, new)
        scheduled, result = await _scheduled(parts, wanted) or (None, None)
        if result is None:
            if scheduled is not None:
                response.status_code = 202 if scheduled.outcome == "scheduled" else 200
                return ScheduledView.of(scheduled, wanted.conversation_id, wanted.sender_id)
            result = await parts.sender.send(wanted)
        message = result.message
        response.headers["Location"] = (
            f"/api/v1/conversations/{message.conversation_id}/messages/{message.id}"
        )
        if result.repeated:
            response.status_code = 200
        status = await _status(parts, result)
        return ChatMessageView.of(message, me=message.sender_id, peer=result.peer, status=status)

    return router


async def _placed(parts: ChatParts, me: str, new: NewMessage) -> NewChatMessage:
    """The message with the conversation that it goes to, which is opened if need be."""
    kind: Kind | None = None
    if new.receiver_id is not None:
        conversation_id = await parts.pairs.open(me, new.receiver_id)
    elif new.group_id is not None:
        conversation_id, kind = new.group_id, "group"
    else:
        assert new.conversation_id is not None
        conversation_id = new.conversation_id
    return NewChatMessage(conversation_id, me, new.content, new.client_id, new.timestamp, kind)


async def _scheduled(parts: ChatParts, wanted: NewChatMessage) -> tuple[Scheduled, SendResult | None] | None:
    """The message for later that is asked for, now or when its time had not yet come, and what it is since it was sent.

    None for one to be sent now.
    """
    if wanted.client_at is None or not is_later(wanted.client_at):
        return await find_earlier(parts.pool, wanted)
    if wanted.client_at > utc_now() + MAX_AHEAD:
        raise InvalidRequestError("timestamp: is more than 10 years ahead")
    scheduled = await schedule(parts.pool, parts.arrived, wanted, wanted.client_at)
    return scheduled, await find_result(parts.pool, wanted, scheduled) if scheduled.repeated else None


async def _status(parts: ChatParts, result: SendResult) -> Status:
    if not result.repeated:
        return Status.SENT
    return (await find_hindmost(parts.pool, result.message.conversation_id)).status(result.message)
