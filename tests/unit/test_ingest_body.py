"""What the body of POST /messages is read as, and what is said about one that cannot be."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from dispatcher.kernel.clock import utc_now
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.messages.ingest_body import (
    MAX_MESSAGES,
    is_array,
    read_array,
    read_lines,
    read_one,
)
from dispatcher.messages.insert import NewMessage
from dispatcher.messages.insert_each import Refusal
from dispatcher.messages.moment import MAX_AHEAD
from dispatcher.messages.state import Priority

GOOD = {"recipient_phone": "+90", "content": "Hi"}


def test_the_least_and_the_most_that_can_be_said() -> None:
    assert read_one(orjson.dumps(GOOD)) == NewMessage("+90", "Hi")
    later = (utc_now() + timedelta(days=1)).replace(microsecond=0)
    full = {"to": "+90", "content": "ü" * 160, "deliver_at": later.isoformat(), "priority": "high"}
    assert read_one(orjson.dumps(full)) == NewMessage("+90", "ü" * 160, later, Priority.HIGH)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(("2099-01-01T00:00:00", "has no zone"), ("2020-01-01T00:00:00", "has no zone")),
        *(("tomorrow", "is not a time"), (True, "is not a time"), ("", "is not a time")),
        *((10, "neither seconds"), (20301224, "neither seconds")),
    ],
)
def test_a_time_that_is_none_is_named(text: object, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"deliver_at: .*{said}.*; e.g. 20"):
        read_one(orjson.dumps(GOOD | {"deliver_at": text}))


def test_a_time_in_seconds_or_milliseconds() -> None:
    later = (utc_now() + timedelta(days=1)).replace(microsecond=0)
    for given in (int(later.timestamp()), int(later.timestamp() * 1000), str(int(later.timestamp()))):
        assert read_one(orjson.dumps(GOOD | {"deliver_at": given})).deliver_at == later


def test_a_time_is_the_same_in_every_zone() -> None:
    moment = (utc_now() + timedelta(days=1)).replace(microsecond=0)
    for text in (
        moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        (moment + timedelta(hours=3)).strftime("%Y-%m-%d %H:%M:%S+03:00"),
    ):
        message = read_one(orjson.dumps(GOOD | {"deliver_at": text}))
        assert message.deliver_at == moment
        assert message.deliver_at.tzinfo is UTC


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "2020-02-29T12:00:00Z"])
def test_a_time_that_has_passed_is_left_to_postgres_whose_now_counts(text: str) -> None:
    passed = read_one(orjson.dumps(GOOD | {"deliver_at": text})).deliver_at
    assert passed is not None
    assert datetime(1970, 1, 1, tzinfo=UTC) <= passed < utc_now()


def test_no_time_is_now() -> None:
    assert read_one(orjson.dumps(GOOD | {"deliver_at": None})).deliver_at is None


def test_a_time_has_an_end() -> None:
    near = utc_now() + MAX_AHEAD - timedelta(hours=1)
    assert read_one(orjson.dumps(GOOD | {"deliver_at": near.isoformat()})).deliver_at == near
    for far in (utc_now() + MAX_AHEAD + timedelta(hours=1), datetime.max.replace(tzinfo=UTC)):
        with pytest.raises(InvalidRequestError, match=r"deliver_at: .* is more than 10 years ahead"):
            read_one(orjson.dumps(GOOD | {"deliver_at": far.isoformat()}))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b'{"recipient_phone": "\xff"}', "is not JSON"),
        (b'{"recipient_phone": "\\ud800", "content": "Hi"}', "is not JSON"),
        (b'{"a":' * 5000, "is not JSON"),
        (b"null", "is not an object"),
        (b'"text"', "is not an object"),
        (b"{}", "recipient_phone: field required"),
        (b'{"to": "+90"}', "content: field required"),
        (b'{"to": "", "content": "Hi"}', "to: string should have at least 1 character"),
        (b'{"to": 90, "content": "Hi"}', "to: input should be a valid string"),
        (b'{"to": "+90", "content": ""}', "content: string should have at least 1 character"),
        (b'{"to": "+90", "content": "a\\u0000b"}', "content: a NUL character cannot be stored"),
        (
            b'{"to": "+90", "content": "%s"}' % (b"x" * 161),
            "content: string should have at most 160 characters",
        ),
        (b'{"to": "%s", "content": "Hi"}' % (b"9" * 321), "to: string should have at most 320 characters"),
        (b'{"to": "+90", "recipient_phone": "+90", "content": "Hi"}', "to: is not known; take it out"),
        (b'{"to": "+90", "content": "Hi", "deliverAt": "x"}', "deliverAt: is not known; take it out"),
        (
            b'{"to": "+90", "content": "Hi", "priority": 0}',
            "priority: input should be 'high', 'normal' or 'low'",
        ),
    ],
)
def test_what_cannot_be_is_named(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read_one(raw)
    assert said in refused.value.detail


async def test_many_are_judged_one_by_one() -> None:
    given: list[object] = [GOOD, 1, GOOD | {"content": ""}, {"to": "+91", "content": "Ho", "priority": "low"}]
    told = [
        NewMessage("+90", "Hi"),
        Refusal("is not an object with recipient_phone and content"),
        Refusal("content: string should have at least 1 character"),
        NewMessage("+91", "Ho", None, Priority.LOW),
    ]
    assert await read_array(orjson.dumps(given)) == told
    assert await read_lines(b"\n\r\n".join(map(orjson.dumps, given))) == told
    (broken,) = await read_lines(b'{"to": "+90", \n')
    assert isinstance(broken, Refusal)
    assert broken.reason.startswith("is not JSON")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"[]", "has no message"),
        (b"[1,", "body: is not JSON"),
        (b"[%s1]" % (b"1," * MAX_MESSAGES), "has 10,001 messages; at most 10,000 are taken"),
    ],
)
async def test_an_array_that_cannot_be(raw: bytes, said: str) -> None:
    assert is_array(raw)
    with pytest.raises(InvalidRequestError, match=said):
        await read_array(raw)


@pytest.mark.parametrize(("raw", "said"), [(b"", "has no message"), (b"1\n" * 10_001, "has 10,001 messages")])
async def test_lines_that_cannot_be(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        await read_lines(raw)


@pytest.mark.parametrize(
    ("raw", "array"), [(b" \n[1]", True), (b" {}", False), (b"", False), (b'"["', False)]
)
def test_an_array_is_known_by_its_first_character(raw: bytes, array: bool) -> None:  # noqa: FBT001
    assert is_array(raw) is array
