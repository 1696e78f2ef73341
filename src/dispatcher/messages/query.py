"""What a request's query says: which messages, which page."""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.convertors import Convertor, register_url_convertor

from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.messages.limits import RECIPIENT_LENGTH
from dispatcher.messages.listing import MAX_LIMIT, MAX_OFFSET
from dispatcher.messages.matching import Filter
from dispatcher.messages.state import State

MAX_CURSOR = 200
DEFAULT_LIMIT = 100
DEFAULT_LANE = "webhook"


def _text(given: object) -> object:
    if not re.match(r"\d{4}-\d{2}-\d{2}[Tt]", str(given)):
        raise ValueError("must be an ISO 8601 time with a zone, e.g. 2026-12-24T18:00:00Z")
    if re.search(r" \d{2}:?\d{2}$", str(given)):
        raise ValueError(
            "has a space, which is what a + means in a URL; write %2B, or the time in UTC with Z"
        )
    return given  # pydantic alone would take a number, for seconds since 1970


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a moment of the years 1 to 9999 in UTC") from None


def _plus(recipient: str) -> str:
    if recipient.startswith(" "):
        raise ValueError("begins with a space, which is what a + means in a URL; write %2B")
    return recipient


class IdConvertor(Convertor[str]):
    """What may stand for an id in a path, so that /messages/retry is not taken for a message's."""

    regex = "[0-9]{1,19}"

    def convert(self, value: str) -> str:
        """The text; `MessageId` reads it."""
        return value

    def to_string(self, value: str) -> str:
        """The text."""
        return value


register_url_convertor("id", IdConvertor())
MessageId = Annotated[int, Path(ge=0, lt=2**63, description="The message's id.", examples=[1])]
Moment = Annotated[AwareDatetime, BeforeValidator(_text), AfterValidator(_in_utc)]
Recipient = Annotated[
    str, Field(min_length=1, max_length=RECIPIENT_LENGTH, pattern=r"^[^\x00]*$"), AfterValidator(_plus)
]
LaneName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


class FilterQuery(BaseModel):
    """Which messages."""

    recipient: Recipient | None = Field(
        default=None, description="Only those to this recipient. Write a `+` as `%2B`."
    )
    since: Moment | None = Field(default=None, description="Not before this time (ISO 8601).")
    until: Moment | None = Field(default=None, description="Before this time (ISO 8601).")


class PageQuery(FilterQuery):
    """Which page of which sent messages."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Messages per page.")
    offset: int = Field(
        default=0,
        ge=0,
        le=MAX_OFFSET,
        description="Messages to skip. To read far back, follow `Link` instead.",
    )
    cursor: str | None = Field(
        default=None, max_length=MAX_CURSOR, description="From a page's `Link` header."
    )
    lane: LaneName = Field(default=DEFAULT_LANE, description="The lane to list.")

    def filter(self) -> Filter:
        """Which messages of the list's status are wanted."""
        return Filter(self.lane, self.recipient, self.since, self.until)

    @property
    def newest(self) -> bool:
        """Whether it is the first page, of the usual size, of all that a lane has sent."""
        return all(
            getattr(self, name) == field.default
            for name, field in PageQuery.model_fields.items()
            if name != "lane"
        )


class MessagesQuery(PageQuery):
    """Which page of which messages of which status."""

    status: State = State.SENT


class ManyQuery(FilterQuery):
    """Which messages to change. An unknown word is refused: misspelt, it would choose too many."""

    model_config = ConfigDict(extra="forbid")

    lane: LaneName | None = Field(default=None, description=f"The lane; `{DEFAULT_LANE}` unless given.")

    def filter(self) -> Filter:
        """Which messages are wanted.

        Raises:
            InvalidRequestError: Nothing is said at all.
        """
        if not self.model_fields_set:
            raise InvalidRequestError(
                f"say which messages: {', '.join(type(self).model_fields)}; for all of a lane say lane={DEFAULT_LANE}"
            )
        return Filter(self.lane or DEFAULT_LANE, self.recipient, self.since, self.until)


class RetryQuery(ManyQuery):
    """Which messages to retry."""

    status: Literal[State.FAILED, State.CANCELLED, State.UNCERTAIN] = Field(
        default=State.FAILED, description="The status they have."
    )
