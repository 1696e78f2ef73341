"""With an operator's key set, nothing of the operator's is answered without it."""

from collections.abc import Iterable
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from dispatcher.kernel.api_key import HEADER, ApiKey
from dispatcher.kernel.errors import UnauthenticatedError
from dispatcher.kernel.web import problem


class OperatorOnly:
    """ASGI middleware: every path wants the key, but for those that are named open, and those below them."""

    def __init__(self, app: ASGIApp, *, key: ApiKey, exact: Iterable[str], below: Iterable[str]) -> None:
        """`exact` are open paths, `below` the beginnings of open ones. A path that nobody thought of wants the key."""
        self._app, self._key = app, key
        self._exact, self._below = frozenset(exact), tuple(below)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if (
            scope["type"] not in {"http", "websocket"}
            or self._open(scope["path"])
            or self._key.given_in(scope["headers"])
        ):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            said = f"this wants the operator's key (APP_API_KEY) in the header {HEADER}"
            answer = problem(HTTPStatus.UNAUTHORIZED, UnauthenticatedError.title, said)
            await answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": ""})

    def _open(self, path: str) -> bool:
        return path in self._exact or path.startswith(self._below)
