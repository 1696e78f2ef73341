"""What replicas tell each other, and what they make of what is not theirs."""

from datetime import UTC, datetime

import pytest

from dispatcher.chat.happened import Changed, Marked, Rearranged, Sent
from dispatcher.chat.live import wire
from dispatcher.chat.live.passing import Came, Typed
from dispatcher.chat.live.wire import Told
from dispatcher.chat.message import ChatMessage

NOW = datetime(2026, 11, 29, 12, 0, 0, 1, tzinfo=UTC)


def test_what_is_told_comes_as_it_was() -> None:
    told: list[Told] = [
        Sent(ChatMessage(1, 2**62, 3, "alice", None, "ü\n", NOW)),
        Changed(ChatMessage(1, 2, 3, "alice", "c-1", "", None, NOW, NOW, 7)),
        Marked(1, "bob", 3, 0),
        Rearranged(1, "left", ["bob"]),
        Typed(1, "bob"),
        Came("bob", online=False),
    ]
    assert wire.decode(wire.encode("a", [wire.pack(one) for one in told])) == ("a", told)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'["a", [[]]]',
        b'["a", [["sent", 1]]]',
        b'["a", [["sent", 1, 2, null, "alice", null, "x", null, null, null, null]]]',
        b'["a", [["sent", 1, 2, 3, "alice", null, "x", null, null]]]',
        b'["a", [["sent", 1, 2, 3, "alice", null, "x", "yesterday", null, null, null]]]',
        b'["a", [["changed", 1, 2, 3, "alice", null, "x", null, null, null, null]]]',
        b'["a", [["marked", 1, "bob", null, 3]]]',
        b'["a", [["rearranged", 1, "left", "bob"]]]',
        b'["a", [["came", "bob"]]]',
        b'["a", [["unheard of"]]]',
    ],
)
def test_what_is_none_of_it_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.decode(payload)
