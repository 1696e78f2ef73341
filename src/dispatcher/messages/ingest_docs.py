"""What OpenAPI says of POST /messages; its route reads the request and writes the answer itself."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dispatcher.kernel.web import PROBLEMS, documented
from dispatcher.messages.idempotency import MAX_KEY
from dispatcher.messages.ingest_body import MAX_MESSAGES, MessageIn
from dispatcher.messages.view import MessageView

BODY_BYTES = 16 * 1024 * 1024

_ONE = {"recipient_phone": "+905551111111", "content": "Your code is 481516"}
_LATER = {
    "to": "+905552222222",
    "content": "Your table is ready",
    "deliver_at": "2026-12-24T18:00:00+03:00",
    "priority": "high",
}


class ItemResult(BaseModel):
    """What came of one message: its `id`, or the `error` for which it is not in."""

    id: int | None = None
    error: str | None = None


class BulkAnswer(BaseModel):
    """What came of each message, in the order they were sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accepted": 2,
                    "refused": 1,
                    "results": [
                        {"id": 17},
                        {"error": "content: string should have at least 1 character"},
                        {"id": 18},
                    ],
                }
            ]
        }
    )

    accepted: int = Field(description="Messages that are in.")
    refused: int = Field(description="Messages that are not.")
    results: list[ItemResult]


KEY_PARAMETER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A text of your choice that is another for each request, e.g. a UUID.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}
DOCUMENTED: dict[str, Any] = {
    "summary": "Put messages in, one or many",
    "description": f"""
One message: a JSON object; the answer is the message. Many, up to {MAX_MESSAGES:,}: an array, or one object a line with
`Content-Type: application/x-ndjson`; the answer has a result for each, in order. Of many, those that can be are put in,
although others cannot: 201 when all are in, 207 when some are, 422 when none is. The answer comes after the commit.

With an `Idempotency-Key` the request can be repeated, after a lost answer or a 503, and is done once: the repeat gets
the first answer, with `Idempotent-Replayed: true`. A key is known for 24 hours.
""",
    "status_code": 201,
    "response_model": MessageView | BulkAnswer,
    "response_description": "They are in. For one message `Location` is its address.",
    "responses": {
        207: {
            "model": BulkAnswer,
            "description": "Some are in; `results` says which, and why the others are not.",
        },
        400: documented("The body broke off."),
        409: documented("The Idempotency-Key came with another request before."),
        413: documented(f"The body has more than {BODY_BYTES} bytes."),
        415: documented("The body is neither application/json nor application/x-ndjson."),
        422: documented("Nothing is in; `detail` says why, and of many `results` says it for each."),
        503: PROBLEMS[503],
    },
    "openapi_extra": {
        "parameters": [KEY_PARAMETER],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "anyOf": [
                            MessageIn.model_json_schema(),
                            {
                                "type": "array",
                                "title": "Messages",
                                "description": "Each like the object beside; they are judged one by one.",
                                "items": {},
                                "minItems": 1,
                                "maxItems": MAX_MESSAGES,
                            },
                        ]
                    },
                    "examples": {
                        "one": {"summary": "One message", "value": _ONE},
                        "later": {"summary": "At a time, before others", "value": _LATER},
                        "many": {"summary": "Many messages", "value": [_ONE, _LATER]},
                    },
                },
                "application/x-ndjson": {
                    "schema": {"type": "string"},
                    "example": '{"recipient_phone": "+905551111111", "content": "One"}\n'
                    '{"recipient_phone": "+905552222222", "content": "Two"}\n',
                },
            },
        },
    },
}
