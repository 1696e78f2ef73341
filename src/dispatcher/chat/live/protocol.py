"""The frames that clients send, checked; one JSON object a WebSocket message, told apart by `type`.

A frame with an `id` is answered with a frame of that `id`: the result, or an `error`.
"""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from dispatcher.chat.fields import ClientId, Content, ConversationId, UserId
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.kernel.web import in_words
from dispatcher.messages.query import Moment

MAX_FRAME_BYTES = 64 * 1024
MAX_POSITIONS = 1000
"""Conversations that a hello may name; for the others a client begins anew."""
MAX_WATCHED = 100
"""Users whose presence one socket may watch."""
MAX_SYNC = 300
"""Messages that one sync, or the resume of one conversation, brings; beyond it history is read by pages, over REST."""

Number = Annotated[int, Field(ge=0, lt=2**63)]


class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[int, Field(ge=0, lt=2**53)] | None = None


class Hello(_Frame):
    """The first frame: who this is, and what it has already."""

    type: Literal["hello"]
    token: str | None = None
    user_id: UserId | None = None
    """For the operator, who acts for somebody."""
    positions: dict[
        Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,18}$")], tuple[Number, Number]
    ] = Field(default={}, max_length=MAX_POSITIONS)
    """By conversation: the last `seq` and the last `change` that the client has."""


class Send(_Frame):
    """A message; to a user, or into a conversation."""

    type: Literal["send"]
    conversation_id: ConversationId | None = None
    receiver_id: UserId | None = None
    content: Content
    client_id: ClientId | None = None
    timestamp: Annotated[Moment, Field(strict=False)] | None = None
    """When it was written."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.conversation_id is None) == (self.receiver_id is None):
            raise ValueError("say one of conversation_id and receiver_id")
        return self


class Ack(_Frame):
    """All messages up to `seq` are with the client."""

    type: Literal["ack"]
    conversation_id: ConversationId
    seq: Number


class Read(_Frame):
    """All messages up to `seq` have been seen by a person."""

    type: Literal["read"]
    conversation_id: ConversationId
    seq: Number


class Typing(_Frame):
    """The user is writing; good for ten seconds."""

    type: Literal["typing"]
    conversation_id: ConversationId


class Sync(_Frame):
    """Messages behind `seq` and changes behind `change`, please."""

    type: Literal["sync"]
    conversation_id: ConversationId
    seq: Number
    change: Number | None = None


class Watch(_Frame):
    """Presence of these users, now and whenever it changes; replaces what was watched before."""

    type: Literal["presence"]
    user_ids: list[UserId] = Field(max_length=MAX_WATCHED)


class Refresh(_Frame):
    """A newer token of the same user."""

    type: Literal["refresh"]
    token: str


class Ping(_Frame):
    """Answered with a pong: for clients that cannot see WebSocket's own."""

    type: Literal["ping"]


Frame: TypeAlias = Hello | Send | Ack | Read | Typing | Sync | Watch | Refresh | Ping
_frames: TypeAdapter[Frame] = TypeAdapter(Annotated[Frame, Field(discriminator="type")])


def parse(text: str) -> Frame:
    """The frame.

    Raises:
        InvalidRequestError: It is none; the text says why.
    """
    try:
        return _frames.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidRequestError(in_words(first["loc"] or ["frame"], first["msg"])) from None
    except ValueError:  # a lone surrogate, an integer without end
        raise InvalidRequestError("frame: is not JSON that can be read") from None


def id_of(text: str) -> int | None:
    """The `id` of what is no frame, so that whoever sent it knows which one."""
    try:
        return _Frame.model_validate_json(text, extra="ignore").id
    except ValueError:
        return None
