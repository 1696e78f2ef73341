"""How long to wait before the next attempt."""

import pytest

from dispatcher.kernel.backoff import delay


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 5), (2, 10), (3, 20), (4, 40), (10, 2560), (11, 3600), (10_000, 3600)]
)
def test_doubles_up_to_the_cap(failures: int, seconds: float) -> None:
    assert delay(failures, base=5, cap=3600, jitter=lambda: 0.0) == seconds


def test_jitter_adds_up_to_a_quarter() -> None:
    assert delay(1, base=8, cap=100, jitter=lambda: 0.5) == 9
    assert delay(9, base=8, cap=100, jitter=lambda: 1.0) == 125


def test_a_base_above_the_cap_waits_the_cap() -> None:
    assert delay(1, base=60, cap=10, jitter=lambda: 0.0) == 10


def test_never_less_than_was_asked_for_and_jitter_only_adds_to_that_too() -> None:
    assert delay(1, base=5, cap=60, at_least=30, jitter=lambda: 0.0) == 30
    assert delay(1, base=5, cap=60, at_least=300, jitter=lambda: 0.4) == 330
    assert delay(4, base=5, cap=60, at_least=30, jitter=lambda: 0.0) == 40


def test_two_waits_differ() -> None:
    assert len({delay(3, base=5, cap=3600) for _ in range(10)}) > 1
