"""POST /messages: one message or many, once each, however often the request is sent."""

from collections.abc import Sequence
from datetime import datetime

import orjson
from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.kernel.web import DirectRoute, problem, whole_body
from dispatcher.messages.idempotency import Answer, IdempotencyKey
from dispatcher.messages.ingest import Ingest, Submission
from dispatcher.messages.ingest_body import Item, is_array, read_array, read_lines, read_one
from dispatcher.messages.ingest_docs import DOCUMENTED
from dispatcher.messages.ingest_http import (
    MediaTypeError,
    content_type_and_key,
    essence,
    idempotency_key,
    response,
)
from dispatcher.messages.insert import NewMessage
from dispatcher.messages.insert_each import Refusal, Result
from dispatcher.messages.state import Priority, State

PATH = "/messages"
_LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})


def ingest_route(ingest: Ingest) -> DirectRoute:
    """The route that puts messages in."""

    async def put_in(request: Request) -> Response:
        try:
            body = await whole_body(request.receive)
        except ClientDisconnect:
            return problem(400, "Bad request", "the body broke off")
        content_type, given_key = content_type_and_key(request.scope)
        kind = _kind(content_type)
        key = None if given_key is None else idempotency_key(given_key, kind, body)
        if kind != "lines" and not is_array(body):
            return await _one(ingest, read_one(body), key)
        items = await (read_lines(body) if kind == "lines" else read_array(body))
        return await _many(ingest, items, key)

    return DirectRoute(PATH, put_in, methods=["POST"], tags=["messages"], **DOCUMENTED)


async def _one(ingest: Ingest, message: NewMessage, key: IdempotencyKey | None) -> Response:
    def answer(results: Sequence[Result], at: datetime) -> Answer:
        (id_,) = results
        assert isinstance(id_, int)
        return Answer(201, orjson.dumps(_view(id_, message, at), option=orjson.OPT_UTC_Z), f"{PATH}/{id_}")

    outcome = await ingest.submit(Submission([message], answer, key))
    if isinstance(outcome, Answer):
        return response(outcome)
    raise InvalidRequestError(outcome[0].reason)


async def _many(ingest: Ingest, items: Sequence[Item], key: IdempotencyKey | None) -> Response:
    messages = [item for item in items if isinstance(item, NewMessage)]
    if not messages:
        return _none_of(items)

    def answer(results: Sequence[Result], _: datetime) -> Answer:
        merged = _merged(items, results)
        refused = sum(isinstance(result, Refusal) for result in merged)
        body = {"accepted": len(merged) - refused, "refused": refused, "results": _listed(merged)}
        return Answer(207 if refused else 201, orjson.dumps(body))

    outcome = await ingest.submit(Submission(messages, answer, key))
    return response(outcome) if isinstance(outcome, Answer) else _none_of(_merged(items, outcome))


def _merged(items: Sequence[Item], results: Sequence[Result]) -> list[Result]:
    """A result for each item: what the database said of a message, or why it never came before it."""
    rest = iter(results)
    return [item if isinstance(item, Refusal) else next(rest) for item in items]


def _listed(results: Sequence[Result]) -> list[dict[str, object]]:
    return [{"error": one.reason} if isinstance(one, Refusal) else {"id": one} for one in results]


def _none_of(refusals: Sequence[Item | Result]) -> Response:
    listed = [{"error": one.reason} for one in refusals if isinstance(one, Refusal)]
    detail = f"none of the {len(listed):,} messages is in; the first: {listed[0]['error']}"
    return problem(422, InvalidRequestError.title, detail, results=listed)


def _view(id_: int, message: NewMessage, at: datetime) -> dict[str, object]:
    """`message_view` of the row that has just been inserted; a test holds the two together."""
    return {
        "id": id_,
        "lane": message.lane,
        "recipient_phone": message.recipient,
        "content": message.content,
        "status": State.PENDING,
        "sent_status": False,
        "sent_at": None,
        "messageId": None,
        "priority": Priority(message.priority).name.lower(),
        "deliver_at": at if message.deliver_at is None else max(at, message.deliver_at),
        "attempt_count": 0,
        "last_error": None,
        "created_at": at,
        "late_ms": None,
    }


def _kind(content_type: str) -> str:
    """`json` or `lines`. Nothing else: a page on another site can make a browser post text and forms here."""
    if content_type == "application/json":
        return "json"
    stands_for = essence(content_type)
    if stands_for in _LINES:
        return "lines"
    if stands_for == "application/json":
        return "json"
    raise MediaTypeError("Content-Type: say application/json, or application/x-ndjson for one message a line")
