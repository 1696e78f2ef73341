"""The body of POST /messages: one message, an array of them, or one a line (NDJSON)."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import orjson
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from dispatcher.kernel.clock import pause, utc_now
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.kernel.web import in_words
from dispatcher.messages.insert import NewMessage
from dispatcher.messages.insert_each import Refusal
from dispatcher.messages.limits import RECIPIENT_LENGTH, WEBHOOK_CONTENT_LENGTH
from dispatcher.messages.moment import TIME_SCHEMA, PastError, understood
from dispatcher.messages.state import Priority

MAX_MESSAGES = 10_000
SLICE = 250
"""Messages that are judged in one go, about a millisecond: a large body must not hold up a tick."""
_PRIORITIES = {"high": Priority.HIGH, "normal": Priority.NORMAL, "low": Priority.LOW}


def _later(given: object) -> datetime | None:
    """The time, in UTC. One that has passed means now, which Postgres's clock says and not ours."""
    try:
        return None if given is None else understood(given, utc_now())
    except PastError as error:
        return error.moment


class MessageIn(BaseModel):
    """A message to be delivered by the webhook."""

    model_config = ConfigDict(extra="forbid", title="NewMessage")

    recipient_phone: str = Field(
        min_length=1,
        max_length=RECIPIENT_LENGTH,
        pattern=r"^[^\x00]*$",
        validation_alias=AliasChoices("recipient_phone", "to"),
        description="Whom it goes to. `to` is another name for it.",
        examples=["+905551111111"],
    )
    content: str = Field(
        min_length=1,
        max_length=WEBHOOK_CONTENT_LENGTH,
        pattern=r"^[^\x00]*$",
        examples=["Your code is 481516"],
    )
    deliver_at: Annotated[
        datetime | None,
        BeforeValidator(_later),
        WithJsonSchema({"anyOf": [*TIME_SCHEMA["anyOf"], {"type": "null"}]}),
    ] = Field(
        default=None,
        description="Not before this time: ISO 8601 with a zone, or seconds or milliseconds since 1970; at most "
        "10 years ahead. Without it, or when it has passed: as soon as the rate allows.",
        examples=["2026-12-24T18:00:00+03:00"],
    )
    priority: Literal["high", "normal", "low"] = Field(
        default="normal", description="Which of the messages that are due leave first."
    )


Item: TypeAlias = NewMessage | Refusal
"""A message, or why it is none."""
_BODY = TypeAdapter(MessageIn)


def is_array(body: bytes) -> bool:
    """Whether this JSON is an array."""
    return body[:1] == b"[" or body.lstrip()[:1] == b"["


def read_one(body: bytes) -> NewMessage:
    """The message that this JSON object is.

    Raises:
        InvalidRequestError: It is none; the text says why.
    """
    item = _judged(_BODY.validate_json, body)
    if isinstance(item, Refusal):
        raise InvalidRequestError(item.reason)
    return item


async def read_array(body: bytes) -> list[Item]:
    """The messages of a JSON array, in order.

    Raises:
        InvalidRequestError: The body is not JSON, or has no message, or too many.
    """
    try:
        given: list[object] = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"body: is not JSON: {error}") from None
    return await _all_judged(_BODY.validate_python, given)


async def read_lines(body: bytes) -> list[Item]:
    """The messages of NDJSON, one a line, in order; empty lines do not count.

    Raises:
        InvalidRequestError: The body has no message, or too many.
    """
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    return await _all_judged(_BODY.validate_json, lines)


async def _all_judged(validate: Callable[[Any], MessageIn], given: Sequence[object]) -> list[Item]:
    if not given:
        raise InvalidRequestError("body: has no message")
    if len(given) > MAX_MESSAGES:
        raise InvalidRequestError(f"body: has {len(given):,} messages; at most {MAX_MESSAGES:,} are taken")
    items: list[Item] = []
    for start in range(0, len(given), SLICE):
        items += [_judged(validate, one) for one in given[start : start + SLICE]]
        await pause(0)
    return items


def _judged(validate: Callable[[Any], MessageIn], given: object) -> Item:
    try:
        valid = validate(given)
    except ValidationError as error:
        return Refusal(reason(error, fields="recipient_phone and content"))
    return NewMessage(valid.recipient_phone, valid.content, valid.deliver_at, _PRIORITIES[valid.priority])


def reason(error: ValidationError, *, fields: str) -> str:
    """Why what was given is not an object with these fields, in words for the one who sent it."""
    first = error.errors(include_url=False)[0]
    match first["type"]:
        case "json_invalid":
            return f"is not JSON: {first['ctx']['error']}"
        case "model_type":
            return f"is not an object with {fields}"
        case "string_pattern_mismatch":
            return f"{first['loc'][0]}: a NUL character cannot be stored"
        case "extra_forbidden":
            return f"{first['loc'][0]}: is not known; take it out"
    return in_words(first["loc"], first["msg"])
