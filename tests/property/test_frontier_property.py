"""Whatever comes in and wherever: nothing due is left for ever, nobody starves, the head costs its share at most."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.messages.frontier import FULL_SHARE, TURNS, Frontier, Position, Search
from dispatcher.messages.state import Priority

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST = 2.0
"""Seconds that a search takes at most."""
PRIORITIES = st.sampled_from(Priority)
NEW = st.lists(st.tuples(PRIORITIES, st.integers(-50, 50)), max_size=8)
"""Rows that come in: priority, and where in the order of what is due; also behind all frontiers."""
ROUNDS = st.lists(st.tuples(NEW, st.integers(1, 6), st.floats(0.001, LONGEST)), min_size=1, max_size=40)


class Table:
    """What is due, and claims of it as Postgres answers them."""

    def __init__(self) -> None:
        self.due: dict[Priority, list[Position]] = {priority: [] for priority in Priority}
        self._ids = 0

    def insert(self, priority: Priority, place: int) -> None:
        self._ids += 1
        self.due[priority].append((T0 + timedelta(seconds=place), self._ids))

    def claim(self, search: Search, limit: int) -> list[tuple[Priority, Position]]:
        taken: list[tuple[Priority, Position]] = []
        for priority, beyond in zip(search.order, search.beyond, strict=True):
            found = sorted(position for position in self.due[priority] if position > beyond)
            taken += [(priority, position) for position in found[: limit - len(taken)]]
        for priority, position in taken:
            self.due[priority].remove(position)
        return taken

    @property
    def left(self) -> int:
        return sum(len(positions) for positions in self.due.values())


def claim(frontier: Frontier, table: Table, *, now: float, seconds: float, limit: int) -> Search:
    search = frontier.search(now)
    reached: dict[int, Position] = dict(table.claim(search, limit))
    frontier.searched(search, reached, now=now + seconds, seconds=seconds)
    return search


@given(ROUNDS)
def test_all_that_is_due_is_claimed_once_nothing_more_comes_in(
    rounds: list[tuple[list[tuple[Priority, int]], int, float]],
) -> None:
    table, frontiers, now = Table(), (Frontier(), Frontier()), 0.0
    for turn, (new, limit, seconds) in enumerate(rounds):
        for priority, place in new:
            table.insert(priority, place)
        claim(frontiers[turn % 2], table, now=now, seconds=seconds, limit=limit)
        now += seconds
    # a search takes a second from here on: once the head was due again, each claim takes one
    for _ in range(round(LONGEST / FULL_SHARE) + table.left):
        claim(frontiers[0], table, now=now, seconds=1.0, limit=1)
        now += 1.0
    assert table.left == 0


@given(st.lists(st.tuples(st.floats(0.0001, 3), st.floats(0, 3)), min_size=2, max_size=200))
def test_the_head_takes_its_share_of_the_time_and_no_more(searches: list[tuple[float, float]]) -> None:
    frontier, now, spent = Frontier(), 0.0, 0.0
    for seconds, between in searches:
        search = frontier.search(now)
        if search.from_head:
            assert spent <= FULL_SHARE * now * (1 + 1e-9), "all that the earlier ones took"
            spent += seconds
        now += seconds
        frontier.searched(search, {}, now=now, seconds=seconds)
        now += between


@given(st.integers(1, 5), st.integers(0, 3 * len(TURNS)), st.sampled_from([Priority.NORMAL, Priority.LOW]))
def test_under_endless_high_the_others_still_go_out(limit: int, before: int, waiting: Priority) -> None:
    table, frontier = Table(), Frontier()
    now, place = 0.0, 0

    def one_round() -> None:
        nonlocal now, place
        for _ in range(limit):  # as many high ones as a claim takes, before each claim
            place += 1
            table.insert(Priority.HIGH, place)
        claim(frontier, table, now=now, seconds=0.001, limit=limit)
        now += 0.001

    for _ in range(before):
        one_round()
    table.insert(waiting, place)
    for _ in TURNS:
        one_round()
    assert table.due[waiting] == []
