"""Messages out of a CSV or NDJSON file, a batch at a time: never more than a batch of it is in memory.

Rows are read, judged and handed on as columns, with no Python code run for each of them. Only a batch that turns out
to hold something else than good messages is judged row by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.messages.insert import NewMessage, problem
from dispatcher.messages.limits import RECIPIENT_LENGTH, WEBHOOK_CONTENT_LENGTH

COLUMNS = ("recipient_phone", "content")
BATCH = 5_000
"""Rows a transaction: large enough that its commit costs nothing, small enough to see it move."""
Format = Literal["csv", "ndjson"]
_SUFFIXES: dict[str, Format] = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that is not a message, and why, in words for the one who wrote it."""

    line: int
    reason: str


@dataclass(slots=True)
class Batch:
    """Messages that follow each other in the file, as columns, and the bad rows between them."""

    recipients: list[str] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    first_line: int = 0
    """The line that the first message begins on."""
    last_line: int = 0
    """The line that the last message begins on."""
    bad: list[Bad] = field(default_factory=list)

    def add(self, line: int, recipient: str, content: str) -> None:
        """One more row, good or bad."""
        reason = problem(NewMessage(recipient, content))
        if reason is not None:
            self.bad.append(Bad(line, reason))
            return
        self.first_line = self.first_line or line
        self.last_line = line
        self.recipients.append(recipient)
        self.contents.append(content)


def format_of(name: str) -> Format:
    """The format that a file's name says.

    Raises:
        InvalidRequestError: It says none.
    """
    for suffix, found in _SUFFIXES.items():
        if name.lower().endswith(suffix):
            return found
    raise InvalidRequestError(
        f"{name}: its name ends neither in .csv nor in .ndjson; rename it, or say --format csv or --format ndjson"
    )


def all_good(recipients: Sequence[str], contents: Sequence[str]) -> bool:
    """Whether `problem` finds nothing in any of these messages; a hundredth of its cost."""
    return (
        min(map(len, recipients)) > 0
        and max(map(len, recipients)) <= RECIPIENT_LENGTH
        and min(map(len, contents)) > 0
        and max(map(len, contents)) <= WEBHOOK_CONTENT_LENGTH
        and "\x00" not in "".join(recipients)
        and "\x00" not in "".join(contents)
    )


def message_problem(message: NewMessage) -> str | None:
    """Why a message from the command line cannot be stored; None when it can."""
    try:
        f"{message.recipient}{message.content}".encode()
    except UnicodeEncodeError:
        return "has a character that is not valid Unicode"
    return problem(message)
