"""What POST /echoAtTime is told: in a JSON body, or in the query. Both at once would leave open which of them counts."""

from typing import Annotated, Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema

from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.messages.ingest_body import reason
from dispatcher.messages.limits import CONTENT_LENGTH
from dispatcher.messages.moment import TIME_SCHEMA

_FIELDS = "time and message"
_MOST_FIELDS = 16


class EchoIn(BaseModel):
    """A text for the console, and when."""

    model_config = ConfigDict(extra="forbid", title="NewEcho")

    time: Annotated[Any, WithJsonSchema(TIME_SCHEMA)] = Field(
        description="When: ISO 8601 with a zone, or seconds (10 digits) or milliseconds (13) since 1970. Not past, at "
        "most 10 years ahead.",
        examples=["2030-12-24T18:00:00+03:00"],
    )
    message: str = Field(
        min_length=1, max_length=CONTENT_LENGTH, pattern=r"^[^\x00]*$", examples=["Dinner is ready"]
    )


_BODY = TypeAdapter(EchoIn)


def read_echo(body: bytes, query: bytes) -> EchoIn:
    """What the request says; its `time` as it was given.

    Raises:
        InvalidRequestError: It says nothing, or the same thing in two places, or something else.
    """
    if body and query:
        raise InvalidRequestError(f"say {_FIELDS} in the JSON body or in the query, not in both")
    if not body and not query:
        raise InvalidRequestError(
            f'say {_FIELDS}: as JSON, e.g. {{"time": "2030-12-24T18:00:00Z", "message": "Hello"}}, or in the query'
        )
    try:
        return _BODY.validate_json(body) if body else _BODY.validate_python(_fields(query))
    except ValidationError as error:
        raise InvalidRequestError(reason(error, fields=_FIELDS)) from None


def _fields(query: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except UnicodeDecodeError:
        raise InvalidRequestError("query: is not UTF-8; write what is no ASCII as %XX") from None
    except ValueError:
        raise InvalidRequestError(f"query: say {_FIELDS} and nothing else") from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise InvalidRequestError("query: says something twice")
    return fields
