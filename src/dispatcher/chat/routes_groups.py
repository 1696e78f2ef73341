"""/groups: make, look, rename, delete."""

from typing import Annotated

from fastapi import APIRouter, Query

from dispatcher.chat.bodies import GroupChange, GroupPath, NewGroup
from dispatcher.chat.caller import Asker
from dispatcher.chat.groups import add_group, close_group, find_group, rename_group
from dispatcher.chat.inbox_page import InboxQuery, inbox_page
from dispatcher.chat.parts import ChatParts
from dispatcher.chat.views import ConversationView, InboxView
from dispatcher.kernel.web import BODY_PROBLEMS, BoundedRoute


def group_routes(parts: ChatParts) -> APIRouter:
    """The routes of groups."""
    router = APIRouter(route_class=BoundedRoute)

    @router.post("/groups", status_code=201, summary="Make a group", responses=BODY_PROBLEMS)
    async def post_group(asker: Asker, new: NewGroup) -> ConversationView:
        """You own it. Members see what is sent since they came in."""
        return ConversationView.of(
            await add_group(parts.pool, parts.tell, asker.acting(), new.name, new.members)
        )

    @router.get("/groups", summary="Your groups, the latest active first")
    async def get_groups(asker: Asker, query: Annotated[InboxQuery, Query()]) -> InboxView:
        """Those you are a member of."""
        return await inbox_page(parts.pool, asker.acting(), query, kind="group")

    @router.get("/groups/{group_id}", summary="One group")
    async def get_group(asker: Asker, group_id: GroupPath) -> ConversationView:
        """For its members."""
        return ConversationView.of(await find_group(parts.pool, group_id, asker.acting()))

    @router.patch("/groups/{group_id}", summary="Rename a group", responses=BODY_PROBLEMS)
    async def patch_group(asker: Asker, group_id: GroupPath, change: GroupChange) -> ConversationView:
        """For its owner and admins."""
        return ConversationView.of(
            await rename_group(parts.pool, parts.tell, group_id, asker.acting(), change.name)
        )

    @router.delete("/groups/{group_id}", status_code=204, summary="Delete a group")
    async def delete_group(asker: Asker, group_id: GroupPath) -> None:
        """For its owner. Nobody is a member any longer, and nobody sees its messages."""
        await close_group(parts.pool, parts.tell, group_id, asker.acting())

    return router
