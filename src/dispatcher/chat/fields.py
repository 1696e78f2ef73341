"""Fields that requests and frames have in common, each with what it may be."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from dispatcher.chat.limits import CLIENT_ID_LENGTH, CONTENT_LENGTH, NAME_LENGTH, USER_ID
from dispatcher.chat.schedule import CLIENT_ID as SCHEDULED

_NO_NUL = r"^[^\x00]*$"


def _of_a_client(text: str) -> str:
    if text.startswith(SCHEDULED):
        raise ValueError(f"those that begin with {SCHEDULED} are the service's own")
    return text


UserId = Annotated[str, StringConstraints(pattern=USER_ID)]
ConversationId = Annotated[int, Field(ge=1, lt=2**63)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH, pattern=_NO_NUL)]
Content = Annotated[str, StringConstraints(min_length=1, max_length=CONTENT_LENGTH, pattern=_NO_NUL)]
ClientId = Annotated[
    str,
    StringConstraints(max_length=CLIENT_ID_LENGTH, pattern=r"^[!-~]+$"),
    Field(examples=["b7c1-1"]),
    AfterValidator(_of_a_client),
]
