"""Caller: in whose name a request comes, and what it may.

Three ways: a user's token; the operator's key, with `X-Act-As` for whoever the operator acts for; and, where neither a
key nor tokens are set up (then the service listens on loopback only), no proof at all: everybody is the operator.
"""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from dispatcher.chat.limits import USER_ID
from dispatcher.chat.token import Tokens
from dispatcher.kernel.api_key import HEADER, ApiKey
from dispatcher.kernel.errors import ForbiddenError, InvalidRequestError, UnauthenticatedError

ACT_AS = "X-Act-As"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    user_id: str | None
    """The user who asks, or for whom the operator does."""
    operator: bool

    def acting(self, named: str | None = None) -> str:
        """The user in whose name it is done; `named` is whom the request itself names, the operator acts for that one.

        Raises:
            ForbiddenError: It names somebody else.
            InvalidRequestError: The operator does not say for whom.
        """
        if self.user_id is None:
            if named is None:
                raise InvalidRequestError(f"{ACT_AS}: say for which user")
            return named
        if named is not None and named != self.user_id:
            raise ForbiddenError(f"{named} is somebody else: you are {self.user_id}")
        return self.user_id

    def must_be(self, user_id: str) -> None:
        """Nothing for the user themselves and for the operator.

        Raises:
            ForbiddenError: It is somebody else.
        """
        if not (self.operator and self.user_id is None):
            self.acting(user_id)

    def must_operate(self) -> None:
        """Nothing for the operator.

        Raises:
            ForbiddenError: It is a user.
        """
        if not self.operator:
            raise ForbiddenError("only the operator may, with APP_API_KEY")


class Callers:
    """Finds out who asks."""

    def __init__(self, *, tokens: Tokens | None, key: ApiKey | None) -> None:
        self._tokens, self._key = tokens, key

    async def __call__(self, request: Request) -> None:
        """A dependency of every route of chat: find out who sends this request, for `Asker`.

        Raises:
            UnauthenticatedError: Nobody knows.
            UnavailableError: The keys that tokens are judged by cannot be had at the moment.
        """
        request.state.caller = await self._caller(request)

    async def _caller(self, request: Request) -> Caller:
        if self._operates(request):
            return Caller(_act_as(request), operator=True)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise UnauthenticatedError(
                f"send a token, as Authorization: Bearer …, or the operator's key, as {HEADER}"
            )
        if self._tokens is None:
            raise UnauthenticatedError(
                "no tokens are set up here: APP_TOKEN_SECRET or APP_TOKEN_JWKS does; "
                f"the operator's key, as {HEADER}, is the other way"
            )
        identity = await self._tokens.identity(token.strip())
        if request.headers.get(ACT_AS) not in (None, identity.user_id):
            raise ForbiddenError(f"{ACT_AS} is for the operator")
        return Caller(identity.user_id, operator=False)

    def _operates(self, request: Request) -> bool:
        if self._key is not None:
            return self._key.given_in(request.headers.raw)
        return self._tokens is None and "authorization" not in request.headers


def _act_as(request: Request) -> str | None:
    given = request.headers.get(ACT_AS)
    if given is not None and not re.fullmatch(USER_ID, given):
        raise InvalidRequestError(f"{ACT_AS}: is not a user's id, which is {USER_ID}")
    return given


async def _known(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


Asker = Annotated[Caller, Depends(_known)]
"""A route's argument: who asks."""
