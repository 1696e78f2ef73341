"""POST /echoAtTime: a text for the console at a time, once, however often the request is sent."""

from collections.abc import Callable, Sequence
from datetime import datetime

import orjson
from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.kernel.web import DirectRoute, problem, whole_body
from dispatcher.messages.echo_body import read_echo
from dispatcher.messages.echo_docs import DOCUMENTED
from dispatcher.messages.idempotency import Answer, IdempotencyKey
from dispatcher.messages.ingest import Ingest, Submission
from dispatcher.messages.ingest_http import (
    MediaTypeError,
    content_type_and_key,
    essence,
    idempotency_key,
    response,
)
from dispatcher.messages.insert import NewMessage
from dispatcher.messages.insert_each import Result
from dispatcher.messages.moment import PastError, understood
from dispatcher.messages.state import State

PATH = "/echoAtTime"
LANE = "console"
RECIPIENT = "console"
"""Of every message of this lane that comes in here: the table wants one, and there is only one console."""


def echo_route(ingest: Ingest, now: Callable[[], datetime]) -> DirectRoute:
    """The route that puts texts for the console in. What has passed `now` is refused."""

    async def put_in(request: Request) -> Response:
        try:
            body = await whole_body(request.receive)
        except ClientDisconnect:
            return problem(400, "Bad request", "the body broke off")
        query: bytes = request.scope["query_string"]
        content_type, given_key = content_type_and_key(request.scope)
        if body and essence(content_type) != "application/json":
            raise MediaTypeError(
                "Content-Type: say application/json; or say time and message in the query, with no body"
            )
        key = None
        if given_key is not None:
            key = idempotency_key(given_key, f"{PATH}?{query.decode('latin-1')}", body)
        echo = read_echo(body, query)
        try:
            time = understood(echo.time, now())
        except PastError as error:
            return await _late(ingest, key, error)
        except ValueError as error:
            raise InvalidRequestError(f"time: {error}") from None
        return await _put_in(ingest, NewMessage(RECIPIENT, echo.message, time, lane=LANE), key)

    return DirectRoute(PATH, put_in, methods=["POST"], tags=["messages"], **DOCUMENTED)


async def _put_in(ingest: Ingest, message: NewMessage, key: IdempotencyKey | None) -> Response:
    def answer(results: Sequence[Result], _: datetime) -> Answer:
        (id_,) = results
        body = {
            "id": id_,
            "time": message.deliver_at,
            "message": message.content,
            "lane": LANE,
            "status": State.PENDING,
        }
        return Answer(202, orjson.dumps(body, option=orjson.OPT_UTC_Z), f"/messages/{id_}")

    outcome = await ingest.submit(Submission([message], answer, key))
    if isinstance(outcome, Answer):
        return response(outcome)
    raise InvalidRequestError(outcome[0].reason)


async def _late(ingest: Ingest, key: IdempotencyKey | None, error: PastError) -> Response:
    """The answer that a repeat gets, whose time was to come when the request came first; else why it is too late."""

    def nothing_new(_: Sequence[Result], __: datetime) -> Answer:
        raise AssertionError

    if key is not None:
        outcome = await ingest.submit(Submission([], nothing_new, key))
        if isinstance(outcome, Answer):
            return response(outcome)
    raise InvalidRequestError(f"time: {error}")
