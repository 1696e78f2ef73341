"""What every route shares: problem details for errors (RFC 9457), a correlation id per request."""

import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from secrets import token_hex
from time import perf_counter
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dispatcher.kernel.db import UNAVAILABLE
from dispatcher.kernel.deadline import within
from dispatcher.kernel.errors import (
    DispatcherError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)

log = structlog.get_logger()

CORRELATION_HEADER = "X-Correlation-ID"
_HEADER = CORRELATION_HEADER.lower().encode()
ANSWER_SECONDS = 5.0
"""The longest that a route which asks Postgres takes, its request once read; then it answers 503."""
_ACCEPTABLE_ID = re.compile(
    r"[\w.:/+=@-]{1,128}", re.ASCII
)  # what may go into a header and a log line as it is


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = "about:blank"
    title: str = Field(examples=["Invalid request"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["limit: input should be less than or equal to 1000"])
    correlation_id: str | None = Field(default=None, examples=["0f8f7a3e5b1c4d0e9a6b2c7d8e9f0a1b"])


def documented(description: str) -> dict[str, Any]:
    """A problem, for the `responses` of a route."""
    # Spelled out: for a model alone FastAPI would document application/json.
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
    }


PROBLEMS: dict[int | str, dict[str, Any]] = {
    422: documented("The request cannot be; `detail` says why."),
    503: documented("Postgres does not answer at the moment; try again."),
}
MAX_BODY_BYTES = 64 * 1024
BODY_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: documented("The body is not text, or is nested too deep."),
    413: documented(f"The body has more than {MAX_BODY_BYTES} bytes."),
}
"""What a route that takes a body answers besides."""


_HEADERS = {
    UnavailableError.status: {"Retry-After": "1"},
    TooManyRequestsError.status: {"Retry-After": "1"},
    UnauthenticatedError.status: {"WWW-Authenticate": "Bearer"},  # RFC 9110 wants one with every 401
}


def problem(status: int, title: str, detail: str, **more: object) -> Response:
    """An answer of type application/problem+json; `more` are members of this kind of problem."""
    correlation_id = structlog.contextvars.get_contextvars().get("correlation_id")
    body = Problem(title=title, status=status, detail=detail, correlation_id=correlation_id)
    headers = _HEADERS.get(status)
    return Response(
        orjson.dumps(body.model_dump(exclude_none=True) | more),
        status_code=status,
        headers=headers,
        media_type="application/problem+json",
    )


def in_words(where: Sequence[object], said: str) -> str:
    """What pydantic says of a value, as a detail reads here: `limit: input should be a valid integer`."""
    text = said.removeprefix("Value error, ")
    return f"{'.'.join(map(str, where))}: {text[0].lower()}{text[1:]}"


def _allowed(app: FastAPI, request: Request) -> str | None:
    """The methods of this path, of all its routes; Starlette names those of one."""
    paths = app.openapi()["paths"]
    # a path without parameters first: /messages/retry is not a message's
    for path, operations in sorted(paths.items(), key=lambda item: "{" in item[0]):
        if compile_path(path)[0].fullmatch(request.url.path):
            return ", ".join(sorted(method.upper() for method in operations))
    return None


def handle_errors(app: FastAPI) -> None:
    """Answer every error of this app with problem details."""

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, DispatcherError)
        return problem(error.status, error.title, error.detail)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return problem(422, "Invalid request", f"body: is not JSON at character {first['loc'][-1]}")
        return problem(422, "Invalid request", in_words(first["loc"][1:] or first["loc"], first["msg"]))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        answer = problem(error.status_code, str(error.detail), str(error.detail))
        answer.headers.update(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (allowed := _allowed(app, request)):
            answer.headers["Allow"] = allowed
        return answer

    async def unavailable(_: Request, error: Exception) -> Response:
        log.warning("request_without_postgres", error=str(error) or type(error).__name__)
        return problem(503, UnavailableError.title, "Postgres does not answer at the moment; try again")

    app.add_exception_handler(DispatcherError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    for kind in UNAVAILABLE:
        app.add_exception_handler(kind, unavailable)


class BodyTooLargeError(DispatcherError):
    """The request's body has more bytes than its route takes."""

    status = 413
    title = "Content Too Large"


class BodyLimit:
    """ASGI middleware: no request's body becomes larger than MAX_BODY_BYTES in memory, announced or not.

    `larger` names the paths that take larger ones, and how large.
    """

    def __init__(self, app: ASGIApp, larger: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received, allowed = 0, self._larger.get(scope["path"], MAX_BODY_BYTES)

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > allowed:
                raise BodyTooLargeError(f"the body may have {allowed} bytes at most")
            return message

        await self._app(scope, receive_bounded, send)


class BoundedRoute(APIRoute):
    """The `route_class` of routers that ask Postgres: they answer within ANSWER_SECONDS, 503 if they must."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, bounded."""
        handler, takes_body = super().get_route_handler(), self.body_field is not None

        async def bounded(request: Request) -> Response:
            if takes_body:
                with suppress(ClientDisconnect):  # the handler meets it too, and knows what to do
                    await request.body()  # a slow sender's time is not Postgres's
            return await within(ANSWER_SECONDS, handler(request))

        return bounded


async def whole_body(receive: Receive) -> bytes:
    """The body of a request; cheaper than `Request.body` for the small ones, which come in one piece.

    Raises:
        ClientDisconnect: The client left before its end.
    """
    message = await receive()
    pieces: list[bytes] = []
    while message["type"] == "http.request":
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return b"".join([*pieces, body]) if pieces else body
        pieces.append(body)
        message = await receive()
    raise ClientDisconnect


class DirectRoute(APIRoute):
    """A route that FastAPI documents and does not run: its endpoint takes the Request, and answers a Response.

    For the routes that are called thousands of times a second: FastAPI's part costs as much as an insert.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        response = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


class Correlation:
    """ASGI middleware: binds the request's correlation id to its logs, returns it, and logs the request.

    The outermost one: what nothing inside has answered is answered here, with 500.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        correlation_id = _given_id(scope) or token_hex(16)
        status, began, answered = 500, perf_counter(), False

        async def send_with_id(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                message["headers"] = [*message["headers"], (_HEADER, correlation_id.encode("ascii"))]
            await send(message)

        # `bound_contextvars` would cost as much as the rest of this
        bound = structlog.contextvars.bind_contextvars(correlation_id=correlation_id)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            # A bug. Starlette would answer it outside of this, in plain text and without the id.
            log.exception("request_failed")
            if answered:
                raise
            failed = problem(500, "Internal error", "a bug; the log tells more under this correlation_id")
            await failed(scope, receive, send_with_id)
        finally:
            log.info(
                "http_request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                duration_ms=round((perf_counter() - began) * 1000, 1),
            )
            structlog.contextvars.reset_contextvars(**bound)


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _HEADER:
            text = value.decode("latin-1")
            return text if _ACCEPTABLE_ID.fullmatch(text) else None
    return None
