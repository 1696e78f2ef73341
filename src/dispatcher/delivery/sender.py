"""The sender: hands batches of due messages to a channel, several at a time, and settles what becomes of them."""

import asyncio
import random
from collections.abc import Sequence
from uuid import uuid4

import structlog

from dispatcher.channels.contract import BatchChannel, Delivered, Envelope, Outcome, Rejected, Retry
from dispatcher.delivery.agenda import Held
from dispatcher.delivery.conclude import Timing, conclude
from dispatcher.delivery.give_back import SAID_IDS, give_back
from dispatcher.delivery.lane import SETTLE_SECONDS, Terms
from dispatcher.delivery.lateness import Lateness
from dispatcher.delivery.rest import Rest
from dispatcher.delivery.settler import Settler
from dispatcher.kernel.clock import elapsed
from dispatcher.kernel.database_clock import DatabaseClock
from dispatcher.kernel.db import Pool
from dispatcher.messages.begin import begin
from dispatcher.messages.settle import Settlement

log = structlog.get_logger()

LEAST_SECONDS = 0.05
"""With less time than this left of its lease an attempt does not begin."""


class Sender:
    """Sends for one lane. Batches are handed to the channel in the order in which they are given."""

    def __init__(
        self,
        pool: Pool,
        settler: Settler,
        channel: BatchChannel,
        clock: DatabaseClock,
        *,
        lane: str,
        ended: asyncio.Event,
    ) -> None:
        """`ended` is set whenever a batch has ended."""
        self._pool = pool
        self._settler = settler
        self._channel = channel
        self._clock = clock
        self._lateness = Lateness(lane)
        self._ended = ended
        self._unsettled = 0
        self._all_settled = asyncio.Event()
        self._rest = Rest()
        self._failed_by: str | None = None
        self.busy = 0
        """Batches under way."""

    @property
    def resting(self) -> bool:
        """Whether attempts have failed so recently that none should begin."""
        return self._rest.lasts(elapsed())

    @property
    def problem(self) -> str | None:
        """Why nothing goes out at the moment, for people; while the channel rests, what was wrong before."""
        return self._channel.problem or (self._failed_by if self.resting else None)

    async def all_settled(self) -> None:
        """Wait until every result is written, or its lease found lost."""
        while self._unsettled:
            self._all_settled.clear()
            await self._all_settled.wait()

    async def send(self, due: Sequence[Held], group: asyncio.TaskGroup) -> None:
        """Begin a batch; it ends in a task of the group."""
        ready: list[Held] = []
        too_old: list[Held] = []
        for held in due:
            left = held.message.lease.ends - elapsed() - SETTLE_SECONDS
            (ready if left >= LEAST_SECONDS else too_old).append(held)
        if too_old:
            group.create_task(give_back(self._pool, [held.message for held in too_old]))
        if any(held.message.reserved for held in ready):
            ready = await self._begun(ready, group)
        if ready:
            self.busy += 1
            group.create_task(self._deliver(ready))

    async def _begun(self, batch: list[Held], group: asyncio.TaskGroup) -> list[Held]:
        """Those whose attempt is written down now. Nothing of the others has gone out: their leases may run out."""
        reserved = [held.message for held in batch if held.message.reserved]
        try:
            ids = await begin(self._pool, reserved)
        except Exception as error:  # noqa: BLE001 - as in give_back: attempts are under way
            log.warning("begin_failed", messages=len(reserved), error=str(error) or type(error).__name__)
            group.create_task(give_back(self._pool, reserved))
            ids = set()
        return [held for held in batch if not held.message.reserved or held.message.id in ids]

    async def _deliver(self, batch: Sequence[Held]) -> None:
        try:
            await self._attempt(batch, batch[0].terms)
        except Exception:
            # A bug must not end the other batches; the leases of this one run out.
            log.exception("batch_broke", messages=[held.message.id for held in batch][:SAID_IDS])
        finally:
            self.busy -= 1
            self._ended.set()

    async def _attempt(self, batch: Sequence[Held], terms: Terms) -> None:
        correlation_id = uuid4().hex
        envelopes = [
            Envelope(m.id, m.recipient, m.content, m.attempt, correlation_id, m.deliver_at)
            for m in (held.message for held in batch)
        ]
        settled_from = min(held.message.lease.ends for held in batch) - SETTLE_SECONDS
        started_at, began = self._clock.now().timestamp(), elapsed()
        until = min(began + terms.attempt_seconds, settled_from)
        outcomes = await self._channel.deliver_batch(envelopes, until=until)
        ended = elapsed()
        self._learn(outcomes, terms, began=began, early=ended < until - LEAST_SECONDS)
        timing = Timing(started_at, ended - began, None)
        untouched, room = [], True
        for held, outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                untouched.append(held.message)
            else:
                room = self._settled_by(held, outcome, timing)
        if untouched:
            await give_back(self._pool, untouched)
        if not room:
            await self._settler.room()

    def _settled_by(self, held: Held, outcome: Outcome, timing: Timing) -> bool:
        result = conclude(held.message, outcome, timing, held.terms, jitter=random.random)
        if held.terms.keeps_time:
            result.retry_in = None
        self._unsettled += 1
        room = self._settler.submit(result, self)
        if isinstance(outcome, Delivered):
            self._lateness.printed(held.message.deliver_at, outcome.at)
        else:
            self._say_failed(result, outcome)
        return room

    def settled(self, result: Settlement, *, kept: bool) -> None:  # noqa: ARG002 - nothing is counted here
        """The settler has written the result, or found its lease lost."""
        self._unsettled -= 1
        if not self._unsettled:
            self._all_settled.set()

    def _learn(self, outcomes: Sequence[Outcome | None], terms: Terms, *, began: float, early: bool) -> None:
        """After a failure leave the channel alone for a while. `early`: it did not wait until its deadline."""
        refused = early and all(outcome is None for outcome in outcomes)
        if refused or any(
            isinstance(outcome, Retry) and (terms.keeps_time or outcome.target_failed) for outcome in outcomes
        ):
            self._failed_by = self._channel.problem
            self._rest.failed(began=began, now=elapsed(), base=terms.backoff_base, cap=terms.backoff_cap)
        elif any(isinstance(outcome, Delivered) for outcome in outcomes):
            self._rest.worked(began=began)

    def _say_failed(self, result: Settlement, outcome: Retry | Rejected) -> None:
        log.warning(
            "attempt_failed",
            message_id=result.message_id,
            attempt=result.number,
            error=outcome.error,
            then=result.state.value,
        )
