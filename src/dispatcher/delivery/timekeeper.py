"""The timekeeper: claims messages shortly before they are due, holds them, and sends each at its time.

The tick lanes' counterpart of ticker and pump, for lanes whose pace is "each at its time". A look at Postgres every
POLL_SECONDS finds what falls due within AHEAD_SECONDS, whoever put it in; what this process puts in itself wakes it at
once. Due is what Postgres's clock says, which is followed from look to look: replicas need not agree on the time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from dispatcher.channels.contract import BatchChannel
from dispatcher.delivery import schedule
from dispatcher.delivery.agenda import Agenda, Held
from dispatcher.delivery.claim_size import CLAIM_AT_MOST
from dispatcher.delivery.give_back import give_back
from dispatcher.delivery.lane import Lane, Terms
from dispatcher.delivery.sender import Sender
from dispatcher.delivery.settler import Settler
from dispatcher.delivery.ticker import LOOK_AGAIN_SECONDS
from dispatcher.delivery.tuner import Tuner
from dispatcher.kernel import backoff
from dispatcher.kernel.clock import elapsed, wait_for
from dispatcher.kernel.database_clock import DatabaseClock
from dispatcher.kernel.db import NOT_NOW, Pool
from dispatcher.kernel.live import Live
from dispatcher.live_config.model import LiveConfig
from dispatcher.messages.claim import claim
from dispatcher.messages.frontier import Frontier
from dispatcher.messages.upcoming import upcoming

log = structlog.get_logger()

AHEAD_SECONDS = 1.0
"""How long before its time a message is claimed. Cancelling or moving it works until then; what its holder then takes
to the grave is late by a lease."""
POLL_SECONDS = 0.1
"""How late a message can be that somebody else put in for a time as near as this."""
QUIET_SECONDS = 10.0
"""After so long without a message the looks become seldom: what nobody uses costs next to nothing."""
QUIET_POLL_SECONDS = 0.5
RECENT_SECONDS = 2.0
"""Each look goes back this far, for what came in behind the claims made so far."""
HEAD_SECONDS = 1.0
"""How often it goes all the way back at least: what was given back late, or rescued, is due by now."""
HELD_AT_MOST = 20_000
BROKEN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class TimekeeperParts:
    """What a timekeeper works with."""

    lane: Lane
    live: Live[LiveConfig]
    pool: Pool
    settler: Settler
    channel: BatchChannel
    clock: DatabaseClock
    tuner: Tuner
    catch_up: Callable[[], Awaitable[None]]
    """Brings the live configuration to the latest that any replica has accepted."""
    poll_seconds: float = POLL_SECONDS
    ahead_seconds: float = AHEAD_SECONDS
    """More than `poll_seconds`, or what came in by itself is late."""
    frontier: Frontier = field(default_factory=lambda: Frontier(longest_wait_seconds=HEAD_SECONDS))

    def terms(self) -> Terms:
        """The lane's terms at this moment."""
        return self.lane.terms(self.live.value)


