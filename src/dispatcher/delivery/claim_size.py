"""How many messages to claim at a time. Pure."""

CLAIM_AT_MOST = 1000
QUICK_SECONDS = 0.1
SLOW_SECONDS = 1.0


def next_claim_size(size: int, seconds: float, *, least: int) -> int:
    """How many to claim next, when working off the claim before took this long.

    Large enough that claiming costs little, small enough that a stop, a crash or a slow receiver finds about a
    second's worth of messages claimed and not begun.
    """
    if seconds < QUICK_SECONDS:
        return max(least, min(size * 2, CLAIM_AT_MOST))
    if seconds > SLOW_SECONDS:
        return max(least, size // 2)
    return max(least, size)
