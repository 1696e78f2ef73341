"""Endpoint: where sockets come in, and where all of them are sent away when the replica goes."""

from collections.abc import Sequence

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Receive, Scope, Send

from dispatcher.chat.live import codes
from dispatcher.chat.live.session import Answer, Session, SessionParts
from dispatcher.kernel.clock import elapsed, pause

PATHS = ("/ws", "/")
ABORT = "dispatcher.abort"
"""The ASGI extension with which a connection can be ended that takes nothing any more."""
WRITE = "dispatcher.write"
"""The ASGI extension that sends text frames at once; it answers False when there is no room for them."""
DRAIN_AT_ONCE = 50
"""Sockets that are closed together; with a pause behind them, so that those who come back come one after the other."""
DRAIN_STEP_SECONDS = 0.05


class Endpoint:
    """An ASGI application for WebSockets."""

    def __init__(self, parts: SessionParts, answer: Answer) -> None:
        self._parts, self._answer = parts, answer
        self._sessions: set[Session] = set()
        self._draining = False

    def routes(self) -> Sequence[BaseRoute]:
        """Where it is."""
        return [WebSocketRoute(path, self) for path in PATHS]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One socket."""
        headers = dict(scope["headers"])
        await receive()  # websocket.connect
        if self._draining or not self._parts.door.has_room(elapsed()):
            await _turn_away(scope, send, 503, b"no room at the moment; try again")
            return
        if not self._parts.door.is_known(headers):
            await _turn_away(
                scope, send, 403, b"pages of this origin may not open sockets here: APP_CHAT_ORIGINS"
            )
            return
        await send({"type": "websocket.accept"})
        extensions = scope.get("extensions", {})
        session = Session(
            self._parts, receive, send, abort=extensions.get(ABORT), write=extensions.get(WRITE)
        )
        self._sessions.add(session)
        self._parts.door.sockets += 1
        try:
            await session.run(headers, self._answer)
        finally:
            self._sessions.discard(session)
            self._parts.door.sockets -= 1

    async def drain(self, *, seconds: float) -> None:
        """Send everybody away, a few at a time, and let nobody in; at most so long."""
        self._draining = True
        sessions = list(self._sessions)
        steps = max(1, len(sessions) // DRAIN_AT_ONCE)
        for first in range(0, len(sessions), DRAIN_AT_ONCE):
            for session in sessions[first : first + DRAIN_AT_ONCE]:
                session.close(codes.SHUTDOWN)
            await pause(min(DRAIN_STEP_SECONDS, seconds / steps))


async def _turn_away(scope: Scope, send: Send, status: int, why: bytes) -> None:
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": codes.UNAVAILABLE.number})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status == 503:  # noqa: PLR2004 - HTTP
        headers.append((b"retry-after", b"1"))
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": why})
