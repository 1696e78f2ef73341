"""Without an operator's key whoever reaches the service may do everything, and a web page that somebody looks at reaches it.

Such a page is told from the people and programs of this machine by two headers, which a browser sets and a page cannot:
`Host` is the page's own name, where that was made to lead here (DNS rebinding), and `Sec-Fetch-Site` says that it comes
from elsewhere.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dispatcher.kernel.errors import ForbiddenError
from dispatcher.kernel.web import problem

_THIS_MACHINE = re.compile(rb"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.IGNORECASE)


class NoForeignPages:
    """ASGI middleware: pages from elsewhere get nothing but the documents."""

    def __init__(self, app: ASGIApp, *, documents: Iterable[str], any_host: bool) -> None:
        """`documents` are paths that links of others may lead to; `any_host`: it is known under other names too."""
        self._app, self._any_host = app, any_host
        self._documents = frozenset(documents)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        refusal = self._refusal(scope) if scope["type"] in {"http", "websocket"} else None
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": ""})

    def _refusal(self, scope: Scope) -> Response | None:
        for name, value in scope["headers"]:
            if name == b"host" and not (self._any_host or _THIS_MACHINE.fullmatch(value)):
                return problem(
                    HTTPStatus.MISDIRECTED_REQUEST,
                    "Misdirected request",
                    "without APP_API_KEY this answers to localhost, 127.0.0.1 and [::1] alone; set that key, or "
                    "APP_TRUSTED_NETWORK=true where nobody else can reach it",
                )
            # what a socket's page may is for the socket to say: APP_CHAT_ORIGINS
            if name == b"sec-fetch-site" and value == b"cross-site" and scope["type"] == "http":
                if scope["method"] in {"GET", "HEAD"} and scope["path"] in self._documents:
                    continue
                return problem(
                    HTTPStatus.FORBIDDEN,
                    ForbiddenError.title,
                    "pages of other sites may not ask this without APP_API_KEY; set that key, and have them send it",
                )
        return None
