"""A stream passes on every message once, in order, whatever comes in whatever order, and how often."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.chat.live.outbox import (
    AT_ONCE,
    MAX_CHARACTERS,
    MAX_FRAMES,
    MAX_PASSING,
    MAX_RECEIPTS,
    Outbox,
)
from dispatcher.chat.live.stream import Stream
from dispatcher.chat.message import ChatMessage

COUNT = 20
ARRIVALS = st.lists(
    st.tuples(st.sampled_from(["sent", "changed", "fetch", "fetch changes"]), st.integers(1, COUNT)),
    max_size=80,
)


def message(seq: int, change: int | None = None) -> ChatMessage:
    return ChatMessage(1, seq, seq, "somebody", None, f"{seq}", change=change)


@given(ARRIVALS, st.integers(0, 5))
def test_messages_leave_in_order_once_without_a_hole(
    arrivals: Sequence[tuple[str, int]], begins: int
) -> None:
    stream = Stream(1, None, begins, 0)
    left: list[int] = []
    changed: list[int] = []

    def all_behind(upto: int) -> None:
        for seq in range(stream.seq + 1, max(upto, stream.known) + 1):
            left.extend(one.seq for one in stream.arrived(message(seq)))

    def all_changes(upto: int) -> None:
        if stream.seq:  # changes are of messages: here of the first one that everybody has
            known = max(upto, stream.change_known)
            rows = [message(1, number) for number in range(stream.change + 1, known + 1)]
            changed.extend(one.change or 0 for one in stream.fetched_changes(rows, up_to=known))

    for what, number in arrivals:
        match what:
            case "sent":
                left.extend(one.seq for one in stream.arrived(message(number)))
            case "changed":
                if stream.seq:
                    changed.extend(one.change or 0 for one in stream.changed(message(1, number)))
            case "fetch":
                all_behind(number)
            case _:
                all_changes(number)
        assert left == list(range(begins + 1, stream.seq + 1))
        assert changed == list(range(1, stream.change + 1))
    all_behind(COUNT)
    all_changes(COUNT)
    assert left == list(range(begins + 1, COUNT + 1))
    assert not stream.missing
    assert not stream.missing_changes or not stream.seq


@given(st.lists(st.sampled_from(["frame", "receipt", "passing", "take"]), max_size=300))
def test_an_outbox_keeps_the_order_merges_receipts_and_drops_what_passes(steps: Sequence[str]) -> None:
    outbox, put, taken = Outbox(), 0, []
    marks = 0

    def receipts(conversation_id: int, of: object) -> str:
        return f"receipts {conversation_id} {list(of)}"  # type: ignore[call-overload]  # a list of tuples

    for step in steps:
        match step:
            case "frame":
                put += outbox.put(f"frame {put}")
            case "receipt":
                marks += 1
                assert outbox.receipt(1, "bob", (marks, 0))
            case "passing":
                outbox.passing("typing", f"passing {put}")
            case _:
                taken += outbox.take(receipts)
    while outbox:
        taken += outbox.take(receipts)
    assert [one for one in taken if one.startswith("frame")] == [f"frame {number}" for number in range(put)]
    assert outbox.size == 0
    said = [one for one in taken if one.startswith("receipts")]
    assert not marks or said[-1] == f"receipts 1 [('bob', {marks}, 0)]"
    assert len(said) <= steps.count("take") + 1 + put // AT_ONCE


def test_a_full_outbox_says_so() -> None:
    outbox = Outbox()
    for _ in range(MAX_FRAMES):
        assert outbox.put("x")
    assert not outbox.put("x")
    outbox = Outbox()
    assert outbox.put("x" * MAX_CHARACTERS)
    assert not outbox.put("x")
    for number in range(MAX_RECEIPTS):
        assert outbox.receipt(number % 7, f"{number}", (1, 1))
    assert outbox.receipt(0, "0", (2, 2)), "it takes the place of the one that waits"
    assert not outbox.receipt(0, "one more", (1, 1))


def everything(outbox: Outbox) -> list[str]:
    taken: list[str] = []
    while outbox:
        taken += outbox.take(lambda id_, of: f"receipts {id_} {list(of)}")
    return taken


def test_where_many_wait_what_passes_is_dropped_first_and_receipts_are_merged() -> None:
    outbox = Outbox()
    outbox.passing("typing", "typing")
    outbox.passing("typing", "typing still")
    for number in range(AT_ONCE + 1):
        outbox.put(f"{number}")
        assert outbox.receipt(1, "bob", (number, 0))
    outbox.passing("presence", "dropped: too many frames wait")
    frames = [f"{number}" for number in range(AT_ONCE + 1)]
    assert everything(outbox) == [*frames, f"receipts 1 [('bob', {AT_ONCE}, 0)]", "typing still"]
    outbox.passing("presence", "presence")
    for number in range(MAX_PASSING):
        outbox.passing(number, "dropped, the last one")
    assert len(everything(outbox)) == MAX_PASSING
