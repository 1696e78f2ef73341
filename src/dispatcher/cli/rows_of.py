"""What a file holds, whichever of the formats it has."""

from collections.abc import Callable, Iterator
from itertools import chain

from dispatcher.cli.lines import Readable, line_blocks
from dispatcher.cli.rows import Batch, Format
from dispatcher.cli.rows_csv import csv_batches
from dispatcher.cli.rows_ndjson import ndjson_batches
from dispatcher.kernel.errors import InvalidRequestError


def batches_of(stream: Readable, form: Format | None, *, progress: Callable[[int], None]) -> Iterator[Batch]:
    """Every row in the order of the file; without a format, its first character tells. `progress` gets bytes read.

    Raises:
        InvalidRequestError: The file as a whole cannot be read: it is empty, is not UTF-8, has another header,
            or has a line that is too long. The text names the line.
    """
    lines = chain.from_iterable(line_blocks(stream, progress))
    for number, line in enumerate(lines, 1):
        if line.strip():
            json = form == "ndjson" or (form is None and line.lstrip().startswith("{"))
            return (ndjson_batches if json else csv_batches)(number, line, lines)
    raise InvalidRequestError("the file is empty")
