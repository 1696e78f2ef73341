"""What is posted for an envelope."""

import orjson
import pytest

from dispatcher.channels.contract import Envelope
from dispatcher.channels.webhook import message_body, object_body


def envelope(content: str, recipient: str = "bob") -> Envelope:
    return Envelope(1, recipient, content, 1, "c-1")


def test_a_message_is_posted_as_it_is() -> None:
    assert message_body(envelope("hällo")) == '{"to":"bob","content":"hällo"}'.encode()


def test_an_object_is_posted_whole_with_its_recipient() -> None:
    body = orjson.loads(object_body(envelope('{"content": "hello", "seq": 7}')))
    assert body == {"to": "bob", "content": "hello", "seq": 7}


@pytest.mark.parametrize("content", ["hello", "[1]", '"x"', "7", "{", "null"])
def test_what_is_no_object_cannot_be_posted(content: str) -> None:
    with pytest.raises(ValueError, match="JSON object"):
        object_body(envelope(content))


@pytest.mark.parametrize("body", [message_body, object_body])
def test_half_a_surrogate_pair_cannot_be_posted(body: object) -> None:
    assert callable(body)
    with pytest.raises(ValueError, match=r"Unicode|JSON object"):
        body(envelope('{"a": "b"}', "\ud83d"))
