"""The lines of a file, a block at a time."""

import io
from collections.abc import Callable, Iterator
from typing import Protocol

from dispatcher.kernel.errors import InvalidRequestError

MAX_LINE = 64 * 1024
"""Characters of a line."""
BLOCK = 256 * 1024


class Readable(Protocol):
    """A file or a pipe, opened for bytes."""

    def read1(self, size: int, /) -> bytes:
        """What is there, at most `size` bytes; waits only for the first one."""
        ...


def line_blocks(stream: Readable, progress: Callable[[int], None]) -> Iterator[list[str]]:
    """Every line, with its end, in lists of those that came together. `progress` gets the bytes read.

    Raises:
        InvalidRequestError: A line is too long, or not UTF-8. The text names it.
    """
    before, rest = 0, b""
    while raw := stream.read1(BLOCK):
        progress(len(raw))
        whole, newline, rest = (rest + raw).rpartition(b"\n")
        if newline:
            lines = _lines(whole + newline, before)
            yield lines
            before += len(lines)
        if len(rest) > 4 * MAX_LINE:  # it cannot become a shorter one
            raise _too_long(before + 1)
    if rest:
        yield _lines(rest, before)


def _lines(block: bytes, before: int) -> list[str]:
    if not before:
        block = block.removeprefix(b"\xef\xbb\xbf")  # the mark that spreadsheets put before UTF-8
    try:
        text = block.decode()
    except UnicodeDecodeError as error:
        begins = block.rfind(b"\n", 0, error.start) + 1
        number = before + 1 + block.count(b"\n", 0, begins)
        raise InvalidRequestError(
            f"line {number} is not UTF-8 (byte {error.start - begins + 1}); save the file as UTF-8"
        ) from None
    lines = io.StringIO(text, newline="\n").readlines()
    if max(map(len, lines)) > MAX_LINE:
        raise _too_long(
            before + 1 + next(number for number, line in enumerate(lines) if len(line) > MAX_LINE)
        )
    return lines


def _too_long(number: int) -> InvalidRequestError:
    return InvalidRequestError(f"line {number} is longer than {MAX_LINE:,} characters")