class Timekeeper:
    """Keeps one lane's messages to their times, together with the timekeepers of the other replicas."""

    def __init__(self, parts: TimekeeperParts) -> None:
        self._parts = parts
        self._agenda = Agenda()
        self._look_now = asyncio.Event()
        self._send_now = asyncio.Event()
        self._sender = Sender(
            parts.pool, parts.settler, parts.channel, parts.clock, lane=parts.lane.name, ended=self._send_now
        )
        self._behind = False
        self._found_at = elapsed()
        self._stopping = False
        parts.tuner.signal(self._look_now)

    @property
    def held(self) -> int:
        """How many messages wait here for their time."""
        return len(self._agenda)

    @property
    def problem(self) -> str | None:
        """Why this replica can send nothing at the moment, for people."""
        return self._sender.problem

    def wake(self) -> None:
        """Look now: something of the lane was changed by this process."""
        self._look_now.set()

    def arrived(self, at: datetime) -> None:
        """This process has put in a message that is due at this time."""
        if self._parts.clock.until(at) < self._parts.ahead_seconds:
            self._look_now.set()

    def stop(self) -> None:
        """Claim nothing more; `run` returns when what is being sent is settled and all else is given back."""
        self._stopping = True
        self._parts.channel.give_up()
        self._look_now.set()
        self._send_now.set()

    async def run(self) -> None:
        """Keep the lane until `stop`, through any outage of Postgres."""
        async with asyncio.TaskGroup() as group:
            claiming = group.create_task(self._claim(group))
            group.create_task(self._send(group, claiming))
        await self._sender.all_settled()

    async def _claim(self, group: asyncio.TaskGroup) -> None:
        failures = 0
        clock_set = False
        while not self._stopping:
            self._look_now.clear()
            try:
                if not clock_set:
                    await self._parts.clock.set(self._parts.pool)
                    clock_set = True
                found_all = await self._look(group)
                failures = 0
            except NOT_NOW as error:
                failures += 1
                if failures == 1:
                    log.warning(
                        "lane_waits_for_postgres",
                        lane=self._parts.lane.name,
                        error=str(error) or type(error).__name__,
                    )
                await wait_for(self._look_now, backoff.delay(failures, base=0.1, cap=1.0))
            except Exception:
                # Whatever it is, it must not end the attempts under way: nobody would know whether they arrived.
                log.exception("look_broke", lane=self._parts.lane.name)
                await wait_for(self._look_now, BROKEN_SECONDS)
            else:
                if found_all:
                    await wait_for(self._look_now, self._next_look_in())
        self._send_now.set()

    async def _look(self, group: asyncio.TaskGroup) -> bool:
        """Look ahead once and claim what there is. Whether that is all for now."""
        parts = self._parts
        parts.frontier.arrived(parts.clock.now() - timedelta(seconds=RECENT_SECONDS + self._next_look_in()))
        search = parts.frontier.search(elapsed())
        seen = await upcoming(parts.pool, parts.lane.name, search, within_seconds=parts.ahead_seconds)
        self._follow_clock(parts.clock.observe(seen.now, began=seen.began, ended=seen.ended), group)
        if seen.any_due:
            self._found_at = seen.ended
        room = min(CLAIM_AT_MOST, HELD_AT_MOST - len(self._agenda))
        self._behind = self._overdue() >= CLAIM_AT_MOST
        if not (seen.any_due and room and self._may_claim()) or self._behind:
            parts.frontier.searched(search, {}, now=seen.ended, seconds=seen.ended - seen.began)
            return True
        snapshot = parts.live.snapshot
        terms = parts.lane.terms(snapshot.value)
        claimed = await claim(
            parts.pool,
            parts.lane.name,
            limit=room,
            lease_seconds=terms.lease_seconds,
            origin=snapshot.origin,
            frontier=parts.frontier,
            search=search,
            ahead_seconds=parts.ahead_seconds,
            reserve=terms.hold_uncertain,
        )
        if not claimed:
            await self._find_out_why()
            return True
        self._agenda.add(Held(message, terms) for message in claimed)
        self._send_now.set()
        return len(claimed) < room

    def _next_look_in(self) -> float:
        quiet = elapsed() - self._found_at > QUIET_SECONDS
        return max(self._parts.poll_seconds, QUIET_POLL_SECONDS) if quiet else self._parts.poll_seconds

    def _may_claim(self) -> bool:
        parts = self._parts
        ready = parts.tuner.tuned and parts.terms().pace.blocked is None
        return ready and parts.channel.problem is None and not self._sender.resting and not self._stopping

    async def _find_out_why(self) -> None:
        """Nothing could be claimed: others were quicker, the lane is stopped, or they know a later live config."""
        row = (await schedule.look(self._parts.pool, self._parts.lane.name)).schedule
        if not row.active:
            await wait_for(self._look_now, LOOK_AGAIN_SECONDS)
            return
        ours = self._parts.live.snapshot.origin
        if row.origin is not None and (ours is None or ours < row.origin):
            await self._parts.catch_up()

    def _overdue(self) -> int:
        return self._agenda.due(self._parts.clock.now())

    def _follow_clock(self, jumped: float, group: asyncio.TaskGroup) -> None:
        """After a jump what is held may not be near any more, and its leases may seem to have run out."""
        if jumped:
            log.warning("database_clock_jumped", lane=self._parts.lane.name, seconds=round(jumped, 3))
            self._give_back(group)
            self._send_now.set()

    async def _send(self, group: asyncio.TaskGroup, claiming: asyncio.Task[None]) -> None:
        """Send what is due, when it is. Nothing in here waits for Postgres, but for `begin`, or raises."""
        while not (self._stopping and claiming.done()):
            self._send_now.clear()
            if self._stopping or self._sender.resting or self._parts.channel.problem is not None:
                self._give_back(group)
                await wait_for(self._send_now, POLL_SECONDS)
                continue
            terms = self._parts.terms()
            if self._sender.busy >= terms.concurrency:
                await wait_for(self._send_now, POLL_SECONDS)
                continue
            due = self._agenda.take_due(self._parts.clock.now(), terms.batch_size)
            if not due:
                next_at = self._agenda.next_at
                wait = LOOK_AGAIN_SECONDS if next_at is None else self._parts.clock.until(next_at)
                await wait_for(self._send_now, wait)
                continue
            if self._behind and self._overdue() <= CLAIM_AT_MOST // 2:
                self._behind = False
                self._look_now.set()
            await self._sender.send(due, group)
        self._give_back(group)

    def _give_back(self, group: asyncio.TaskGroup) -> None:
        held = self._agenda.take_all()
        if held:
            group.create_task(give_back(self._parts.pool, [one.message for one in held]))
