"""Messages out of a CSV or NDJSON file, one at a time: never more than a line of it is in memory."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, Literal

from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.messages.insert import NewMessage, problem

COLUMNS = ("recipient_phone", "content")
MAX_LINE_BYTES = 64 * 1024
Format = Literal["csv", "ndjson"]
_SUFFIXES: dict[str, Format] = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}


@dataclass(frozen=True, slots=True)
class Good:
    """A message, and the line that it begins on."""

    line: int
    message: NewMessage


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that is not a message, and why, in words for the one who wrote it."""

    line: int
    reason: str


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


def read_rows(
    stream: BinaryIO, form: Format | None, *, progress: Callable[[int], None]
) -> Iterator[Good | Bad]:
    """Every row in the order of the file; without a format, its first character tells. `progress` gets bytes read.

    Raises:
        InvalidRequestError: The file as a whole cannot be read: it is empty, is not UTF-8, has another header,
            or has a line that is too long. The text names the line.
    """
    lines = _lines(stream, progress)
    first = next((line for line in lines if line.text.strip()), None)
    if first is None:
        raise InvalidRequestError("the file is empty")
    form = form or ("ndjson" if first.text.lstrip().startswith("{") else "csv")
    return _csv(first, lines) if form == "csv" else _ndjson(chain([first], lines))


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str


def _lines(stream: BinaryIO, progress: Callable[[int], None]) -> Iterator[_Line]:
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            raise InvalidRequestError(f"line {number} is longer than {MAX_LINE_BYTES:,} bytes")
        progress(len(raw))
        try:
            yield _Line(number, raw.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise InvalidRequestError(
                f"line {number} is not UTF-8 (byte {error.start + 1}); save the file as UTF-8"
            ) from None


def _csv(header: _Line, lines: Iterator[_Line]) -> Iterator[Good | Bad]:
    # What spreadsheets write where the comma is the decimal sign.
    delimiter = next((mark for mark in ",;\t" if mark in header.text), ",")
    names = [name.strip() for name in next(csv.reader([header.text], delimiter=delimiter))]
    _check_header(names)
    csv.field_size_limit(MAX_LINE_BYTES)
    before = header.number
    read = header.number

    def texts() -> Iterator[str]:
        nonlocal read
        for line in lines:
            read = line.number
            yield line.text

    rows = csv.reader(texts(), delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise InvalidRequestError(
                f"the row that begins on line {before + 1} is not CSV: {error}"
            ) from None
        if row is None:
            return
        line, before = before + 1, read
        if not row:
            continue
        if len(row) == len(names):
            values = dict(zip(names, row, strict=True))
            yield _judged(line, values["recipient_phone"], values["content"])
        else:
            yield Bad(
                line,
                f"has {len(row)} columns instead of {len(names)}; put quotes around a text with {delimiter!r}",
            )


def _check_header(names: list[str]) -> None:
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise InvalidRequestError(
            f"the header has no column {' and no column '.join(missing)}; the first line must be: {','.join(COLUMNS)}"
        )
    if len(names) != len(COLUMNS):
        others = ", ".join(name or "(no name)" for name in names if name not in COLUMNS) or "a column twice"
        raise InvalidRequestError(f"the header has more than {' and '.join(COLUMNS)}: {others}; take it out")


def _ndjson(lines: Iterator[_Line]) -> Iterator[Good | Bad]:
    for line in lines:
        if line.text.strip():
            yield _from_json(line)


def _from_json(line: _Line) -> Good | Bad:
    try:
        found = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        return Bad(line.number, f"is not JSON: {error}")
    if not isinstance(found, dict):
        return Bad(line.number, f"is not an object with {' and '.join(COLUMNS)}")
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        return Bad(line.number, f"has no {' and no '.join(missing)}")
    unknown = sorted(found.keys() - set(COLUMNS))
    if unknown:
        return Bad(line.number, f"has more than {' and '.join(COLUMNS)}: {', '.join(unknown)}")
    for name in COLUMNS:
        if not isinstance(found[name], str):
            return Bad(line.number, f'{name} is not a text; write "{name}": "…"')
    return _judged(line.number, found["recipient_phone"], found["content"])


def _judged(line: int, recipient: str, content: str) -> Good | Bad:
    message = NewMessage(recipient, content)
    reason = message_problem(message)
    return Good(line, message) if reason is None else Bad(line, reason)


def message_problem(message: NewMessage) -> str | None:
    """Why this message cannot be stored; None when it can."""
    try:
        f"{message.recipient}{message.content}".encode()
    except UnicodeEncodeError:
        return "has a character that is not valid Unicode"
    return problem(message)
