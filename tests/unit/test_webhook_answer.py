"""What is kept of a webhook's answer: the receipt id, and an excerpt that is safe to print and to store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.channels.webhook_answer import (
    EXCERPT_CHARACTERS,
    RECEIPT_ID_CHARACTERS,
    cleaned,
    excerpt_of,
    receipt_id_of,
)


@pytest.mark.parametrize(
    ("body", "receipt_id"),
    [
        (b'{"messageId":"abc"}', "abc"),
        (b'{"messageId":0}', "0"),
        (b'{"messageId":18446744073709551615}', "18446744073709551615"),
        (b'{"messageId":1.5}', "1.5"),
        (b'{"messageId":123456789012345678901234567890}', None),  # would lose digits
        (b'{"messageId":""}', None),
        (b'{"messageId":true}', None),
        (b'{"messageId":null}', None),
        (b'{"messageId":["abc"]}', None),
        (b'{"messageId":"a\\u0000b"}', "a\ufffdb"),
        (b'{"messageId":"' + b"x" * 1_000 + b'"}', "x" * RECEIPT_ID_CHARACTERS),
        (b'["messageId"]', None),
        (b'"messageId"', None),
        (b"[" * 100_000, None),
        (b'{"messageId":"abc"', None),
        (b"", None),
    ],
)
def test_receipt_id(body: bytes, receipt_id: str | None) -> None:
    assert receipt_id_of(body) == receipt_id


@given(st.binary(max_size=5_000))
def test_excerpt_of_any_bytes_can_be_printed_and_stored(body: bytes) -> None:
    excerpt = excerpt_of(body) or ""
    assert len(excerpt) <= EXCERPT_CHARACTERS
    excerpt.encode()
    assert not {c for c in excerpt if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0} - {"\t", "\n"}


@given(st.text(max_size=2_000))
def test_excerpt_of_harmless_text_is_its_beginning(text: str) -> None:
    body = text.encode(errors="replace")
    assert (excerpt_of(body) or "") == cleaned(body.decode())[:EXCERPT_CHARACTERS]


def test_text_that_would_be_read_in_another_order_is_defused() -> None:
    assert cleaned("a\u202eb\u2066c\u2028d\r\x1b\t\n") == "a\ufffdb\ufffdc\ufffdd\ufffd\ufffd\t\n"
