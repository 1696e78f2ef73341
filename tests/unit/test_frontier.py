"""The frontier: where a claim begins to search, and which priority it serves first."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from dispatcher.messages.frontier import FULL_SHARE, HEAD, TURNS, Frontier, Position
from dispatcher.messages.state import Priority

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SOON = 1e-6


def at(seconds: float, message_id: int = 1) -> Position:
    return T0 + timedelta(seconds=seconds), message_id


def test_of_sixteen_turns_twelve_begin_with_high_three_with_normal_one_with_low() -> None:
    assert Counter(order[0] for order in TURNS) == {Priority.HIGH: 12, Priority.NORMAL: 3, Priority.LOW: 1}
    assert len(TURNS) == 16
    assert all(sorted(order) == sorted(Priority) for order in TURNS), "each turn serves every priority"
    assert all(order.index(Priority.HIGH) < 2 for order in TURNS)


def test_the_turns_go_round() -> None:
    frontier = Frontier()
    assert tuple(frontier.search(0.0).order for _ in range(2 * len(TURNS))) == TURNS * 2


def test_no_run_of_turns_leaves_normal_waiting_for_long() -> None:
    starts = [order[0] for order in TURNS * 2]
    at_normal = [n for n, first in enumerate(starts) if first is Priority.NORMAL]
    assert max(later - earlier for earlier, later in pairwise(at_normal)) <= 6


def test_the_first_search_is_from_the_head() -> None:
    search = Frontier().search(0.0)
    assert (search.from_head, search.beyond) == (True, (HEAD, HEAD, HEAD))


def test_the_next_begins_where_the_last_claim_of_each_priority_ended() -> None:
    frontier = Frontier()
    frontier.searched(frontier.search(0.0), {Priority.HIGH: at(1), Priority.LOW: at(3)}, now=1.0, seconds=1.0)
    search = frontier.search(1.0)
    assert not search.from_head
    assert dict(zip(search.order, search.beyond, strict=True)) == {
        Priority.HIGH: at(1),
        Priority.NORMAL: HEAD,
        Priority.LOW: at(3),
    }
    frontier.searched(search, {Priority.HIGH: at(2)}, now=2.0, seconds=1.0)
    search = frontier.search(2.0)
    assert dict(zip(search.order, search.beyond, strict=True))[Priority.HIGH] == at(2)


def test_a_search_from_the_head_that_took_long_is_not_repeated_soon() -> None:
    frontier = Frontier()
    frontier.searched(frontier.search(10.0), {}, now=12.0, seconds=2.0)
    again_at = 12.0 + 2.0 / FULL_SHARE - 2.0
    assert not frontier.search(again_at - SOON).from_head
    assert frontier.search(again_at).from_head


def test_the_head_forgets_what_was_reached() -> None:
    frontier = Frontier()
    frontier.searched(frontier.search(0.0), {Priority.HIGH: at(1)}, now=1.0, seconds=1.0)
    assert frontier.search(1000.0).beyond == (HEAD, HEAD, HEAD)


def test_a_search_beyond_the_frontier_does_not_put_the_next_from_the_head_off() -> None:
    frontier = Frontier()
    frontier.searched(frontier.search(0.0), {}, now=1.0, seconds=1.0)
    frontier.searched(frontier.search(15.0), {}, now=19.9, seconds=4.9)
    assert frontier.search(20.0).from_head
