"""/users: who may talk."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from dispatcher.chat.bodies import NewUser, UserChange, UserPath
from dispatcher.chat.caller import Asker
from dispatcher.chat.fields import UserId
from dispatcher.chat.parts import ChatParts
from dispatcher.chat.remove_user import remove_user
from dispatcher.chat.users import add_user, list_users, look_user, rename_user
from dispatcher.chat.views import UserView
from dispatcher.kernel.web import BODY_PROBLEMS, BoundedRoute, documented

MAX_LIMIT = 1000


def user_routes(parts: ChatParts) -> APIRouter:
    """The routes of users."""
    router = APIRouter(route_class=BoundedRoute)

    @router.post(
        "/users",
        status_code=201,
        summary="Add a user",
        responses=BODY_PROBLEMS
        | {
            200: {"model": UserView, "description": "There already."},
            409: documented("The id was a deleted user's."),
        },
    )
    async def post_user(asker: Asker, new: NewUser, response: Response) -> UserView:
        """With a token: yourself. The operator adds anybody. Idempotent."""
        user, added = await add_user(parts.pool, asker.acting(new.id), new.name)
        if not added:
            response.status_code = 200
        return UserView.of(user)

    @router.get("/users", summary="All users, by id")
    async def get_users(
        asker: Asker,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
        after: Annotated[UserId | None, Query(description="Only ids behind this one.")] = None,
    ) -> list[UserView]:
        """For the operator."""
        asker.must_operate()
        return [UserView.of(user) for user in await list_users(parts.pool, limit=limit, after=after or "")]

    @router.get("/users/{user_id}", summary="One user")
    async def get_user(asker: Asker, user_id: UserPath) -> UserView:
        """Yourself, or somebody you share a conversation with."""
        return UserView.of(await look_user(parts.pool, user_id, for_user=asker.user_id))

    @router.patch("/users/{user_id}", summary="Rename a user", responses=BODY_PROBLEMS)
    async def patch_user(asker: Asker, user_id: UserPath, change: UserChange) -> UserView:
        """Yourself."""
        asker.must_be(user_id)
        return UserView.of(await rename_user(parts.pool, user_id, change.name))

    @router.delete("/users/{user_id}", status_code=204, summary="Delete a user")
    async def delete_user(asker: Asker, user_id: UserPath) -> None:
        """Yourself. Your conversations with one other are closed, your groups go on; what you wrote stays."""
        asker.must_be(user_id)
        await remove_user(parts.pool, parts.tell, user_id)

    return router
