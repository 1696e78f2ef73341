"""What becomes of a message whose sender died."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from dispatcher.messages.rescue import ExpiredLease, Receipt, verdict
from dispatcher.messages.state import State

RECEIPT = Receipt(datetime(2026, 1, 1, tzinfo=UTC), "r-1")


@pytest.mark.parametrize(
    ("receipt", "policy", "attempt", "state"),
    [
        (RECEIPT, "retry", 1, State.SENT),
        (RECEIPT, "hold", 1, State.SENT),
        (RECEIPT, "retry", 5, State.SENT),
        (None, "retry", 1, State.PENDING),
        (None, "retry", 4, State.PENDING),
        (None, "retry", 5, State.UNCERTAIN),  # it may have arrived: nobody can say that it failed
        (None, "retry", 6, State.UNCERTAIN),
        (None, "hold", 1, State.UNCERTAIN),
        (None, "hold", 5, State.UNCERTAIN),
    ],
)
def test_verdict(receipt: Receipt | None, policy: str, attempt: int, state: State) -> None:
    lease = ExpiredLease(1, "webhook", uuid4(), attempt)
    assert verdict(lease, receipt, on_uncertain=policy, max_attempts=5) is state
