"""/groups/{id}/members: who is in a group."""

from typing import Any

from fastapi import APIRouter, Response

from dispatcher.chat.bodies import GroupPath, MemberChange, NewMember, UserPath
from dispatcher.chat.caller import Asker
from dispatcher.chat.group_members import add_member, change_role, members_of, remove_member
from dispatcher.chat.groups import find_group
from dispatcher.chat.parts import ChatParts
from dispatcher.chat.views import MemberView
from dispatcher.kernel.web import BODY_PROBLEMS, BoundedRoute, documented

_CONFLICT: dict[int | str, dict[str, Any]] = {409: documented("The group is full, or would have no owner.")}


def member_routes(parts: ChatParts) -> APIRouter:
    """The routes of a group's members."""
    router = APIRouter(route_class=BoundedRoute)

    @router.get("/groups/{group_id}/members", summary="Who is in a group")
    async def get_members(asker: Asker, group_id: GroupPath) -> list[MemberView]:
        """For its members."""
        await find_group(parts.pool, group_id, asker.acting())
        return [MemberView.of(one) for one in await members_of(parts.pool, group_id)]

    @router.post(
        "/groups/{group_id}/members",
        status_code=201,
        summary="Take somebody into a group",
        responses=BODY_PROBLEMS | _CONFLICT | {200: {"model": MemberView, "description": "In it already."}},
    )
    async def post_member(
        asker: Asker, group_id: GroupPath, new: NewMember, response: Response
    ) -> MemberView:
        """For its owner and admins; only the owner makes admins. Idempotent."""
        member, came = await add_member(
            parts.pool, parts.tell, group_id, new.user_id, by=asker.acting(), role=new.role
        )
        if not came:
            response.status_code = 200
        return MemberView.of(member)

    @router.patch(
        "/groups/{group_id}/members/{user_id}",
        summary="Change a member's role",
        responses=BODY_PROBLEMS | _CONFLICT,
    )
    async def patch_member(
        asker: Asker, group_id: GroupPath, user_id: UserPath, change: MemberChange
    ) -> MemberView:
        """For its owner. Making somebody else the owner makes you an admin."""
        return MemberView.of(
            await change_role(parts.pool, parts.tell, group_id, user_id, by=asker.acting(), role=change.role)
        )

    @router.delete(
        "/groups/{group_id}/members/{user_id}", status_code=204, summary="Leave a group, or remove somebody"
    )
    async def delete_member(asker: Asker, group_id: GroupPath, user_id: UserPath) -> None:
        """Yourself; an admin removes members, the owner anybody. A group whose owner leaves gets another one."""
        await remove_member(parts.pool, parts.tell, group_id, user_id, by=asker.acting())

    return router
