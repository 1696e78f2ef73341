"""/messages/{id}: look at one message, cancel it, retry it, resolve it."""

from typing import Any

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from dispatcher.kernel.db import Pool
from dispatcher.kernel.web import BODY_PROBLEMS, PROBLEMS, BoundedRoute, documented
from dispatcher.messages.cancel import cancel
from dispatcher.messages.look import look_closely
from dispatcher.messages.query import MessageId
from dispatcher.messages.recent import RecentSent
from dispatcher.messages.resolve import Verdict, resolve
from dispatcher.messages.retry import retry
from dispatcher.messages.view import MessageView, WholeMessageView, message_view, whole_message_view

log = structlog.get_logger()

MISSING: dict[int | str, dict[str, Any]] = {404: documented("There is no such message.")}
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: documented("The message is in a state for which this makes no sense; `detail` says which.")
}


class Resolution(BaseModel):
    """What a person has found out about uncertain messages."""

    model_config = ConfigDict(extra="forbid")

    verdict: Verdict = Field(
        alias="as",
        description="`sent`: the receiver has it. `resend`: it has not, or may get it twice.",
        examples=["sent"],
    )


def one_message_routes(pool: Pool, recent: RecentSent) -> APIRouter:
    """The routes of one message."""
    router = APIRouter(tags=["messages"], responses=PROBLEMS | MISSING, route_class=BoundedRoute)

    @router.get("/messages/{message_id:id}", summary="One message and its attempts")
    async def get_message(message_id: MessageId) -> WholeMessageView:
        """In whatever state it is."""
        return whole_message_view(*await look_closely(pool, message_id))

    @router.delete("/messages/{message_id:id}", summary="Cancel a message", responses=CONFLICT)
    async def delete_message(message_id: MessageId) -> MessageView:
        """Idempotent. Only a `pending` message can be cancelled; once this has answered, no attempt of it begins."""
        row = await cancel(pool, message_id)
        log.info("message_cancelled", message_id=message_id)
        return message_view(row)

    @router.post("/messages/{message_id:id}/retry", summary="Send a message once more", responses=CONFLICT)
    async def retry_message(message_id: MessageId) -> MessageView:
        """For `failed`, `cancelled` and `uncertain`: pending again, due now, with all of `max_attempts` before it.

        Attempts go on counting: `attempt_count` stays, and the next attempt has the next number.
        """
        row = await retry(pool, message_id)
        log.info("message_retried", message_id=message_id)
        return message_view(row)

    @router.post(
        "/messages/{message_id:id}/resolve",
        summary="Say what became of an uncertain message",
        responses=CONFLICT | BODY_PROBLEMS,
    )
    async def resolve_message(message_id: MessageId, resolution: Resolution) -> MessageView:
        """As `sent`: it is sent, and `sent_at` is now, for when it arrived nobody knows. As `resend`: like a retry."""
        row = await resolve(pool, message_id, resolution.verdict)
        log.info("message_resolved", message_id=message_id, verdict=resolution.verdict)
        if resolution.verdict == "sent":
            await recent.outdated(row["lane"])
        return message_view(row)

    return router
