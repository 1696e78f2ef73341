"""Everything under /api/v1. Every route of it, whoever adds one, knows who asks before it does anything."""

from fastapi import APIRouter, Depends, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from dispatcher.chat.caller import ACT_AS
from dispatcher.chat.parts import ChatParts
from dispatcher.chat.routes_conversations import conversation_routes
from dispatcher.chat.routes_groups import group_routes
from dispatcher.chat.routes_history import history_routes
from dispatcher.chat.routes_members import member_routes
from dispatcher.chat.routes_message import one_message_routes
from dispatcher.chat.routes_scheduled import scheduled_routes
from dispatcher.chat.routes_send import send_routes
from dispatcher.chat.routes_users import user_routes
from dispatcher.kernel.api_key import HEADER
from dispatcher.kernel.web import PROBLEMS, BoundedRoute, documented

PREFIX = "/api/v1"

# For the document alone: `Callers` reads the headers.
_TOKEN = HTTPBearer(auto_error=False, scheme_name="token", description="A user's token, a JWT.")
_ACT_AS = APIKeyHeader(
    name=ACT_AS,
    auto_error=False,
    scheme_name="act_as",
    description="For whom the operator acts: a user's id.",
)
_KEY = APIKeyHeader(name=HEADER, auto_error=False, scheme_name="key", description="The operator's key.")

_PROBLEMS = PROBLEMS | {
    401: documented("Nobody knows who asks: no token, or none that is good."),
    403: documented("It is not yours to do, or you are no longer a member."),
    404: documented("There is no such thing, as far as you may know."),
}


def chat_routes(parts: ChatParts) -> APIRouter:
    """The routes of chat."""
    router = APIRouter(
        prefix=PREFIX,
        tags=["chat"],
        route_class=BoundedRoute,
        responses=_PROBLEMS,
        dependencies=[Security(_TOKEN), Security(_KEY), Security(_ACT_AS), Depends(parts.callers)],
    )
    for routes in (
        *(send_routes, history_routes, conversation_routes, one_message_routes),
        *(group_routes, member_routes, user_routes, scheduled_routes),
    ):
        router.include_router(routes(parts))
    return router
