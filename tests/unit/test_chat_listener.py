"""What one socket is told of a conversation that it is being caught up with: all of it, once, in its place."""

from collections.abc import Callable
from typing import Any

import pytest

from dispatcher.chat.live import codes
from dispatcher.chat.live.listener import MAX_HELD, MAX_HELD_CHARACTERS, Listener


def told(listener: Listener) -> list[str]:
    return listener.outbox.take(lambda *_: "receipts")


def listening() -> Listener:
    return Listener("bob", wake=lambda: None, start=_never)


def _never(_: Any) -> Callable[[], None]:
    raise AssertionError("nothing is started here")


def test_what_was_passed_on_meanwhile_follows_what_was_caught_up_with() -> None:
    listener = listening()
    listener.hold(1)
    for seq in (4, 5, 6):
        listener.of_stream(1, f"live {seq}", number=seq, is_change=False)
        listener.of_stream(1, f"change {seq - 3}", number=seq - 3, is_change=True)
    listener.of_stream(2, "of another", number=1, is_change=False)
    listener.frame("caught up to 5")
    assert told(listener) == ["of another", "caught up to 5"], "nothing overtakes"
    listener.let_go(1, seq=5, change=1)
    assert told(listener) == ["change 2", "live 6", "change 3"], "and nothing comes twice"
    listener.of_stream(1, "live 7", number=7, is_change=False)
    assert told(listener) == ["live 7"]


@pytest.mark.parametrize(
    ("most", "frame"), [(MAX_HELD, "x"), (MAX_HELD_CHARACTERS // 4096, "x" * 4096)], ids=["many", "long"]
)
def test_what_is_held_is_bounded_over_all_conversations_and_counted_down_again(most: int, frame: str) -> None:
    listener = listening()
    for _ in range(3):
        for id_ in (1, 2):
            listener.hold(id_)
            for number in range(most // 2):
                listener.of_stream(id_, frame, number=number, is_change=False)
        assert listener.ending is None
        listener.forget(1)
        listener.let_go(2, seq=most, change=0)
        listener.let_go(2, seq=0, change=0)  # nothing is held any more
        assert told(listener) == []
    listener.hold(1)
    for number in range(most + 1):
        assert listener.ending is None
        listener.of_stream(1, frame, number=number, is_change=False)
    assert listener.ending is codes.SLOW
