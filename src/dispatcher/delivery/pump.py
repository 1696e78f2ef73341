"""The pump: works off one tick. It claims, sends and settles at the same time, each at its own speed."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from uuid import uuid4

import structlog

from dispatcher.channels.contract import Delivered, Envelope, Rejected, Retry
from dispatcher.delivery.claim_size import next_claim_size
from dispatcher.delivery.conclude import Timing, conclude
from dispatcher.delivery.give_back import SAID_IDS, give_back
from dispatcher.delivery.lane import SETTLE_SECONDS, BorrowedChannel, ChannelPool, Lane, Terms
from dispatcher.delivery.pace import Tick
from dispatcher.delivery.settler import Settler
from dispatcher.delivery.target import TargetWatch
from dispatcher.delivery.ticks import TickCounts
from dispatcher.kernel.clock import elapsed, unix_time
from dispatcher.kernel.db import UNAVAILABLE, Pool
from dispatcher.kernel.live import Live, Snapshot
from dispatcher.live_config.model import LiveConfig
from dispatcher.messages.claim import ClaimedMessage, claim
from dispatcher.messages.frontier import Frontier
from dispatcher.messages.settle import Settlement
from dispatcher.messages.state import State

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PumpParts:
    """What a pump works with; the same for every tick of a lane."""

    lane: Lane
    live: Live[LiveConfig]
    pool: Pool
    settler: Settler
    channels: ChannelPool
    catch_up: Callable[[], Awaitable[None]]
    """Brings the live configuration to the latest that any replica has accepted."""
    target: TargetWatch
    frontier: Frontier = field(default_factory=Frontier)

    def terms(self) -> Terms:
        """The lane's terms at this moment."""
        return self.lane.terms(self.live.value)


@dataclass(slots=True)
class _Batch:
    """The messages of one claim, with the terms they were claimed under."""

    terms: Terms
    borrowed: BorrowedChannel
    begin_by: float
    """On the clock of `kernel.clock.elapsed`: an attempt that begins later might have its result after its lease."""
    unfinished: int
    """Messages that still need the channel."""


_Ready = tuple[ClaimedMessage, _Batch]


