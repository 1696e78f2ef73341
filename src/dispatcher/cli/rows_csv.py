"""CSV: the rows under a header with recipient_phone and content."""

import csv
from collections.abc import Iterator
from itertools import islice
from operator import itemgetter

from dispatcher.cli.lines import MAX_LINE
from dispatcher.cli.rows import BATCH, COLUMNS, Bad, Batch, all_good
from dispatcher.kernel.errors import InvalidRequestError


def csv_batches(number: int, header: str, lines: Iterator[str]) -> Iterator[Batch]:
    """Every row below the header, which is the line of this number.

    Raises:
        InvalidRequestError: The header is another, or a row is not CSV. The text names the line.
    """
    # What spreadsheets write where the comma is the decimal sign.
    delimiter = next((mark for mark in ",;\t" if mark in header), ",")
    names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
    _check_header(names)
    columns = names.index("recipient_phone"), names.index("content")
    csv.field_size_limit(MAX_LINE)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        before = number + reader.line_num
        rows: list[list[str]] = []
        try:
            rows.extend(islice(reader, BATCH))
        except csv.Error as error:
            begins = before + sum(map(_height, rows)) + 1
            raise InvalidRequestError(f"the row that begins on line {begins} is not CSV: {error}") from None
        if not rows:
            return
        yield _batch(rows, columns, before, number + reader.line_num, delimiter)


def _check_header(names: list[str]) -> None:
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise InvalidRequestError(
            f"the header has no column {' and no column '.join(missing)}; the first line must be: {','.join(COLUMNS)}"
        )
    if len(names) != len(COLUMNS):
        others = ", ".join(name or "(no name)" for name in names if name not in COLUMNS) or "a column twice"
        raise InvalidRequestError(f"the header has more than {' and '.join(COLUMNS)}: {others}; take it out")


def _height(row: list[str]) -> int:
    """How many lines a row has: a text between quotes may have several."""
    return 1 + sum(text.count("\n") for text in row)


def _batch(rows: list[list[str]], columns: tuple[int, int], before: int, after: int, delimiter: str) -> Batch:
    """These rows, which are the lines after `before` up to `after`."""
    recipient, content = columns
    if set(map(len, rows)) == {len(COLUMNS)}:
        recipients, contents = list(map(itemgetter(recipient), rows)), list(map(itemgetter(content), rows))
        if all_good(recipients, contents):
            return Batch(recipients, contents, before + 1, after - _height(rows[-1]) + 1)
    batch, line = Batch(), before + 1
    for row in rows:
        if len(row) == len(COLUMNS):
            batch.add(line, row[recipient], row[content])
        elif row:  # an empty one is an empty line
            reason = f"has {len(row)} columns instead of {len(COLUMNS)}; put quotes around a text with {delimiter!r}"
            batch.bad.append(Bad(line, reason))
        line += _height(row)
    return batch
