"""What an outcome means for its message: sent, another attempt later, failed, or uncertain. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from dispatcher.channels.contract import Delivered, Outcome, Rejected, Retry
from dispatcher.delivery.lane import Terms
from dispatcher.kernel import backoff
from dispatcher.messages.claim import ClaimedMessage
from dispatcher.messages.settle import Settlement
from dispatcher.messages.state import State


@dataclass(slots=True)
class Timing:
    """When an attempt began and how long it took."""

    started_at: float
    """In seconds since 1970."""
    seconds: float
    tick_no: int | None


def conclude(
    message: ClaimedMessage, outcome: Outcome, timing: Timing, terms: Terms, *, jitter: Callable[[], float]
) -> Settlement:
    """The settlement that this outcome asks for."""
    state, sent_at, receipt_id, error, retry_in = State.FAILED, None, None, None, None
    match outcome:
        case Delivered():
            name, state, sent_at, receipt_id = "delivered", State.SENT, outcome.at, outcome.receipt_id
        case Retry():
            name, error = "retry", outcome.error
            if outcome.maybe_delivered and terms.hold_uncertain:
                state = State.UNCERTAIN
            elif message.spent < terms.max_attempts:
                state = State.PENDING
                seconds = backoff.delay(
                    message.spent,
                    base=terms.backoff_base,
                    cap=terms.backoff_cap,
                    at_least=min(outcome.retry_after or 0.0, terms.retry_after_cap),
                    jitter=jitter,
                )
                retry_in = timedelta(seconds=seconds)
        case Rejected():
            name, error = "rejected", outcome.error
        case _:
            assert_never(outcome)
    return Settlement(
        message.id,
        message.lease.lease_id,
        state,
        message.attempt,
        timing.tick_no,
        timing.started_at,
        round(timing.seconds * 1000),
        name,
        sent_at,
        receipt_id,
        retry_in,
        outcome.status,
        error,
        outcome.excerpt,
    )