class Pump:
    """Sends what one tick allows: at most `tick.rate_limit` messages."""

    def __init__(self, parts: PumpParts, tick: Tick) -> None:
        self._parts = parts
        self._tick = tick
        self._correlation_id = f"{tick.lane}-{tick.no}-{uuid4().hex[:8]}"
        self._ready: deque[_Ready] = deque()
        self._arrived = asyncio.Event()
        """Something is ready, or nothing more will be."""
        self._all_claimed = False
        self._wanted = asyncio.Event()
        self._refill_below = 0
        self._stopping = False
        self._unsettled = 0
        self._all_settled = asyncio.Event()
        self._counts = TickCounts()
        self._sent_ids: list[int] = []

    async def work(self) -> TickCounts:
        """Send; return when every message that this tick claimed is settled or released."""
        with structlog.contextvars.bound_contextvars(correlation_id=self._correlation_id):
            workers = min(self._parts.terms().concurrency, self._tick.rate_limit)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._claim(workers))
                for _ in range(workers):
                    group.create_task(self._send())
            while self._unsettled:
                self._all_settled.clear()
                await self._all_settled.wait()
            self._say()
        return self._counts

    def stop(self) -> None:
        """Claim nothing more and begin nothing more; what is claimed and not begun is released."""
        self._stopping = True
        self._wanted.set()

    def settled(self, result: Settlement, *, kept: bool) -> None:
        """The settler has written the result, or found its lease lost."""
        if kept:
            match result.state:
                case State.SENT:
                    self._counts.sent += 1
                case State.PENDING:
                    self._counts.retried += 1
                case State.UNCERTAIN:
                    self._counts.uncertain += 1
                case _:
                    self._counts.failed += 1
        self._unsettled -= 1
        if not self._unsettled:
            self._all_settled.set()

    async def _claim(self, workers: int) -> None:
        budget, size = self._tick.rate_limit, workers
        try:
            while budget and not self._stopping and self._parts.terms().pace.blocked is None:
                asked, began = min(size, budget), elapsed()
                snapshot = self._parts.live.snapshot
                claimed = await self._claim_batch(asked, snapshot)
                budget -= len(claimed)
                if len(claimed) < asked:
                    await self._parts.catch_up()
                    if snapshot is self._parts.live.snapshot:
                        break  # no more are due, or the lane was stopped
                    continue  # the schedule had followed a later live configuration than ours
                await self._worked_off(below=asked // 2)
                size = next_claim_size(size, elapsed() - began, least=workers)
        except UNAVAILABLE as error:
            # The rest of this tick's budget is given up; what it would have sent goes out with later ticks.
            log.warning("claim_failed", error=str(error) or type(error).__name__)
        except Exception:
            # Whatever it is, it must not end the attempts under way: nobody would know whether they arrived.
            log.exception("claim_broke", lane=self._tick.lane)
        finally:
            self._all_claimed = True
            self._arrived.set()

    async def _claim_batch(self, limit: int, snapshot: Snapshot[LiveConfig]) -> Sequence[ClaimedMessage]:
        parts = self._parts
        terms = parts.lane.terms(snapshot.value)
        claimed = await claim(
            parts.pool,
            parts.lane.name,
            limit=limit,
            lease_seconds=terms.lease_seconds,
            origin=snapshot.origin,
            frontier=parts.frontier,
        )
        self._counts.claimed += len(claimed)
        if claimed:
            begin_by = claimed[0].lease.ends - terms.attempt_seconds - SETTLE_SECONDS
            batch = _Batch(terms, parts.channels.borrow(snapshot.value, terms), begin_by, len(claimed))
            self._ready.extend((message, batch) for message in claimed)
            self._arrived.set()
        return claimed

    async def _worked_off(self, *, below: int) -> None:
        """Wait until no more than `below` claimed messages are left to begin."""
        self._refill_below = below
        if len(self._ready) > below:
            self._wanted.clear()
            await self._wanted.wait()

    async def _send(self) -> None:
        while self._ready or await self._more():
            message, batch = self._ready.popleft()
            if len(self._ready) <= self._refill_below:
                self._wanted.set()
            try:
                if self._must_release(batch):
                    await self._release(message)
                else:
                    await self._attempt(message, batch)
            except Exception:
                # A bug that one message meets must not end the attempts of all the others; its lease runs out.
                log.exception("attempt_broke", message_id=message.id)
            finally:
                await self._finished(batch)

    async def _finished(self, batch: _Batch) -> None:
        batch.unfinished -= 1
        if not batch.unfinished:
            await self._parts.channels.give_back(batch.borrowed)

    async def _more(self) -> bool:
        """Wait until something is ready; False when nothing more will be."""
        while not self._ready and not self._all_claimed:
            self._arrived.clear()
            await self._arrived.wait()
        return bool(self._ready)

    def _must_release(self, batch: _Batch) -> bool:
        """Whether to give its messages back: we are stopping, or it is too late to begin."""
        return self._stopping or elapsed() > batch.begin_by

    async def _attempt(self, message: ClaimedMessage, batch: _Batch) -> None:
        terms = batch.terms
        envelope = Envelope(
            message.id, message.recipient, message.content, message.attempt, self._correlation_id
        )
        started_at, began = unix_time(), perf_counter()
        outcome = await batch.borrowed.channel.deliver(envelope, seconds=terms.attempt_seconds)
        if self._parts.target.heard(outcome, self._tick, terms):
            self.stop()
        timing = Timing(started_at, perf_counter() - began, self._tick.no)
        result = conclude(message, outcome, timing, terms, jitter=random.random)
        self._unsettled += 1
        if not self._parts.settler.submit(result, self):
            await self._parts.settler.room()
        if isinstance(outcome, Delivered):
            if len(self._sent_ids) < SAID_IDS:
                self._sent_ids.append(message.id)
        else:
            self._say_failed(message, outcome, result)

    async def _release(self, first: ClaimedMessage) -> None:
        """Give this one back, and in the same statement all that wait behind it for the same reason."""
        others: list[_Ready] = []
        for _ in range(len(self._ready)):
            ready = self._ready.popleft()
            (others if self._must_release(ready[1]) else self._ready).append(ready)
        if len(self._ready) <= self._refill_below:
            self._wanted.set()
        try:
            await give_back(self._parts.pool, [first, *(message for message, _ in others)])
        finally:
            for _, batch in others:
                await self._finished(batch)

    def _say_failed(self, message: ClaimedMessage, outcome: Retry | Rejected, result: Settlement) -> None:
        log.warning(
            "attempt_failed",
            message_id=message.id,
            attempt=message.attempt,
            status=outcome.status,
            error=outcome.error,
            then=result.state.value,
            retry_in=result.retry_in and round(result.retry_in.total_seconds(), 1),
        )

    def _say(self) -> None:
        counts = self._counts
        say = log.info if counts.claimed else log.debug
        say(
            "tick_done",
            lane=self._tick.lane,
            no=self._tick.no,
            claimed=counts.claimed,
            sent=counts.sent,
            retried=counts.retried,
            failed=counts.failed,
            uncertain=counts.uncertain,
            message_ids=self._sent_ids,
        )
