"""What a CSV or NDJSON file is read as, and what is said about a bad one."""

import io
import os

import pytest

from dispatcher.cli.lines import BLOCK, MAX_LINE
from dispatcher.cli.rows import BATCH, Bad, Batch, Format, format_of
from dispatcher.cli.rows_of import batches_of
from dispatcher.kernel.errors import InvalidRequestError

HEADER = b"recipient_phone,content\n"


def read(raw: bytes, form: Format | None = None) -> list[Batch]:
    return list(batches_of(io.BytesIO(raw), form, progress=lambda _: None))


def messages(batches: list[Batch]) -> list[tuple[str, str]]:
    return [
        row
        for batch in batches
        for row in zip(batch.recipients, batch.contents, strict=True)
        if not batch.bad
    ]


@pytest.mark.parametrize("blank", [b"", b"\n"], ids=["all good", "with an empty line"])
def test_csv_batches_know_the_lines_they_begin_on(blank: bytes) -> None:
    (batch,) = read(HEADER + blank + b'+90,Hi\n+91,"two\nlines, ""quoted"""\n+92,"e\nnd"')
    assert batch == Batch(
        ["+90", "+91", "+92"],
        ["Hi", 'two\nlines, "quoted"', "e\nnd"],
        first_line=2 + len(blank),
        last_line=5 + len(blank),
    )


def test_batches_follow_each_other() -> None:
    rows = [f'+90{number},"a\nb"\n'.encode() for number in range(BATCH + 2)]
    first, second = read(HEADER + b"".join(rows))
    assert len(first.recipients) == BATCH
    assert (first.first_line, first.last_line) == (2, 2 * BATCH)
    assert (second.first_line, second.last_line) == (2 * BATCH + 2, 2 * BATCH + 4)
    assert [*first.recipients, *second.recipients] == [f"+90{number}" for number in range(BATCH + 2)]
    one, two = read(b'{"recipient_phone": "+90", "content": "Hi"}\n' * (BATCH + 1))
    assert (one.first_line, one.last_line, two.first_line, two.last_line) == (1, BATCH, BATCH + 1, BATCH + 1)


def test_a_line_that_comes_in_several_blocks() -> None:
    row = b"+90," + "ü".encode() * 160 + b"\n"
    count = 3 * BLOCK // len(row)
    batches = read(HEADER + row * count)
    assert sum(len(batch.recipients) for batch in batches) == count
    assert {content for batch in batches for content in batch.contents} == {"ü" * 160}
    with pytest.raises(InvalidRequestError, match=f"line {count + 2} is not UTF-8 \\(byte 2\\)"):
        read(HEADER + row * count + b"+\xff,Hi\n")


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
    assert messages(read(raw)) == [("+90", "Hi")]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "the file is empty"),
        (b"\n  \n", "the file is empty"),
        (b"phone,content\n+90,Hi\n", "no column recipient_phone"),
        (b"a,b\n", "no column recipient_phone and no column content"),
        (b"recipient_phone,content,deliver_at\n", "more than recipient_phone and content: deliver_at"),
        (HEADER + "+90,Çok\n".encode("latin-1"), "line 2 is not UTF-8 (byte 5)"),
        (HEADER + b"x" * MAX_LINE + b"\n", "line 2 is longer than"),
        (HEADER + b'+90,"never closed\n+91,Hi\n', "the row that begins on line 2 is not CSV"),
        (HEADER + b'+90,"' + b"x\n" * MAX_LINE, "field limit"),
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
        (b'{"recipient_phone": "+90", "content": "\\ud800"}', 1, "is not JSON"),
        (b"{broken", 1, "is not JSON"),
        (b'{"a": ' + b"[" * 10_000, 1, "is not JSON"),
    ],
)
def test_bad_rows(raw: bytes, line: int, reason: str) -> None:
    (bad,) = [bad for batch in read(raw) for bad in batch.bad]
    assert bad.line == line
    assert reason in bad.reason


def test_good_rows_between_bad_ones_are_kept() -> None:
    assert read(HEADER + b"+90,Hi\n,no\n\n+91,Ho\n+92\n") == [
        Batch(
            ["+90", "+91"],
            ["Hi", "Ho"],
            first_line=2,
            last_line=5,
            bad=[
                Bad(3, "recipient_phone is empty"),
                Bad(6, "has 1 columns instead of 2; put quotes around a text with ','"),
            ],
        )
    ]


def test_a_full_batch_does_not_wait_for_the_end_of_a_pipe() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as end:  # noqa: PTH123 - no path
        end.write(HEADER + b"+90,Hi\n" * (BATCH + 1))
        batches = batches_of(stream, "csv", progress=lambda _: None)
        assert len(next(batches).recipients) == BATCH
        end.close()
        assert len(next(batches).recipients) == 1


def test_bytes_are_counted() -> None:
    counted: list[int] = []
    raw = HEADER + "+90,Çok\n".encode()
    list(batches_of(io.BytesIO(raw), None, progress=counted.append))
    assert sum(counted) == len(raw)


@pytest.mark.parametrize(("name", "form"), [("a.csv", "csv"), ("A.CSV", "csv"), ("b.jsonl", "ndjson")])
def test_the_name_says_the_format(name: str, form: str) -> None:
    assert format_of(name) == form


def test_a_name_that_says_nothing() -> None:
    with pytest.raises(InvalidRequestError, match="--format csv"):
        format_of("messages.txt")
