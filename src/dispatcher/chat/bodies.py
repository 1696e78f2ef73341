"""What requests say: ids, and the bodies of those that change something."""

from typing import Annotated, Literal, Self

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dispatcher.chat.fields import ClientId, Content, ConversationId, Name, UserId
from dispatcher.chat.limits import MAX_MEMBERS, USER_ID
from dispatcher.chat.seat import Role
from dispatcher.messages.query import Moment

UserPath = Annotated[str, Path(pattern=USER_ID, description="A user's id.", examples=["alice"])]
ConversationPath = Annotated[int, Path(ge=1, lt=2**63, description="A conversation's id.", examples=[1])]
GroupPath = Annotated[int, Path(ge=1, lt=2**63, description="A group's id, which is its conversation's.")]
MessagePath = Annotated[int, Path(ge=1, lt=2**63, description="A message's id, from its conversation.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewUser(_Body):
    """A user to be added."""

    id: UserId | None = Field(
        default=None, description="The operator names it; with a token it is the `sub`."
    )
    name: Name | None = None


class UserChange(_Body):
    """What is to be different of a user."""

    name: Name | None = Field(description="null for none.")


class NewGroup(_Body):
    """A group to be made, by whoever then owns it."""

    name: Name = Field(examples=["Friends"])
    members: list[UserId] = Field(default=[], max_length=MAX_MEMBERS, examples=[["bob", "carol"]])


class GroupChange(_Body):
    """What is to be different of a group."""

    name: Name


class NewMember(_Body):
    """Somebody to be taken in."""

    user_id: UserId = Field(examples=["dave"])
    role: Literal["member", "admin"] = "member"


class MemberChange(_Body):
    """What is to be different of a member."""

    role: Role


class ConversationChange(_Body):
    """What is to be different of a conversation, for the one who asks."""

    muted: bool = Field(strict=True)


class NewMessage(_Body):
    """A chat message to be sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"receiver_id": "bob", "content": "Hello Bob", "client_id": "b7c1-1"},
                {"group_id": 7, "content": "Hello all"},
            ]
        }
    )

    sender_id: UserId | None = Field(default=None, description="You; the operator names whom it is sent for.")
    receiver_id: UserId | None = Field(default=None, description="Another user.")
    group_id: ConversationId | None = Field(default=None, strict=True, description="Or a group.")
    conversation_id: ConversationId | None = Field(
        default=None, strict=True, description="Or any conversation by its id."
    )
    content: Content
    client_id: ClientId | None = Field(
        default=None, description="Your own id for it. Sent again within 24 hours, it is the same message."
    )
    timestamp: Moment | None = Field(
        default=None, description="When it was written. In the future: when it is to be sent."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        places = (self.receiver_id, self.group_id, self.conversation_id)
        if sum(place is not None for place in places) != 1:
            raise ValueError("say one of receiver_id, group_id and conversation_id")
        return self


class Edit(_Body):
    """A message's new content."""

    content: Content


class Seen(_Body):
    """How far."""

    seq: int = Field(strict=True, ge=0, lt=2**63, description="All messages up to this `seq`.", examples=[17])
