"""What OpenAPI says of POST /echoAtTime; its route reads the request and writes the answer itself."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dispatcher.kernel.web import BODY_PROBLEMS, PROBLEMS, documented
from dispatcher.messages.echo_body import EchoIn
from dispatcher.messages.ingest_docs import KEY_PARAMETER

_SCHEMA = EchoIn.model_json_schema()


class EchoAnswer(BaseModel):
    """What has been put in."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 42,
                    "time": "2030-12-24T15:00:00Z",
                    "message": "Dinner is ready",
                    "lane": "console",
                    "status": "pending",
                }
            ]
        }
    )

    id: int
    time: datetime = Field(description="The time as it was understood, in UTC.")
    message: str
    lane: Literal["console"]
    status: Literal["pending"]


def _query(name: str) -> dict[str, Any]:
    # without an example: what people try out in a browser would come in the query and in the body
    said = {key: value for key, value in _SCHEMA["properties"][name].items() if key != "examples"}
    description = said.pop("description", None)
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": f"{description or 'The text.'} Without a body.",
        "schema": said,
    }


DOCUMENTED: dict[str, Any] = {
    "summary": "Print a text on the console at a time",
    "description": """
Puts a message into the lane `console`, to be printed once, by one of the replicas, at `time`. In a JSON body, or in the
query and without a body. The answer comes after the commit, with the `time` as it was understood.

A time is past when more than a second of it is: programs that cut the time to whole seconds may say "now". Which zone
it was written in is not kept. With an `Idempotency-Key` the request can be repeated, also when its time has passed by
then: the repeat gets the first answer, with `Idempotent-Replayed: true`. A key is known for 24 hours.

`GET /messages?status=pending&lane=console` lists what is to be printed, `PATCH /messages/{id}` gives it another time,
`DELETE /messages/{id}` cancels it.
""",
    "status_code": 202,
    "response_model": EchoAnswer,
    "response_description": "It is in. `Location` is its address.",
    "responses": {
        400: documented("The body broke off."),
        409: documented("The Idempotency-Key came with another request before."),
        413: BODY_PROBLEMS[413],
        415: documented("The body is not application/json."),
        422: documented(
            "Nothing is in; `detail` says why: the time is past, has no zone, cannot be read or is more than 10 years "
            "ahead, or there is no text, or too much of it."
        ),
        503: PROBLEMS[503],
    },
    "openapi_extra": {
        "parameters": [_query("time"), _query("message"), KEY_PARAMETER],
        "requestBody": {
            "required": False,
            "content": {
                "application/json": {
                    "schema": _SCHEMA,
                    "examples": {
                        "zone": {
                            "summary": "A time with its zone",
                            "value": {"time": "2030-12-24T18:00:00+03:00", "message": "Dinner is ready"},
                        },
                        "seconds": {
                            "summary": "Seconds since 1970",
                            "value": {"time": 1924354800, "message": "Dinner is ready"},
                        },
                        "milliseconds": {
                            "summary": "Milliseconds since 1970",
                            "value": {"time": 1924354800250, "message": "Dinner is ready"},
                        },
                    },
                }
            },
        },
    },
}
