"""What a CSV or NDJSON file is read as, and what is said about a bad one."""

import io
from collections.abc import Iterator

import pytest

from dispatcher.cli.rows import MAX_LINE_BYTES, Bad, Format, Good, format_of, read_rows
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.messages.insert import NewMessage

HEADER = b"recipient_phone,content\n"


def read(raw: bytes, form: Format | None = None) -> list[Good | Bad]:
    return list(read_rows(io.BytesIO(raw), form, progress=lambda _: None))


def test_csv_rows_carry_the_line_they_begin_on() -> None:
    rows = read(HEADER + b'+90,Hi\n\n+91,"two\nlines, ""quoted"""\n+92,end')
    assert rows == [
        Good(2, NewMessage("+90", "Hi")),
        Good(4, NewMessage("+91", 'two\nlines, "quoted"')),
        Good(6, NewMessage("+92", "end")),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbfrecipient_phone,content\r\n+90,Hi\r\n",
        b"recipient_phone;content\n+90;Hi\n",
        b"recipient_phone\tcontent\n+90\tHi\n",
        b'content, "recipient_phone"\nHi,+90\n'.replace(b', "', b',"'),
        b'{"recipient_phone": "+90", "content": "Hi"}\n',
        b'\xef\xbb\xbf\n{"content": "Hi", "recipient_phone": "+90"}',
    ],
    ids=["spreadsheet", "semicolons", "tabs", "other order", "ndjson", "ndjson with a mark"],
)
def test_forms_that_mean_the_same(raw: bytes) -> None:
    assert [row.message for row in read(raw) if isinstance(row, Good)] == [NewMessage("+90", "Hi")]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "the file is empty"),
        (b"\n  \n", "the file is empty"),
        (b"phone,content\n+90,Hi\n", "no column recipient_phone"),
        (b"a,b\n", "no column recipient_phone and no column content"),
        (b"recipient_phone,content,deliver_at\n", "more than recipient_phone and content: deliver_at"),
        (HEADER + "+90,Çok\n".encode("latin-1"), "line 2 is not UTF-8 (byte 5)"),
        (HEADER + b"x" * MAX_LINE_BYTES + b"\n", "line 2 is longer than"),
        (HEADER + b'+90,"never closed\n+91,Hi\n', "the row that begins on line 2 is not CSV"),
        (HEADER + b'+90,"' + b"x\n" * MAX_LINE_BYTES, "field limit"),
    ],
)
def test_files_that_cannot_be_read(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read(raw)
    assert said in refused.value.detail


@pytest.mark.parametrize(
    ("raw", "line", "reason"),
    [
        (HEADER + b"+90,Hi\n,Hi\n", 3, "recipient_phone is empty"),
        (HEADER + b"+90,\n", 2, "content is empty"),
        (HEADER + b"+90," + b"x" * 161 + b"\n", 2, "content has 161 characters; at most 160 are taken"),
        (HEADER + b"+90,Hi, you\n", 2, "has 3 columns instead of 2"),
        (HEADER + b"+90,a\x00b\n", 2, "NUL"),
        (b'{"recipient_phone": 90, "content": "Hi"}', 1, "recipient_phone is not a text"),
        (b'\n{"content": "Hi"}', 2, "has no recipient_phone"),
        (b'{"recipient_phone": "+90", "content": "Hi", "lane": "x"}', 1, "has more than"),
        (b'{"recipient_phone": "+90", "content": "\\ud800"}', 1, "not valid Unicode"),
        (b"{broken", 1, "is not JSON"),
        (b'{"a": ' + b"[" * 10_000, 1, "is not JSON"),
    ],
)
def test_bad_rows(raw: bytes, line: int, reason: str) -> None:
    bad = [row for row in read(raw) if isinstance(row, Bad)]
    assert [row.line for row in bad] == [line]
    assert reason in bad[0].reason


def test_the_file_is_never_read_ahead() -> None:
    stream = io.BytesIO(HEADER + b"+90,Hi\n" * 1000)
    rows: Iterator[Good | Bad] = read_rows(stream, "csv", progress=lambda _: None)
    next(rows)
    assert stream.tell() < 3 * len(HEADER)


def test_bytes_are_counted() -> None:
    counted: list[int] = []
    raw = HEADER + "+90,Çok\n".encode()
    list(read_rows(io.BytesIO(raw), None, progress=counted.append))
    assert sum(counted) == len(raw)


@pytest.mark.parametrize(("name", "form"), [("a.csv", "csv"), ("A.CSV", "csv"), ("b.jsonl", "ndjson")])
def test_the_name_says_the_format(name: str, form: str) -> None:
    assert format_of(name) == form


def test_a_name_that_says_nothing() -> None:
    with pytest.raises(InvalidRequestError, match="--format csv"):
        format_of("messages.txt")
