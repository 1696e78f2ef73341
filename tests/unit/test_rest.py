"""How long a channel is left alone after failures."""

from dispatcher.delivery.rest import Rest

LONGEST = 1.25
"""What jitter makes of a second at most."""


def fail(rest: Rest, *, began: float, now: float) -> None:
    rest.failed(began=began, now=now, base=1.0, cap=8.0)


def test_it_doubles_with_each_failure_in_a_row_up_to_the_cap() -> None:
    rest, now = Rest(), 100.0
    assert not rest.lasts(now)
    for seconds in (1, 2, 4, 8, 8):
        fail(rest, began=now, now=now)
        assert rest.lasts(now + 0.99 * seconds)
        now += LONGEST * seconds
        assert not rest.lasts(now)


def test_what_fails_together_is_one_failure() -> None:
    rest = Rest()
    for place in range(8):
        fail(rest, began=100.0, now=101.0 + 0.01 * place)
    assert not rest.lasts(101.0 + LONGEST)
    fail(rest, began=103.0, now=103.0)
    assert rest.lasts(104.99)
    assert not rest.lasts(103.0 + 2 * LONGEST)


def test_what_works_ends_the_row_but_for_what_began_before_the_failure() -> None:
    rest = Rest()
    fail(rest, began=100.0, now=101.0)
    rest.worked(began=100.5)
    fail(rest, began=103.0, now=103.0)
    assert rest.lasts(104.99), "the second in a row"
    rest.worked(began=106.0)
    fail(rest, began=107.0, now=107.0)
    assert not rest.lasts(107.0 + LONGEST), "the first again"
