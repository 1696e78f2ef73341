"""A conversation as the terminal shows it."""

import sys
from datetime import UTC, datetime

import pytest

from dispatcher.cli.chat import for_this_terminal
from dispatcher.cli.chat_lines import Lines
from dispatcher.cli.chat_talk import DELIVERED, MAX_SHOWN, READ, SENT, TYPING_SECONDS, Talk, Unsent
from dispatcher.client.models import Message, Status
from dispatcher.kernel.harmless import harmless

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def message(
    seq: int, sender: str = "alice", *, status: Status | None = None, client_id: str | None = None
) -> Message:
    return Message(seq * 10, 1, seq, sender, f"{seq}", NOW, client_id, None, None, None, status)


def talk(*others: str) -> Talk:
    return Talk("alice", 1, others=others)


def test_a_message_is_as_far_as_the_hindmost_of_the_others() -> None:
    group = talk("bob", "carol")
    assert group.status(message(5)) == SENT
    group.received({"bob": (5, 5), "alice": (9, 9)})
    assert group.status(message(5)) == SENT
    group.received({"carol": (5, 4)})
    assert group.status(message(5)) == DELIVERED
    group.received({"carol": (6, 5)})
    assert [group.status(message(seq)) for seq in (5, 6)] == [READ, SENT]
    group.received({"carol": (1, 1)})  # an old word
    assert group.status(message(5)) == READ


def test_what_the_page_said_counts_where_nobody_is_known() -> None:
    assert talk().status(message(1, status="read")) == READ
    assert talk("bob").status(message(1, status="delivered")) == DELIVERED
    assert talk().status(message(1)) == SENT


def test_a_message_that_comes_twice_is_shown_once_and_takes_the_place_of_what_was_written() -> None:
    now = talk("bob")
    now.unsent["1"] = Unsent("1", "hello")
    assert now.arrived(message(1, client_id="1"))
    assert not now.unsent
    assert not now.arrived(message(1, client_id="1"))
    assert now.arrived(message(2, "bob"))
    assert [one.seq for one in now.messages] == [1, 2]
    assert now.newest(SENT) == message(1, client_id="1")


def test_older_messages_go_in_front() -> None:
    now = talk("bob")
    now.arrived(message(5))
    now.older([message(3), message(4), message(5)])
    assert [one.seq for one in now.messages] == [3, 4, 5]
    assert now.oldest == 30
    assert not now.changed(message(1))
    assert now.changed(message(4, "bob"))
    assert now.messages[1].sender_id == "bob"


def test_it_is_bounded_and_the_newest_stay() -> None:
    now = talk("bob")
    for seq in range(2, MAX_SHOWN + 4):
        now.arrived(message(seq))
    now.older([message(1)])
    assert len(now.messages) == MAX_SHOWN
    assert now.last_seq == MAX_SHOWN + 3


def test_somebody_who_writes_does_so_until_their_message_or_for_ten_seconds() -> None:
    now = talk("bob", "carol")
    now.typed("bob", 0)
    now.typed("carol", 5)
    now.typed("alice", 5)
    assert now.typing(6) == ["bob", "carol"]
    assert now.typing(TYPING_SECONDS) == ["carol"]
    now.arrived(message(1, "carol"))
    assert now.typing(6) == ["bob"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ⚑ 你好 👩\u200d👧", "plain ⚑ 你好 👩\u200d👧"),
        ("a\x1b[2Jb\r\n\t", "a\\u001b[2Jb\\r\\n\\t"),
        ("\x9b2J\x07\x7f", "\\u009b2J\\u0007\\u007f"),
        ("\u202edrow\u2066\ufeff", "\\u202edrow\\u2066\\ufeff"),
        ("\U000e0041\ud800", "\\U000e0041\\ud800"),
        ("C:\\new", "C:\\new"),
    ],
)
def test_nothing_in_a_text_acts_on_a_terminal(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_a_room_without_input_is_one_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it when the descriptor is closed
    assert isinstance(for_this_terminal(), Lines)
