"""However frames are lost, repeated and mixed up on their way: each message once, in order, and nothing is left out."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.client.models import Message, Position
from dispatcher.client.track import MAX_CHANGES, Track

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def message(seq: int, content: str = "") -> Message:
    return Message(seq * 10, 1, seq, "bob", content, NOW, None, None, None, None, None)


@given(
    begin=st.integers(0, 5),
    events=st.lists(st.tuples(st.sampled_from(["frame", "exists", "page"]), st.integers(1, 30)), max_size=60),
    page=st.integers(1, 5),
)
def test_messages_pass_once_in_order_without_a_gap(
    begin: int, events: list[tuple[str, int]], page: int
) -> None:
    track = Track(Position(begin))
    passed: list[int] = []

    def fetch_page() -> None:
        fetched = [message(seq) for seq in range(track.id // 10 + 1, min(track.known, track.seq + page) + 1)]
        for one in fetched:
            if one.seq > track.seq:
                track.passed(one)
                passed.append(one.seq)

    for kind, seq in events:
        if kind == "frame":
            if track.arrived(message(seq)):
                track.passed(message(seq))
                passed.append(seq)
        elif kind == "exists":
            track.exists(seq)
        elif track.missing:
            fetch_page()
        assert passed == list(range(begin + 1, begin + 1 + len(passed)))
        assert track.position.seq == begin + len(passed)
    while track.missing:
        fetch_page()
    newest = max([begin, *(seq for kind, seq in events if kind != "page")])
    assert passed == list(range(begin + 1, newest + 1))


class Reader:
    """Has messages 1 to 6, and what it is told of them since."""

    def __init__(self) -> None:
        self.track = Track(Position(6, id=60))
        self.shown = dict.fromkeys(range(1, 7), 0)
        self.told = 0

    def tell(self, change: int, seq: int) -> None:
        assert change > self.told
        self.shown[seq] = self.told = change

    def fill(self) -> None:
        while self.track.missing:
            self.track.passed(message(self.track.seq + 1))

    def settle(self) -> None:
        if not self.track.missing:
            for change, one in self.track.held()[0]:
                self.tell(change, one.seq)


STEPS = st.sampled_from(["gap", "fill", "settle", ""])


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 6), STEPS), max_size=60))
def test_the_last_word_on_every_message_is_kept(changes: list[tuple[int, int, str]]) -> None:
    reader = Reader()
    newest, expected = 0, dict.fromkeys(range(1, 7), 0)
    for change, seq, step in changes:
        if step == "gap":
            reader.track.exists(reader.track.known + 1)
        if reader.track.changed(message(seq), change):
            reader.tell(change, seq)
        if step == "fill":
            reader.fill()
        elif step == "settle":
            reader.settle()
        if change > newest:  # a service tells changes in their order: an older one is a repeat
            newest = expected[seq] = change
    reader.fill()
    reader.settle()
    assert reader.shown == expected


def test_changes_that_wait_are_bounded_and_it_is_said_when_some_were_dropped() -> None:
    track = Track(Position(1000, id=1000))
    track.exists(2000)
    for number in range(1, MAX_CHANGES + 1):
        track.changed(message(number), number)
    track.changed(message(1, "again"), MAX_CHANGES + 1)
    changes, lost = track.held()
    assert (len(changes), lost) == (MAX_CHANGES, False)
    assert changes[-1][1].content == "again"
    for number in range(MAX_CHANGES + 1):
        track.changed(message(number), 1000 + number)
    assert track.held()[1]
    assert not track.held()[1]


def test_what_is_gone_is_passed_over() -> None:
    track = Track(Position(3, id=30))
    assert not track.arrived(message(6))
    track.gone(6)
    assert not track.missing
    assert track.arrived(message(7))
