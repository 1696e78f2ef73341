"""How long to wait before trying again."""

import random
from collections.abc import Callable


def delay(
    failures: int,
    *,
    base: float,
    cap: float,
    at_least: float = 0.0,
    jitter: Callable[[], float] = random.random,
) -> float:
    """Seconds to wait after the given number of failures in a row (from 1).

    Exponential, `base * 2 ** (failures - 1)`, at most `cap`, but at least `at_least`; then up to a quarter more.
    Jitter only adds: the other side is never asked sooner than announced, nor sooner than it asked for.

    Args:
        failures: How many times in a row it has failed, at least 1.
        base: Seconds after the first failure.
        cap: The most seconds before jitter.
        at_least: The least seconds, even beyond the cap.
        jitter: A source of numbers in [0, 1).
    """
    doublings = min(failures - 1, 64)  # past 2**64 every cap is reached; floats stay finite
    return max(at_least, min(cap, base * 2.0**doublings)) * (1.0 + 0.25 * jitter())
